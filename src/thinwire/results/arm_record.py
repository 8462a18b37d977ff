"""The record of an arm: ``record.json``, written when the arm is over.

Its existence says that the arm is done, failed or was cancelled. The types here are also what the stages return:
training makes a ``TrainingResult``, evaluation ``Scores``, and neither is copied into another form on its way to disk.
Missing is null; scores and shares are fractions, 0 to 1.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from thinwire.errors import ThinwireError
from thinwire.hashes import content_hash
from thinwire.results.layout import RECORD_FILE, run_of
from thinwire.results.record import Record, Sha256, create_record, damaged, once, read_record
from thinwire.schema import Fraction, PositiveInt
from thinwire.tasks.table import TASKS
from thinwire.tasks.task import Task

Kind = Literal["arm", "control"]
Status = Literal["done", "failed", "cancelled"]

_FILE = r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*$"
"""Pattern of paths in an arm's folder: none leads out of it."""


class Environment(Record):
    """Versions, machine and commit that a result was made with."""

    thinwire: str
    git_commit: str | None
    git_dirty: bool | None
    python: str
    packages: dict[str, str]
    platform: str
    device: str
    cpu_threads: int
    cpus: int | None


class ModelIdentity(Record):
    """Which model; results of models that differ here must not mix."""

    name: str
    revision: str
    dtype: str
    base_bits: int | None


class QuestionHashes(Record):
    """Content hash (SHA-256) of the questions of each split."""

    train: str
    selection: str
    test: str


class TrainableParameters(Record):
    """Numbers of trained parameters."""

    adapter: int
    lora: int

    @property
    def total(self) -> int:
        return self.adapter + self.lora


class CodecMetric(Record):
    """One number that a codec tells of its fit."""

    name: str
    label: str
    """Its name in a table."""
    value: float
    unit: Literal["share", "entries"] = "share"
    """A fraction, or a number of codebook entries."""


class CodecRecord(Record):
    """A fitted codec."""

    file: Annotated[str, Field(pattern=r"^codec/[A-Za-z0-9_\-][A-Za-z0-9_.\-]*$")]
    """Below the sweep's folder."""
    label: str
    code_width: int
    """Numbers in the code of a token."""
    code_bits: int | None
    """Bits of a code, packed; null for floats."""
    num_parameters: int
    num_bytes: int
    """Of what the arm keeps of the codec beside the codes."""
    metrics: tuple[CodecMetric, ...]
    warnings: tuple[str, ...]
    sha256: Sha256 | None = None
    """Of the file; None in records from before files were hashed."""


class ReconstructionMetrics(Record):
    """How well the embedding matrix is rebuilt, rows weighing as often as they occur in the training prompts."""

    cosine: float
    """Mean cosine similarity, -1 to 1."""
    relative_mse: float
    """Mean squared error over the mean square of the matrix; 1 is what predicting zero would cost."""
    nearest_row_accuracy: float
    """Share of tokens whose nearest row of the matrix (Euclidean) is their own, 0 to 1."""


class FrequencyBucket(Record):
    """The rows that occur ``least`` to ``most`` times in the training prompts, each counting once."""

    least: int
    most: int | None
    """None: no limit."""
    num_rows: int
    share_of_tokens: float
    cosine: float
    """Mean cosine similarity."""


class Reconstruction(Record):
    """Quality of a rebuilt embedding matrix, over all tokens and by token frequency."""

    overall: ReconstructionMetrics
    by_frequency: tuple[FrequencyBucket, ...]


class TextReconstruction(Record):
    """How well held-out texts are repeated out of their blocks, or continued where prompts have no question, each token
    after the right ones before it."""

    passages: int
    """Held-out texts."""
    tokens: int
    """Their tokens, and an end token each."""
    cross_entropy: float
    """Mean of a token, in nats."""
    accuracy: Fraction
    """Share of the tokens that are the likeliest."""


