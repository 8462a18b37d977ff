"""The analysis of a sweep as a record: what every rendering is made from, and what a sweep record keeps of it."""

from __future__ import annotations

from thinwire.report.rows import AnalysisOnly, AnalysisRow, SupportedTier
from thinwire.results.arm_record import CodecMetric
from thinwire.results.record import Record
from thinwire.results.sweep_header import SweepIdentity
from thinwire.stats.tiers import ResolvedTier, Tier
from thinwire.tasks.table import TASKS
from thinwire.tasks.task import Task

TOKEN_ID = "token id"
"""The form of a token on a wire that all others are compared with."""


class AnalysedSweep(SweepIdentity):
    """The sweep that was analysed."""

    seconds: float | None
    """From its start to its end, a pause between two parts of a resumed sweep counted; None without an end."""
    heading: AnalysisOnly[str | None] = None
    """The experiment's own heading for its section of a report."""
    motivation: AnalysisOnly[str | None] = None
    training_questions: AnalysisOnly[int | None] = None
    """Training questions that were drawn, fewer than were asked for if the data hold no more."""
    shared_paragraphs: int = 0
    """Test paragraphs that also occur in the training data."""
    test_questions: int | None = None
    """Test questions that the data hold in all; None where that is not known."""


class VerdictSummary(Record):
    """What the sweep says, by its best arm."""

    headline: str
    sentence: str
    best: str
    """The arm that the selection split chose."""
    judged_by: str | None
    """The best of the other arms where the baseline was chosen; None where nothing is compared."""
    tier: ResolvedTier | None
    """Of the point estimate."""
    supported_tier: SupportedTier | None
    helped: bool | None
    """Whether the data support at least the lowest tier that helps."""
    questions_needed: int | None
    """Test questions that would resolve what is unresolved, if the estimate is right."""
    questions_obstacle: AnalysisOnly[str | None] = None
    """Why no number of questions would resolve what is unresolved; None where one would."""
    baseline_check: str
    uncertainty_covers: str | None
    """The uncertainty in the intervals, as ``stats.bootstrap`` words it."""
    about_lora: AnalysisOnly[bool | None] = None
    """Whether LoRA is all that tells the judged arm from the baseline."""
    next_steps: AnalysisOnly[tuple[str, ...]] = ()
    next_steps_if_confirmed: AnalysisOnly[tuple[str, ...]] = ()
    """Next steps if more questions confirm an estimate that is not resolved."""


class Gain(Record):
    """A difference between two means of the score, with its interval."""

    estimate: float
    low: float | None
    high: float | None
    """Both ends are None where there is no interval."""

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies above or below zero, else 0."""
        if self.low is None or self.high is None or self.low >= self.high:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


class InteractionSummary(Record):
    """The gain of an arm over its baseline, less that of a reference arm over its own: a difference of differences."""

    name: str
    arm: str
    baseline: str
    reference_arm: str
    reference_baseline: str
    of_compression: bool
    """Whether it is LoRA's gain on compressed input, less LoRA's gain on uncompressed input: LoRA is all that is added
    in both gains, and only the reference reads embeddings without compression."""
    block_size: int | None = None
    """Tokens that share a position in the contexts of ``arm``, where that is the compression; None where it is not."""
    gain: Gain
    """Of ``arm`` over ``baseline``. Where that is the sweep's baseline, the interval is the one that the arms have."""
    reference_gain: Gain
    difference: Gain
    """``gain`` less ``reference_gain``, with an interval that holds for all interactions of the sweep at once."""
    p_adjusted: float | None
    """Two-sided p-value of ``difference``, adjusted over all interactions after Holm."""
    reason: str | None
    """Why ``difference`` has no interval, or a bound in its place; None where it has an ordinary one."""
    covers: str
    """The uncertainty in its interval."""

    @property
    def pairs(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """The arm and the baseline of either gain."""
        return (self.arm, self.baseline), (self.reference_arm, self.reference_baseline)


class WireSize(Record):
    """A form in which a token could be sent."""

    form: str
    bits: int | float
    """Of one token."""
    larger_than_id: bool

    @property
    def is_token_id(self) -> bool:
        """Whether this is the token id, with which the others are compared."""
        return self.form == TOKEN_ID


class CompressionSizes(Record):
    """What one arm's codes take, in place of the embedding matrix and on a wire."""

    arm: str
    vocabulary: int
    embedding_width: int
    code_width: int
    matrix_bytes_original: int
    matrix_bytes_codes: int
    matrix_bytes_adapter: int
    matrix_bytes_codec: int
    matrix_bytes_total: int
    """Codes, adapter and codec together."""
    wire_bits: tuple[WireSize, ...]


class CodecSummary(Record):
    """A codec, and the arms and controls that use it."""

    arms: tuple[str, ...]
    label: str
    code_width: int
    """Numbers in the code of a token."""
    code_bits: int | None
    """Bits of a code, packed; None for floats."""
    metrics: tuple[CodecMetric, ...]
    warnings: tuple[str, ...]

    @property
    def code_size(self) -> str:
        """What a code consists of, in words: floats, or packed integers; bits include the scales that a code has."""
        if self.code_bits is None:
            return f"{self.code_width:,} floats"
        return f"{self.code_width:,} x {self.code_bits / self.code_width:.4g} bits"


class Analysis(Record):
    """All that the reports of a sweep say."""

    command: str | None = None
    """What was typed to run the sweep, where somebody said so."""
    sweep: AnalysedSweep
    thresholds: dict[Tier, float]
    """Least gain of each tier that helps."""
    confidence: float
    """Of all intervals."""
    resamples: int
    verdict: VerdictSummary
    interactions: tuple[InteractionSummary, ...] = ()
    """In the order of the experiment file; without those that lack a result of one of their four members."""
    rows: tuple[AnalysisRow, ...]
    """Arms, then controls, then trainings that are not done."""
    bytes: CompressionSizes | None
    """None where no arm uses a codec."""
    codecs: tuple[CodecSummary, ...]
    notes: tuple[str, ...]
    """What readers of any number must know."""

    @property
    def task(self) -> Task:
        """What was asked, and what is written of its scores."""
        return TASKS[self.sweep.task]

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the codecs, a sentence each."""
        return [
            f"codec {codec.label} of {', '.join(codec.arms)}: {warning}"
            for codec in self.codecs
            for warning in codec.warnings
        ]
