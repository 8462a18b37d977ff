"""Answer a question in a few words that need not stand in the context; right or wrong."""

from collections.abc import Sequence

from thinwire.tasks import extractive_qa
from thinwire.tasks.squad_metric import exact_match
from thinwire.tasks.task import Task, Thresholds


def is_exact(text: str, golds: Sequence[str]) -> tuple[float, float]:
    """Return twice whether the text equals a gold answer after SQuAD's normalisation."""
    found = max(exact_match(text, gold) for gold in golds)
    return found, found


TASK = Task(
    name="short_answer",
    what="answer a question in a few words of one's own: a number, a name",
    answered_by="decoding",
    metric="exact_match",
    label="EM",
    unit="EM points",
    score_text=is_exact,
    shows_exact_match=False,
    templates=extractive_qa.TEMPLATES._replace(
        both="Answer the question with a short phrase.\n\nText: {{ context }}\n\nQuestion: {{ question }}"
    ),
    cue="\n\nAnswer:",
    thresholds=Thresholds(marginal=2.0, significant=5.0, strong=10.0),
)
