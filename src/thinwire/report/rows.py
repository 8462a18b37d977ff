"""A row of the analysis: all that reports say of one arm or control.

Scores, shares and differences are fractions; renderings show points. What is missing is None.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from thinwire.evaluation.degeneration import Finding
from thinwire.evaluation.extractors import ExtractorScore
from thinwire.results.arm_record import Kind, Status
from thinwire.results.record import Record, once
from thinwire.stats.tiers import ResolvedTier

Value = TypeVar("Value")

ANALYSIS_ONLY = "analysis only"
"""Marks a field that a sweep record leaves out, so that it stays small: answers, and what no published table shows."""

AnalysisOnly = Annotated[Value, ANALYSIS_ONLY]

SupportedTier = ResolvedTier | Literal["unresolved"]
"""What the interval that holds for all arms at once shows, if the data decide."""


class LearnedTexts(Record):
    """What an arm wrote out of blocks: passages that it learned from, and held-out texts that it was measured on."""

    passages: int | None = None
    """Learned from, an earlier one seen again counted again; None where the arm's settings do not say."""
    held_out_texts: int
    held_out_tokens: int
    """Those of the held-out texts, and an end token each."""


class Difference(Record):
    """An arm's difference to the baseline in one metric."""

    estimate: float
    low: float | None
    """Ends of the interval that holds for all arms at once; None where there is no interval."""
    high: float | None
    pointwise_low: float | None
    """Ends of the interval of this arm alone."""
    pointwise_high: float | None
    p_adjusted: float | None
    """Two-sided p-value, adjusted over all arms after Holm."""
    reason: str | None
    """Why there is no interval, or a bound in its place; None where there is an ordinary one."""


class ShareOfCeiling(Record):
    """How much of the way from the codec alone to text + LoRA an arm goes; 1 is the whole of it."""

    estimate: float
    low: float | None
    high: float | None
    num_seeds: int
    """Trainings of the arm that it is the mean of."""
    reason: str | None = None
    """Why there is no interval; None where there is one."""


class AnswerSummary(Record):
    """Form metrics of one set of answers, as ``evaluation.answer_metrics`` explains them.

    Shares are fractions of all answers.
    """

    num_answers: AnalysisOnly[int | None] = None
    distinct_share: float
    top_first_word: str | None
    top_first_word_share: float
    first_word_entropy: AnalysisOnly[float | None] = None
    """Bits."""
    empty_share: AnalysisOnly[float | None] = None
    mode_share: AnalysisOnly[float | None] = None
    num_siblings: AnalysisOnly[int | None] = None
    same_in_paragraph_share: AnalysisOnly[float | None] = None
    missed_opening_share: AnalysisOnly[float | None] = None
    repeated_share: AnalysisOnly[float | None] = None
    run_on_share: float | None
    """Answers that the length limit cut short; None for gold answers."""
    exact_share: AnalysisOnly[float | None] = None
    present_not_exact_share: AnalysisOnly[float | None] = None
    copied_question_share: AnalysisOnly[float | None] = None


class AnswerExample(Record):
    """One real answer that shows the finding."""

    id: str
    question: str
    golds: tuple[str, ...]
    raw_text: str


class Degeneration(Record):
    """Whether the answers degenerated, with the numbers behind it; of several seeds, those of the first."""

    finding: Finding
    seed: int | None = None
    """Of the training whose answers they are; None in records of earlier versions, which have the first seed's too."""
    metrics: AnswerSummary
    gold: AnalysisOnly[AnswerSummary | None] = None
    """Of the gold answers to the same questions, as if predicted."""
    text: AnalysisOnly[AnswerSummary | None] = None
    """Of the model that reads text, untrained; None where that control was not run."""
    reasons: tuple[str, ...] = ()
    """The metrics beyond their limits that decided the finding, a phrase each; none where it is healthy."""
    examples: AnalysisOnly[tuple[AnswerExample, ...]] = ()


