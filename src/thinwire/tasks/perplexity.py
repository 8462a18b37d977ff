"""Go on with a text: how likely the model finds the words that follow.

The score of a text is the geometric mean of the probabilities of its tokens, which is 1 / perplexity: from 0 to 1, and
higher where the model reads better, as every other score.
"""

from collections.abc import Sequence

from thinwire.tasks.task import Task, Templates, Thresholds


def not_scored(text: str, golds: Sequence[str]) -> tuple[float, float]:
    """Raise an error: no text is answered.

    Raises:
        ValueError: always.
    """
    raise ValueError("texts are scored by their probability, not by a comparison")


TASK = Task(
    name="perplexity",
    what="go on with a text; how likely the model finds the words that follow",
    answered_by="likelihood",
    metric="inverse_perplexity",
    label="1/perplexity",
    unit="points of 1/perplexity",
    score_text=not_scored,
    shows_exact_match=False,
    templates=Templates(both="{{ question }}\n\n{{ context }}", question="{{ question }}", context="{{ context }}"),
    cue="",
    is_plain=True,
    thresholds=Thresholds(marginal=0.5, significant=1.0, strong=2.0),
)
