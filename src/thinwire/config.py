"""What an experiment is: frozen settings, checked when made, with unknown keys refused.

An experiment file holds the defaults of its arms at the top level and, under ``arms`` and ``controls``, what each
arm changes. ``Experiment.arm(name)`` merges the two into one complete ``ArmConfig``: nothing downstream ever has to
ask where a value came from.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from thinwire.errors import UsageError

Auto = Literal["auto"]
PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Weighting = Literal["counts", "sqrt", "uniform"]

ARM_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"
"""Arm names become folder names, so they are restricted to what every file system takes."""

RESERVED_NAMES = frozenset(
    {"controls", "codec", "unfinished", "experiment.yaml", "sweep.json", "sweep_summary.txt", "compare_results.py"}
    | {"analysis.json", "report.html", "report.md", "figures"}
)
"""What else a sweep's folder holds; no arm may be called so."""


class Section(BaseModel):
    """A group of settings: immutable, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class ModelConfig(Section):
    """The frozen language model, shared by all arms."""

    name: str = "auto"
    """``auto``, ``smollm2-135m``, ``gemma3-270m``, a Hugging Face id, a checkpoint folder or a ``.gguf`` file."""
    device: str = "auto"
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1``, ..."""
    dtype: Literal["bfloat16", "float32", "auto"] = "auto"
    """Type of the frozen weights; ``auto`` is bfloat16, but float32 on a processor that has no instructions for
    bfloat16. What is trained is float32 in either case."""
    base_bits: Literal[8, 4] | None = None
    """Hold the frozen linear layers in 8 bits (LLM.int8) or 4 (NF4) through bitsandbytes, for a card that they do not
    fit otherwise; null leaves them in ``dtype``. Answers are then given with LoRA beside the weights, not merged."""
    compile: bool | Auto = "auto"
    """Compile the decoder layers for training (torch.compile); ``auto`` where a compiler is at hand and the training
    is long enough to win back the time that it takes, 15 seconds to a minute."""
    cuda_graphs: bool | Auto = "auto"
    """Launch the kernels of a training pass as one CUDA graph (CUDA alone); ``auto`` where the model is small, and the
    GPU would wait for the processor. Passes are padded to a few sizes for it."""


class DataConfig(Section):
    """Questions to train on, to choose by (selection) and to report on (test); shared by all arms."""

    train: str = "squad"
    """``squad``, a SQuAD-format JSON, a flat JSONL, or a Hugging Face dataset id or folder."""
    test: str | None = None
    """Where test questions come from; by default the dev split of ``train``, which a single file lacks."""
    samples: PositiveInt = 5000
    """Training questions, drawn by seed."""
    selection_articles: PositiveInt = 20
    """Whole articles of the train set that are held out to choose epochs and arms by."""
    unanswerable: Literal["refuse", "drop"] = "refuse"
    """SQuAD v2.0 questions without an answer: an error, or left out."""


class PromptConfig(Section):
    """How a question is put to the model; the same in training and evaluation."""

    style: Literal["auto", "chat", "plain"] = "auto"
    """``chat`` uses the tokenizer's chat template, ``plain`` a bare text; ``auto`` is chat where there is one."""
    max_tokens: PositiveInt = 1024
    """Longest prompt in tokens."""
    truncation: Literal["context", "right"] = "context"
    """What a longer prompt loses: ``context``, the context alone; ``right``, all behind ``max_tokens``, question and
    cue included, as naive tokenisation does. ``right`` is here to measure what that fault costs."""


