"""Write a text, such as a summary or a rephrased sentence, scored with ROUGE-L."""

from collections.abc import Sequence

from thinwire.errors import UsageError
from thinwire.tasks.squad_metric import exact_match
from thinwire.tasks.task import Task, Templates, Thresholds


def rouge_l(text: str, golds: Sequence[str]) -> tuple[float, float]:
    """Return ROUGE-L (F-measure, no stemming) and exact match after SQuAD's normalisation, each the best over the gold
    texts.

    ROUGE-L is the harmonic mean of the shares that the longest common subsequence of words takes of both texts (Lin
    2004, "ROUGE: A Package for Automatic Evaluation of Summaries"), as torchmetrics computes it. Its words are runs of
    the letters a to z and digits, in lower case, so it is 0 for texts in other scripts.

    Raises:
        UsageError: torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.text.rouge import rouge_score
    except ImportError:
        raise UsageError("task=generation needs torchmetrics; pip install 'thinwire[rouge]'") from None
    found = max(rouge_score(text, gold, rouge_keys="rougeL")["rougeL_fmeasure"].item() for gold in golds)
    return found, max(exact_match(text, gold) for gold in golds)


TASK = Task(
    name="generation",
    what="write a text: a summary, a sentence in other words",
    answered_by="decoding",
    metric="rouge_l",
    label="ROUGE-L",
    unit="ROUGE-L points",
    score_text=rouge_l,
    shows_exact_match=True,
    templates=Templates(
        both="{{ question }}\n\nText: {{ context }}",
        question="{{ question }}",
        context="{{ context }}",
    ),
    cue="\n\nAnswer:",
    thresholds=Thresholds(marginal=1.0, significant=2.0, strong=5.0),
)
