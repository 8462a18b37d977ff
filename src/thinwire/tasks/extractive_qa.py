"""Answer a question with a span of the context, scored with SQuAD's official metric."""

from collections.abc import Sequence

from thinwire.tasks.squad_metric import best_over_golds
from thinwire.tasks.task import Task, Templates, Thresholds

TEMPLATES = Templates(
    both="Answer the question with a short phrase from the text.\n\nText: {{ context }}\n\nQuestion: {{ question }}",
    question="Answer the question with a short phrase.\n\nQuestion: {{ question }}",
    context="{{ context }}",
)


def f1_and_exact_match(text: str, golds: Sequence[str]) -> tuple[float, float]:
    """Return F1 and exact match after SQuAD's normalisation, each the best over the gold answers."""
    exact_match, f1 = best_over_golds(text, golds)
    return f1, exact_match


TASK = Task(
    name="extractive_qa",
    what="answer a question with a span of the context",
    answered_by="decoding",
    metric="f1",
    label="F1",
    unit="F1 points",
    score_text=f1_and_exact_match,
    shows_exact_match=True,
    templates=TEMPLATES,
    cue="\n\nAnswer:",
    answers_are_spans=True,
    thresholds=Thresholds(marginal=2.0, significant=5.0, strong=10.0),
)