class VQConfig(Section):
    """Vector quantisation (``codec.kind=vq``): the code of a token is which entries of which codebooks it takes."""

    form: Literal["single", "residual", "product"] = "single"
    """One codebook; several, each of what the ones before left over; or one for each part of the latent vector."""
    codebook_size: Annotated[int, Field(ge=2)] = 512
    """Entries of each codebook."""
    num_codebooks: PositiveInt | None = None
    """Codebooks, so integers in a code; by default 8, and always 1 where ``form`` is single."""
    steps: PositiveInt | Auto = "auto"
    """Optimiser steps; ``auto`` is 2,000 on a GPU and 500 on a CPU."""
    learning_rate: Rate = 1e-3
    """Peak rate of AdamW for the linear encoder and decoder; cosine decay to zero."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """An entry is a running mean of the rows that took it; this much of it is kept at each step."""
    commitment_weight: Weight = 0.25
    """Weight of the squared distance from a latent vector to its entry, which keeps the encoder near the entries."""
    dead_below: Weight = 0.5
    """An entry that fewer rows a step take (running mean) is dead: it starts again at a row of the batch; 0: never."""
    kmeans_iterations: Annotated[int, Field(ge=0)] = 10
    """Iterations of k-means over the rows seen, which is where the entries start; 0: at random vectors,
    which does no harm where dead entries start again."""

    @property
    def resolved_codebooks(self) -> int:
        """``num_codebooks``, its default put in."""
        return self.num_codebooks or (1 if self.form == "single" else 8)

    @model_validator(mode="after")
    def _single_has_one(self) -> VQConfig:
        if self.form == "single" and self.resolved_codebooks != 1:
            raise ValueError(
                f"form is single, which has 1 codebook, and num_codebooks is {self.num_codebooks}; "
                "choose form residual or product, or leave num_codebooks out"
            )
        return self


class AutoencoderConfig(Section):
    """An autoencoder (``codec.kind=autoencoder``): codes of as many numbers as PCA's, but learned ones."""

    hidden: PositiveInt = 2304
    """Width of the hidden layers of encoder and decoder. An adapter of the same width starts as the decoder."""
    steps: PositiveInt | Auto = "auto"
    """Optimiser steps; ``auto`` is 10,000 on a GPU and 1,000 on a CPU."""
    learning_rate: Rate = 2e-3
    """Peak rate of AdamW; linear warm-up over 50 steps, then cosine decay to zero."""


class CodecConfig(Section):
    """The compression of the embedding table."""

    kind: str = "pca"
    """One of ``thinwire.codecs.CODECS``."""
    ratio: Rate = 4.0
    """Embedding width over code width; for ``vq``, over the width of the latent vectors that are quantised."""
    compress_dim: PositiveInt | None = None
    """That width itself; overrides ``ratio``."""
    weighting: Weighting = "counts"
    """What a row of the table weighs in PCA, and is drawn by to train other codecs: its occurrences in the training
    prompts, their square root, or 1."""
    bits: Literal[16, 8, 4] | None = None
    """Bits of each number of a PCA code, rounded to integers; by default codes are floats."""
    vq: VQConfig = VQConfig()
    autoencoder: AutoencoderConfig = AutoencoderConfig()

    @model_validator(mode="after")
    def _bits_are_of_pca(self) -> CodecConfig:
        if self.bits is not None and self.kind != "pca":
            raise ValueError(
                f"bits is {self.bits}, which rounds the codes of kind pca, and kind is {self.kind}; leave bits out"
            )
        return self

    def code_width(self, embedding_width: int) -> int:
        """Axes that PCA keeps of embeddings of ``embedding_width`` numbers: a code's width, for ``vq`` the latents'."""
        width = self.compress_dim or max(1, round(embedding_width / self.ratio))
        if width > embedding_width:
            cause = f"codec.compress_dim is {width}" if self.compress_dim else f"codec.ratio is {self.ratio}"
            raise UsageError(
                f"{cause}, but a code has at most as many numbers as an embedding, {embedding_width}; "
                f"choose compress_dim 1 to {embedding_width}, or a ratio of 1 or more"
            )
        return width


class AdapterConfig(Section):
    """The trained decoder from codes to embeddings."""

    hidden: PositiveInt = 2304
    """Width of the hidden layer of the residual branch."""


class ReconstructionConfig(Section):
    """Training of the adapter against the embedding table, before and during an arm."""

    mode: Literal["table", "sequence"] = "table"
    """Rows drawn by their frequency in the training prompts, or the prompts themselves, batch by batch."""
    steps: PositiveInt | Literal["auto", 0] = "auto"
    """Optimiser steps before any arm starts; ``auto`` is 10,000 on a GPU and 1,000 on a CPU, 0 the linear decoder."""
    batch_rows: PositiveInt = 2048
    """Table rows a step (``table``); ``sequence`` takes whole prompts, at least this many tokens."""
    learning_rate: Rate = 2e-3
    """Peak rate of AdamW; linear warm-up over 50 steps, then cosine decay to zero."""
    weighting: Weighting = "counts"
    """What a row is drawn by before an arm (``table``): its occurrences in the training prompts, their square root, or
    1. During an arm, rows count as often as they occur."""
    uniform_share: Fraction = 0.1
    """Share of table rows drawn uniformly, so that tokens absent from the training prompts are learned too."""
    cosine_weight: Weight = 1.0
    """Weight of 1 - cosine, before and during an arm."""
    mse_weight: Weight = 0.1
    """Weight of the squared error over the table's mean square, before and during an arm."""


class SupervisionConfig(Section):
    """What the answers teach: the first few answer tokens, never the prompt."""

    k_tokens: PositiveInt = 4
    """Answer tokens supervised, the end token counted."""
    ce_weight: Weight = 0.01
    """Weight of the cross-entropy on those tokens."""
    kd_weight: Weight = 0.0
    """Weight of KL(teacher || student) on those positions."""
    teacher: str | None = None
    """Folder of the finished arm that teaches; by default the model itself does, reading text without LoRA."""