class BlockCodes(Record):
    """The codes of blocks of tokens: principal components of their embeddings end to end."""

    code_width: int
    """Numbers in the code of a block."""
    variance_kept: float
    """Share of the variance of the training prompts' blocks that their codes keep, 0 to 1."""


class DegenerationMetrics(Record):
    """How varied a set of answers is. Shares are fractions of all answers, 0 to 1."""

    distinct_share: float
    """Different answers over answers; 1 where no two are equal."""
    top_first_word: str | None
    """The most common first word; null where every answer is empty."""
    top_first_word_share: float
    first_word_entropy: float
    """Entropy of the first word in bits; 0 where all answers start alike."""
    empty_share: float


class Scores(Record):
    """Means over the answers to a split's questions."""

    n: PositiveInt
    """Questions."""
    score: Annotated[Fraction, Field(validation_alias=once("score", "f1"))]
    """The task's own score (``thinwire.tasks``): of extractive question answering, F1."""
    exact_match: Fraction
    raw_score: Annotated[Fraction, Field(validation_alias=once("raw_score", "raw_f1"))]
    """Of the whole answer, before its first line was taken."""
    raw_exact_match: Fraction
    length_stop_share: Fraction
    """Share of answers that the length limit cut short."""
    degeneration: DegenerationMetrics | None
    """None of answers that are not decoded."""


class TrainingResult(Record):
    """What a training did; the weights of the best epoch are in place when it is returned."""

    best_epoch: int
    best_score: float
    num_steps: int
    num_tokens: int
    """Of the arm's own questions, prompts and supervised answers, over all epochs."""
    seconds: float
    """Training alone, selection not counted: this arm's share of the time that its group took."""
    trained_together: int
    """Arms in the group, this one counted; the most that there were, if the group changed with an interruption."""


class AnswerFormMeasures(Record):
    """What training questions say about one form of their answers."""

    in_prompt_share: float
    """Share of the questions whose answer tokens, in their order, occur in their own prompt."""
    first_token_in_prompt_share: float
    """The same for the first answer token alone."""
    log_likelihood: float | None
    """Mean log-probability in nats of an answer and its end token for the frozen model with text as input; null where
    it was not needed."""


class AnswerFormDecision(Record):
    """The form of the supervised answers (``prompt.answer_form``), and what it was chosen by."""

    form: Literal["bare", "space"]
    decided_by: Literal["setting", "in_prompt", "likelihood"]
    num_questions: int
    """Training questions that the shares are computed over."""
    bare: AnswerFormMeasures
    space: AnswerFormMeasures


class PromptSizes(Record):
    """Means over the test prompts."""

    tokens: float
    """Tokens, those in blocks counted."""
    positions: float
    """Positions that the model computes and keeps keys and values of."""
    squared_positions: float | None = None
    """Mean square of the positions, with which attention grows; this and the next are None in records from before
    they were measured."""
    encoder_flops: float | None = None
    """FLOPs of encoding a prompt's blocks; 0 where there are none."""


class ModelShape(Record):
    """The sizes of the model that the cost of a prompt follows from (``thinwire.evaluation.prompt_costs``)."""

    layer_weights: int
    """Weights of the layers' matrices, which each position is multiplied with; those of LoRA are merged into them."""
    num_layers: int
    num_heads: int
    """Query heads of a layer; 0 in a model without attention."""
    num_key_heads: int
    head_width: int
    """Numbers in a key, and in a value."""
    bytes_per_number: int
    """Of keys and values."""


class ArmResults(Record):
    """What an arm that is done has to show."""

    trainable_parameters: TrainableParameters
    codec: CodecRecord | None
    """None where the input is the text itself; so are the two below."""
    reconstruction_at_start: Reconstruction | None
    reconstruction: Reconstruction | None
    training: TrainingResult | None
    selection: Scores
    test: Scores
    seconds_test: float
    """For the answers to the test questions."""
    seconds_embeddings: float | None = None
    """For the input embeddings of those answers where ``seconds_test`` lacks it, because the selection had made them
    before; else 0. None in records from before it was measured."""
    answer_form: AnswerFormDecision | None = None
    """None in records from before there was a choice."""
    prompts: PromptSizes | None = None
    """None in records from before there were blocks."""
    text_reconstruction: TextReconstruction | None = None
    """Before the questions; None unless the arm was trained to write texts out of their blocks."""
    block_codes: BlockCodes | None = None
    """None unless blocks are codes (``blocks.encoder: pca``)."""
    model_shape: ModelShape | None = None
    """None in records from before it was kept."""
    labels: tuple[str, ...] | None = None
    """The labels of a classification; None of other tasks."""


class ResumedRun(Record):
    """An earlier run that the arm was resumed from."""

    epoch: int
    """The last epoch that it finished."""
    step: int | None = None
    """The last optimiser step; None in records from before runs were resumed within epochs."""
    environment: Environment


class ArmRecord(Record):
    """One training: an arm with one of its seeds, or a control."""

    name: str
    """Of its folder: the arm's, with the seed behind it where there are several."""
    arm: str
    kind: Kind
    status: Status
    error: str | None
    config: dict[str, Any]
    """The resolved ``ArmConfig`` as JSON."""
    config_hash: str
    environment: Environment
    model: ModelIdentity
    data: QuestionHashes
    block_formulas: PositiveInt | None = None
    """Version of the formulas of the arm's encoder of blocks; None without blocks, and where it was not kept yet."""
    started_at: str
    finished_at: str
    resumed: tuple[ResumedRun, ...]
    seconds_total: float
    """The arm's own time; of what it shares with others (a training together), its share."""
    results: ArmResults | None
    """None unless ``status`` is done."""
    files: dict[Annotated[str, Field(pattern=_FILE)], Sha256] | None = None
    """SHA-256 of the files that an arm that is done leaves beside its record, by path in its folder; None in records
    from before files were hashed."""

    @model_validator(mode="after")
    def _results_if_done(self) -> Self:
        if (self.results is not None) != (self.status == "done"):
            raise ValueError(f"status {self.status!r} {'without' if self.results is None else 'with'} results")
        return self

    @property
    def task(self) -> Task:
        """The task that the scores are of; records from before there was a choice are of extractive answers."""
        return TASKS[self.config.get("task", "extractive_qa")]

    @property
    def done(self) -> ArmResults:
        """The results of an arm that is done."""
        assert self.results is not None, f"{self.name} is {self.status}"
        return self.results


def create_arm_record(folder: Path, record: ArmRecord) -> None:
    """Write ``record`` into an arm's folder, atomically, if it holds none: of several workers, one ends an arm.

    Raises:
        FileExistsError: it holds one, which is kept.
        StorageError: it cannot be written.
    """
    create_record(folder / RECORD_FILE, record)


def has_arm_record(folder: Path) -> bool:
    """Whether the arm in ``folder`` is over: there is a record, whatever can be read of it."""
    return os.path.lexists(folder / RECORD_FILE)


def read_arm_record(folder: Path) -> ArmRecord:
    """Read what ``write_arm_record`` wrote, checking that it is the record of the arm in ``folder``.

    Raises:
        ThinwireError: the file is missing, damaged, no record of this version, or the record of another arm.
    """
    path = folder / RECORD_FILE
    run = run_of(folder)
    record = read_record(ArmRecord, path, "record of an arm", run, needs_hash=lambda one: one.files is not None)
    here = folder.absolute()
    kind = "control" if here.parent != run else "arm"
    if (record.name, record.kind) != (here.name, kind):
        raise ThinwireError(
            f"{path} is the record of the {record.kind} {record.name}, expected that of the {kind} {here.name}; "
            f"name the folder {record.name} again (of a link, give what it points to), or put its own record there"
        )
    if record.config_hash != content_hash(record.config):
        raise damaged(path, "config_hash is not the hash of config")
    return record