class PromptCosts(Record):
    """What reading a test prompt takes: means over the test prompts. None is what an earlier version did not record."""

    tokens: float
    positions: float
    """Fewer than the tokens where several share one."""
    prefill_flops: float | None
    """Of the model's layers, the whole prompt computed."""
    encoder_flops: float | None
    """Of encoding its blocks; 0 where there are none."""
    cache_bytes: float | None
    """Keys and values of the prompt in all layers."""
    seconds: float | None
    """For all test questions, their blocks' embeddings included: a mean over the seeds, as measured in the sweep."""
    questions_per_second: float | None
    block_size: int | None
    """Tokens in a block of the context; None where every position is a token."""
    encoder: str | None
    """What encodes the blocks (``blocks.encoder``)."""


class AnalysisRow(Record):
    """One arm or control, with all its seeds.

    Metrics are means over the seeds. A training that is not done has its name, settings and minutes, and None for
    everything that was not measured.
    """

    name: str
    kind: Kind
    status: Status
    error: str | None = None
    best: bool = False
    """Whether the selection split chose this arm."""
    is_baseline: bool = False
    input: Literal["adapter", "codec", "text", "blocks"]
    """The setting of this name: what stands in for the embedding matrix."""
    rank: int | None = None
    """Rank, alpha and layers are None without LoRA."""
    alpha: float | None = None
    layers: int | Literal["all"] | None = None
    num_layers: int
    """Layers that LoRA adapts: of ``all``, the model's number; 0 without LoRA."""
    position: Literal["first", "middle", "last"] = "first"
    """Which layers LoRA adapts, if not all."""
    settings: dict[str, Any] = Field(default={})
    """Values, by path, of the settings in which the sweep's arms differ and which have an effect on this one."""
    n: int | None = None
    """Test questions."""
    num_seeds: int | None = None
    """Trainings, each with a seed of its own; 1 of a control that does not train."""
    params: int | None = None
    """Trained parameters, of adapter and LoRA together."""
    adapter_params: int | None = None
    lora_params: int | None = None
    matrix_bytes: int | None = None
    """Bytes of codes, adapter and codec, which stand in for the embedding matrix; None where the input is text."""
    code_bits: int | None = None
    """Bits of a token's code: integers packed, floats at the size of the model's own numbers."""
    minutes: float
    """Time of all its trainings, evaluation included."""
    score: float | None = Field(default=None, validation_alias=once("score", "f1"))
    """The task's score and EM on the test questions."""
    em: float | None = None
    raw_score: float | None = Field(default=None, validation_alias=once("raw_score", "raw_f1"))
    """Of whole answers, before their first line was taken."""
    raw_em: AnalysisOnly[float | None] = None
    selection_score: float | None = Field(default=None, validation_alias=once("selection_score", "selection_f1"))
    """Score on the selection split, which chooses the epoch and the best arm."""
    score_difference: Difference | None = Field(
        default=None, validation_alias=once("score_difference", "f1_difference")
    )
    """To the baseline; None for controls and for the baseline itself."""
    em_difference: Difference | None = None
    observed_tier: ResolvedTier | None = None
    """Of the point estimate of the difference in the score."""
    supported_tier: SupportedTier | None = None
    questions_needed: int | None = None
    """Test questions that would resolve what is unresolved, if the estimate is right."""
    questions_obstacle: AnalysisOnly[str | None] = None
    """Why no number of questions would resolve what is unresolved; None where one would."""
    share_of_ceiling: ShareOfCeiling | None = None
    """None for controls, and where the controls that it needs are missing."""
    prompt_costs: PromptCosts | None = None
    """None in a sweep in which every prompt has as many positions as tokens."""
    cosine_at_start: float | None = None
    """Cosine of rebuilt and true embeddings, weighted by use, before the arm was trained."""
    cosine: float | None = None
    rare_cosine: float | None = None
    """Mean cosine of the rows that occur 1 to 9 times in the training prompts."""
    relative_mse: float | None = None
    nearest_row_accuracy: float | None = None
    written: float | None = None
    """Share of the tokens of held-out texts that are written rightly out of their blocks before the questions."""
    learned_texts: AnalysisOnly[LearnedTexts | None] = None
    """What stands behind ``written``: of the first seed, which all seeds have in common."""
    degeneration: Degeneration | None = None
    extractors: AnalysisOnly[dict[str, ExtractorScore]] = Field(default={})
    """Scores of the answers under each extractor, by its name: means over the seeds, as the score is."""

    @property
    def done_score(self) -> float:
        """Score of a training that is done."""
        assert self.score is not None, f"{self.name} is {self.status}"
        return self.score
