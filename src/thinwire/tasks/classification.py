"""Give each text one of the labels that the training questions have: the one that the model finds most likely."""

from thinwire.tasks.multiple_choice import is_gold
from thinwire.tasks.task import Task, Templates, Thresholds

TASK = Task(
    name="classification",
    what="give a text one of the labels that the training data have",
    answered_by="choice",
    metric="accuracy",
    label="accuracy",
    unit="points of accuracy",
    score_text=is_gold,
    shows_exact_match=False,
    templates=Templates(
        both="{{ question }}\n\nText: {{ context }}\n\nLabels:\n{{ choices }}",
        question="Choose the label of the text.\n\nText: {{ question }}\n\nLabels:\n{{ choices }}",
        context="Choose the label of the text.\n\nText: {{ context }}\n\nLabels:\n{{ choices }}",
    ),
    cue="\n\nLabel:",
    has_labels=True,
    thresholds=Thresholds(marginal=2.0, significant=5.0, strong=10.0),
)