class LoraSettings(Section):
    """Low-rank adaptation of the frozen model (Hu et al. 2021, arXiv:2106.09685)."""

    rank: Annotated[int, Field(ge=0)] = 0
    """Rank of the update; 0 means no LoRA."""
    alpha: Rate = 16.0
    """The update is scaled by ``alpha / rank``."""
    layers: PositiveInt | Literal["all"] = "all"
    """How many layers, counted from the input, are adapted."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the linear modules adapted in each layer."""


class TrainingConfig(Section):
    """How an arm is trained."""

    epochs: Annotated[int, Field(ge=0)] = 3
    batch_size: PositiveInt = 32
    """Questions per optimiser step, whatever the memory: passes are split, never the batch."""
    pass_tokens: PositiveInt | Auto = "auto"
    """Most tokens in one forward pass; ``auto`` follows the model's size and the free memory."""
    batching: Literal["shuffled", "grouped"] = "shuffled"
    """``shuffled`` visits questions in random order; ``grouped`` visits paragraphs in random order, each with all its
    drawn questions, so that a paragraph is read once for all of them (``share_prefixes``). It changes which questions
    share a step, and thereby results."""
    share_prefixes: bool = True
    """Compute what several prompts of a pass begin with once. Gradients stay the same; with LoRA dropout, the shared
    part has one dropout mask instead of one for each prompt."""
    adapter_lr: Rate = 1e-4
    lora_lr: Rate = 1e-3
    warmup_steps: Annotated[int, Field(ge=0)] | Auto = "auto"
    """Linear warm-up; ``auto`` is 20 or a tenth of the run, whichever is less. Then linear decay to zero."""
    weight_decay: Weight = 0.0
    clip_norm: Rate = 1.0
    """Largest norm of the gradient of all trained parameters together."""


class EvaluationConfig(Section):
    """How answers are produced and how many are scored."""

    samples: PositiveInt | Literal["auto", "all"] = "auto"
    """Test questions, drawn by seed; ``auto`` is 1,000 on a GPU and 100 on a CPU."""
    selection_samples: PositiveInt | Auto = "auto"
    """Selection questions, drawn by seed; ``auto`` is 500 on a GPU and 50 on a CPU."""
    max_new_tokens: PositiveInt = 24
    """Longest answer, greedy decoding."""
    stop: Literal["end", "length"] = "end"
    """``end``: an answer ends at an end token or, for plain prompts, at a line end. ``length``: it always takes
    ``max_new_tokens``, as in a harness without stop tokens; here to measure what that fault costs."""
    score: Literal["first_line", "raw"] = "first_line"
    """What of an answer is scored, and epochs and arms are chosen by: its first line, or all of it."""
    pass_tokens: PositiveInt | Auto = "auto"
    """Most tokens in one batch of decoding, prompts padded to the longest and their answers counted."""


class VerdictConfig(Section):
    """When a gain counts, and how surely. Gains are F1 points over the baseline arm."""

    marginal: Rate = 2.0
    significant: Rate = 5.0
    strong: Rate = 10.0
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Of the simultaneous intervals over all arms."""
    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples."""
    power: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    """Probability with which a stated number of questions would resolve what is unresolved."""

    @model_validator(mode="after")
    def _thresholds_rise(self) -> VerdictConfig:
        if not self.marginal < self.significant < self.strong:
            raise ValueError(f"thresholds must rise, not {self.marginal:g}, {self.significant:g}, {self.strong:g}")
        return self


class ArmConfig(Section):
    """All that defines one arm or control."""

    reads: Literal["adapter", "codec", "text"] = "adapter"
    """What the model reads: the adapter's reconstruction, the codec's own (linear) one, or the text itself."""
    context: bool = True
    """Whether the prompt contains the paragraph, or the question alone."""
    seed: int = 0
    """Seed of the data order, initial values and dropout; the experiment's own seed also draws the questions."""
    prompt: PromptConfig = PromptConfig()
    codec: CodecConfig = CodecConfig()
    adapter: AdapterConfig = AdapterConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    supervision: SupervisionConfig = SupervisionConfig()
    lora: LoraSettings = LoraSettings()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @property
    def is_supervised(self) -> bool:
        """Whether the answers teach anything, so that the model runs in training."""
        return self.supervision.ce_weight > 0 or self.supervision.kd_weight > 0

    @property
    def has_trainable(self) -> bool:
        """Whether anything in this arm learns."""
        return self.training.epochs > 0 and (self.reads == "adapter" or self.lora.rank > 0)


