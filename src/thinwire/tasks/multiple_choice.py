"""Choose one of the options that stand in each row: the one that the model finds most likely."""

from collections.abc import Sequence

from thinwire.tasks.task import Task, Templates, Thresholds


def is_gold(text: str, golds: Sequence[str]) -> tuple[float, float]:
    """Return twice whether the chosen option is a gold one."""
    found = float(text in golds)
    return found, found


TASK = Task(
    name="multiple_choice",
    what="choose one of the options of a question",
    answered_by="choice",
    metric="accuracy",
    label="accuracy",
    unit="points of accuracy",
    score_text=is_gold,
    shows_exact_match=False,
    templates=Templates(
        both="Answer the question with one of the options.\n\nText: {{ context }}\n\nQuestion: {{ question }}\n\n"
        "Options:\n{{ choices }}",
        question="Answer the question with one of the options.\n\nQuestion: {{ question }}\n\nOptions:\n{{ choices }}",
        context="Choose the option that fits the text.\n\nText: {{ context }}\n\nOptions:\n{{ choices }}",
    ),
    cue="\n\nAnswer:",
    thresholds=Thresholds(marginal=2.0, significant=5.0, strong=10.0),
)
