"""Rows of predictions, made by hand."""


def row(id_, answer, golds=("Boston",), question="Where did the meeting take place?", stop_reason="end"):
    """Make a prediction, exact if it is literally the first gold answer."""
    return {
        "id": id_,
        "paragraph_id": f"p{id_}",
        "question": question,
        "golds": list(golds),
        "raw_text": answer,
        "text": answer,
        "exact_match": float(answer == golds[0]),
        "score": 0.0,
        "raw_score": 0.0,
        "stop_reason": stop_reason,
    }


def rows(answers, golds):
    """Make a prediction for each answer, with one gold answer each."""
    return [row(f"{i:03}", *pair) for i, pair in enumerate(zip(answers, [(g,) for g in golds], strict=True))]