class Experiment(ArmConfig):
    """A sweep: the defaults of its arms, what they share, and the arms."""

    name: str = Field(pattern=ARM_NAME)
    """Names the results, and their folder below ``runs`` unless another is given."""
    description: str = ""
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    baseline: str = "baseline"
    """The arm that the others are compared with."""
    seeds: tuple[int, ...] = ()
    """Train every arm once with each of these seeds; by default once, with ``seed``. Controls run once."""
    fused_arms: PositiveInt | Auto = "auto"
    """Most arms that train together in one pass over the model, where they see the same questions in the same order;
    ``auto`` is 16 on a GPU with a small model and 1 elsewhere. Results are the same, but for rounding and dropout."""
    processes: PositiveInt | Auto = "auto"
    """Most groups of arms that run side by side on a CPU, each in a process with a part of the cores; ``auto`` is as
    many as have a core, memory and enough to train. Results are the same, but for rounding."""
    verdict: VerdictConfig = VerdictConfig()
    arms: dict[Annotated[str, Field(pattern=ARM_NAME)], dict[str, Any]] = Field(min_length=1)
    """What each arm changes, by name."""
    controls: dict[Annotated[str, Field(pattern=ARM_NAME)], dict[str, Any]] = {}
    """References that are no arms (text, codec only, ...), in the same form."""

    @field_validator("arms", "controls", mode="before")
    @classmethod
    def _empty_means_unchanged(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: {} if changes is None else changes for name, changes in value.items()}

    @model_validator(mode="after")
    def _all_arms_resolve(self) -> Experiment:
        if shared := sorted(set(self.arms) & set(self.controls)):
            raise ValueError(f"{', '.join(shared)}: the name of an arm and of a control; rename one")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} names a seed twice")
        if taken := sorted(RESERVED_NAMES & set(self.arms)):
            raise ValueError(f"arms cannot be called {', '.join(taken)}: the sweep's folder has other uses for it")
        if self.baseline not in self.arms:
            raise ValueError(f"baseline: {self.baseline!r} is no arm{_nearest(self.baseline, self.arms)}")
        for name in (*self.arms, *self.controls):
            self.arm(name)
        return self

    def arm(self, name: str) -> ArmConfig:
        """The complete configuration of an arm or control: the defaults with its changes merged in."""
        for kind, group in (("arms", self.arms), ("controls", self.controls)):
            if name in group:
                defaults = self.model_dump(include=set(ArmConfig.model_fields))
                return build(ArmConfig, merge(defaults, group[name]), where=f"{kind}.{name}")
        known = [*self.arms, *self.controls]
        raise UsageError(f"no arm or control called {name!r}{_nearest(name, known)}; there are: {', '.join(known)}")


AnySection = typing.TypeVar("AnySection", bound=Section)


def build(cls: type[AnySection], data: Mapping[str, Any], where: str) -> AnySection:
    """Validate ``data`` as ``cls``; every complaint is one readable line that starts with the setting's path."""
    _refuse_unknown_keys(cls, data, where)
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        raise UsageError("\n".join(_complaint(item, where) for item in error.errors())) from None


def _complaint(item: Any, where: str) -> str:
    # Pydantic adds the member of a union to the location; those parts name types, not settings.
    parts = [str(part) for part in item["loc"] if str(part).isidentifier() and str(part) not in ("int", "float")]
    path = ".".join([where, *parts] if where else parts)
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] in ("value_error",):
        return f"{path}: {message}" if path else message
    return f"{path}: {message}, got {item['input']!r}"


def _refuse_unknown_keys(cls: type[Section], data: Mapping[str, Any], where: str) -> None:
    for key, value in data.items():
        path = f"{where}.{key}" if where else str(key)
        field = cls.model_fields.get(str(key))
        if field is None:
            valid = list(cls.model_fields)
            raise UsageError(f"unknown setting {path!r}{_nearest(str(key), valid)}; valid here: {', '.join(valid)}")
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            if isinstance(value, Mapping):
                _refuse_unknown_keys(section, value, path)
            elif not isinstance(value, section):
                raise UsageError(f"{path} is a group of settings, got {value!r}; set {path}.<key> instead")
        elif key in ("arms", "controls") and isinstance(value, Mapping):
            for name, changes in value.items():
                if isinstance(changes, Mapping):
                    _refuse_unknown_keys(ArmConfig, changes, f"{path}.{name}")
                elif changes is not None:
                    raise UsageError(f"{path}.{name} is a mapping of changes, got {changes!r}; set its keys instead")


def _nearest(name: str, valid: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``: groups of settings are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged
