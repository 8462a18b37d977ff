"""The parts of ``benchmarks/answer_spans.py`` on a made-up context."""

import json

import pytest

from benchmark_programs import program
from thinwire.results.arm_record import read_arm_record
from tiny_models import write_squad
from tiny_sweeps import experiment, finished_run

answer_spans = program("answer_spans")

CONTEXT = "The Broncos beat the Carolina Panthers in Santa Clara."


@pytest.mark.parametrize(
    ("text", "score", "exact", "kind"),
    [
        ("Carolina Panthers", 1.0, 1.0, "right"),
        ("the Panthers, in Santa", 0.5, 0.0, "span, overlapping"),  # as the metric compares: no commas, no articles
        ("Santa Clara", 0.0, 0.0, "span, wrong"),
        ("Carolina Broncos", 0.5, 0.0, "no span, overlapping"),
        ("Clara Santa", 0.0, 0.0, "no span, wrong"),
        ("Panther", 0.0, 0.0, "no span, wrong"),  # half a word
        ("The.", 0.0, 0.0, "empty"),
    ],
)
def test_an_answer_is_right_or_a_span_or_no_span(text, score, exact, kind):
    row = {"text": text, "score": score, "exact_match": exact}
    assert answer_spans.kind_of_answer(row, CONTEXT) == kind


class Tokenizer:
    """One token a word, with the space before it."""

    words = ("", *CONTEXT.split(), "Denver")

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        return [self.words.index(word) for word in text.split()]

    def decode(self, ids):
        return "".join(f" {self.words[number]}" for number in ids)


@pytest.mark.parametrize(("answer", "number"), [("Carolina Panthers", 2), ("Carolina Broncos", 1), ("Denver", 0)])
def test_tokens_before_the_first_that_does_not_go_on_with_the_context_are_counted(answer, number):
    assert answer_spans.tokens_before_foreign(answer, CONTEXT, Tokenizer()) == number


def test_shares_are_of_all_answers_and_of_those_that_are_no_span():
    answers = [("Carolina Panthers", 1, 1), ("Santa Clara.", 0, 0), ("Denver", 0, 0), ("Carolina Broncos", 0.5, 0)]
    rows = [{"id": "q", "text": text, "score": score, "exact_match": exact} for text, score, exact in answers]
    found = answer_spans.measure(rows, {"q": CONTEXT}, Tokenizer())
    assert found == {
        "answers": 4,
        "kinds": {"no span, overlapping": 0.25, "no span, wrong": 0.25, "right": 0.25, "span, wrong": 0.25},
        "tokens_before_foreign": {"0": 0.5, "1": 0.5},
    }


def test_contexts_are_those_that_the_arms_sweep_gave(tmp_path):
    write_squad(tmp_path / "long.json", num_articles=6, paragraphs=3)
    data = {
        **experiment(tmp_path).data.model_dump(),
        "train": str(tmp_path / "long.json"),
        "test": str(tmp_path / "long.json"),
    }
    data |= {"distractors": 1, "allow_shared_paragraphs": True}
    folder = finished_run(tmp_path, data=data, arms={"baseline": {}}, controls={}) / "baseline"
    contexts = answer_spans.contexts_of(folder, read_arm_record(folder))
    answered = [json.loads(line)["id"] for line in (folder / "predictions.jsonl").read_text().splitlines()]
    articles = json.loads((tmp_path / "long.json").read_text())["data"]
    own = {qa["id"]: part["context"] for article in articles for part in article["paragraphs"] for qa in part["qas"]}
    assert set(contexts) == set(answered)
    for id_, context in contexts.items():
        beside = [part for part in context.split("\n\n") if part != own[id_]]
        assert len(beside) == 1
        assert beside[0] in own.values()
    write_squad(tmp_path / "long.json", num_articles=6, paragraphs=2)
    with pytest.raises(SystemExit, match=r"the test questions of .*baseline are others"):
        answer_spans.contexts_of(folder, read_arm_record(folder))
