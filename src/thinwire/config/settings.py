"""Settings of an experiment: frozen, validated when created; unknown keys are refused.

An experiment file has the defaults of its arms at the top level and, under ``arms`` and ``controls``, each arm's
changes. ``Experiment.arm(name)`` merges the two into one complete ``ArmConfig``, so that no other code has to know
where a value came from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from thinwire.codecs.settings import RowTrainingConfig
from thinwire.errors import shown
from thinwire.inputs import check_path, text_fault
from thinwire.schema import Auto, ByDevice, PositiveInt, Rate, Section, Tokens, Weight, Width
from thinwire.stats.tiers import Tiers

AUTO_MAP = "auto_map"
"""The value of ``model.device`` that divides a model's layers among GPUs."""

_UNSUPPORTED_DEVICES = ("mps", "xpu", "hpu", "mtia", "npu", "xla", "ipu", "vulkan")
"""Devices that torch has, and on which Thinwire has never been run."""


class ModelConfig(Section):
    """The frozen language model, shared by all arms."""

    name: str = "auto"
    """``auto``, ``smollm2-135m``, ``gemma3-270m``, a Hugging Face id, a checkpoint folder or a ``.gguf`` file."""
    device: str = "auto"
    """``auto`` (CUDA if available), ``cpu``, ``cuda``, ``cuda:1``, ..., or ``auto_map``: divide the layers among all
    visible GPUs of the process, for a model that is too large for one."""
    dtype: Literal["bfloat16", "float32", "auto"] = "auto"
    """Type of the frozen weights; ``auto`` is bfloat16, but float32 on a CPU without instructions for bfloat16. Trained
    parameters are float32 in either case."""
    base_bits: Literal[8, 4] | None = None
    """Hold the frozen linear layers in 8 bits (LLM.int8) or 4 bits (NF4) with bitsandbytes, for a GPU whose memory is
    too small otherwise; null keeps them in ``dtype``. LoRA is then not merged for decoding, but computed beside the
    weights."""
    compile: bool | Auto = "auto"
    """Compile the decoder layers for training (torch.compile); ``auto`` does so where a compiler is available and
    training is long enough to win back the compilation time of 15 seconds to a minute."""
    cuda_graphs: bool | Auto = "auto"
    """Launch the kernels of a training micro-batch as one CUDA graph (CUDA only); ``auto`` does so for small models,
    where the GPU would wait for the CPU. Micro-batches are then padded to a few shape buckets."""

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|auto_map|cpu|cuda(:\d{1,3})?", device, re.ASCII):
            from thinwire.ops.device import usable_devices  # imports torch, which takes seconds

            known = device.partition(":")[0] in _UNSUPPORTED_DEVICES
            found = "is not supported: Thinwire runs on CPUs and CUDA GPUs" if known else "is no device"
            raise ValueError(
                f"{shown(device)} {found}; use auto, auto_map, or what is here: {', '.join(usable_devices())}"
            )
        return device

    @model_validator(mode="after")
    def _can_be_divided(self) -> Self:
        of_one_device = {
            "base_bits": self.base_bits is not None,
            "compile=true": self.compile is True,
            "cuda_graphs=true": self.cuda_graphs is True,
        }
        chosen = next((name for name, is_chosen in of_one_device.items() if is_chosen), None)
        if self.device == AUTO_MAP and chosen is not None:
            raise ValueError(f"{chosen} is for a model on one device, not for device=auto_map; take one out")
        return self

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        check_path(name, "model")
        return name


class ColumnsConfig(Section):
    """The columns of questions in a table: a ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` file, a JSON list of
    objects, or a Hugging Face dataset. They hold for ``train`` and ``test`` alike; SQuAD-format JSON has names of its
    own. A dot leads into objects: ``annotation.gold`` is ``gold`` in ``annotation``, unless there is a column of just
    that name."""

    id: str | None = "id"
    """Ids of the questions. Where there is no column ``id``, an id is made from each context and question; null makes
    them in any case. A column of another name must be there."""
    context: str | None = "context"
    """Paragraphs. Null: there are none, and prompts are the question alone; each row is then a paragraph of its own, or
    the rows of a title are one."""
    question: str | None = "question"
    """Questions. Null: there are none, and contexts are texts to be continued."""
    answers: str | None = None
    """Gold answers; null takes ``answers`` or ``answer``, whichever there is. Of a multiple-choice question, the text
    of a choice, its index from 0 as an integer, or its letter (A, B, ...)."""
    choices: str | None = None
    """Options of multiple-choice questions: lists of texts; null reads none."""
    title: str | None = "title"
    """Articles, which are held out as a whole. A column ``title`` need not be there, one of another name must be; null
    reads none, so that each paragraph is an article."""

    @model_validator(mode="after")
    def _one_column_each(self) -> ColumnsConfig:
        taken: dict[str, str] = {}
        for field, column in self:
            if column is None:
                continue
            if not column.strip() or not column.isprintable():
                raise ValueError(f"{field} takes the name of a column, got {shown(column)}")
            if (other := taken.setdefault(column, field)) != field:
                raise ValueError(
                    f"{other} and {field} both name the column {shown(column)}; name one for each, or null for "
                    f"a title or id that there is not ({other}=null)"
                )
        if self.context is None and self.question is None:
            raise ValueError("context and question are both null, so there is nothing to ask; name a column for one")
        return self


class DataConfig(Section):
    """Questions for training, for choosing epochs and arms (selection), and for reported scores (test); shared by all
    arms."""

    train: str = "squad"
    """``squad``, a SQuAD-format ``.json``, a table (``.jsonl``, ``.csv``, ``.tsv``, ``.parquet``, a JSON list of
    objects), or a Hugging Face dataset id or folder."""
    test: str | None = None
    """Source of the test questions; by default the dev split of ``train``, which a single file does not have."""
    test_articles: PositiveInt | None = None
    """Take the test questions from that many whole articles of the train set instead, held out beside those of
    ``selection_articles``; null takes them from ``test``."""
    samples: PositiveInt = 5000
    """Training questions, drawn by seed."""
    selection_articles: PositiveInt = 20
    """Whole articles of the train set that are held out to choose epochs and arms."""
    unanswerable: Literal["refuse", "drop"] = "refuse"
    """SQuAD v2.0 questions without an answer: ``refuse`` makes them an error, ``drop`` leaves them out."""
    mismatched: Literal["refuse", "drop", "keep"] = "refuse"
    """Questions whose answers are not where they should be in the context: an ``answer_start`` that does not point at
    its answer, or a first answer without ``answer_start`` that is nowhere in it. ``refuse`` makes them an error,
    ``drop`` leaves them out, ``keep`` takes them as they are, for answers in other words than the context's. Questions
    without a context or with choices are never mismatched, and those of tasks other than ``extractive_qa`` are not
    checked."""
    allow_shared_paragraphs: bool = False
    """Whether training, selection and test questions may have paragraphs in common; by default that is an error. If
    they may, the sweep warns and records the number of shared test paragraphs."""
    distractors: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Other paragraphs of the same article and split that stand in each context beside that of the question, in random
    order: long contexts. They are drawn by the seed and the paragraph, so that all its questions have the same context;
    an article with fewer paragraphs gives all that it has. ``prompt.max_tokens`` must leave room for them."""
    columns: ColumnsConfig = ColumnsConfig()

    @field_validator("train", "test")
    @classmethod
    def _is_a_path(cls, source: str | None) -> str | None:
        if source is not None:
            check_path(source, "data")
        return source

    @model_validator(mode="after")
    def _one_source_of_test_questions(self) -> DataConfig:
        if self.test is not None and self.test_articles is not None:
            raise ValueError(
                f"test={self.test} and test_articles={self.test_articles} are two sources of test questions; "
                "set one of them to null"
            )
        return self


AnswerForm = Literal["bare", "space"]
"""How a supervised answer begins: with its first word (``bare``), or with a space before it."""


ContextChoice = Literal["beginning", "bm25"]
"""Which tokens of a context are kept where only a share of them is."""


class Turn(Section):
    """A message before the question."""

    role: Literal["system", "user", "assistant"]
    """Who says it."""
    content: str
    """What is said."""

    @field_validator("content")
    @classmethod
    def _is_a_text(cls, content: str) -> str:
        if fault := text_fault(content):
            raise ValueError(f"takes a text, got {fault}")
        return content


class PromptConfig(Section):
    """The prompt, the same in training and evaluation."""

    style: Literal["auto", "chat", "plain"] = "auto"
    """``chat`` uses the tokenizer's chat template, ``plain`` is bare text; ``auto`` is chat if there is a template."""
    template: str | None = None
    """The user's message as a Jinja template of ``context``, ``question`` and ``choices`` (the options, one a line:
    ``A. first``); what there is not is empty, and ``{% if context %}`` asks whether there is one. Contents must be
    inserted as they are. Null is the built-in message, which follows what there is."""
    cue: str | None = None
    """What a plain prompt ends with, after the message; may be empty. Null is ``Answer:`` after an empty line, and
    nothing where there is no question. The chat style has no use for it."""
    turns: tuple[Turn, ...] = ()
    """Messages before every question, ``{role, content}`` each: a ``system`` message if wanted, then worked examples in
    pairs of ``user`` and ``assistant``. The chat style puts them through the chat template; a plain prompt begins with
    them as text: the system message, then each example with the cue and its answer, with an empty line after each."""
    max_tokens: Tokens = 1024
    """Maximum prompt length in tokens, after ``context_share``."""
    context_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each context's tokens that the prompt keeps, rounded up, in training and evaluation alike: 0.5 takes as
    many positions as blocks of 2 tokens. What is kept does not depend on the answer."""
    context_choice: ContextChoice = "beginning"
    """Which tokens ``context_share`` keeps: the ``beginning`` of the context, or, in their order, the sentences that
    score highest by ``bm25`` against the question, of which the last one is cut where the tokens are used up."""
    truncation: Literal["context", "right"] = "context"
    """How a longer prompt is cut: ``context`` shortens only the context; ``right`` cuts everything after
    ``max_tokens``, question and cue included, as naive tokenisation does. ``right`` exists to measure what that fault
    costs."""
    answer_form: AnswerForm | Auto = "auto"
    """Tokens of a supervised answer: ``bare`` begins with the first word, ``space`` with a space before it, as inside a
    sentence. ``auto`` takes the form whose tokens occur in more of the training prompts. If that differs by less than
    0.1 of the questions, it takes the form that the untrained model finds more likely. Decoding does not depend on
    it."""

    @field_validator("template")
    @classmethod
    def _is_a_text(cls, template: str | None) -> str | None:
        if template is not None and (fault := text_fault(template)):
            raise ValueError(f"takes a Jinja template, or null for the built-in message; got {fault}")
        return template

    @field_validator("turns")
    @classmethod
    def _examples_are_pairs(cls, turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
        roles = [turn.role for turn in turns]
        pairs = roles[1:] if roles[:1] == ["system"] else roles
        if len(pairs) % 2 or pairs != ["user", "assistant"] * (len(pairs) // 2):
            raise ValueError(
                "takes a system message first, if any, then pairs of user and assistant (the question follows); got "
                f"{', '.join(roles)}"
            )
        return turns


class AdapterConfig(Section):
    """The trained decoder from codes to embeddings."""

    hidden: Width = 2304
    """Width of the hidden layer of the residual MLP."""


class ReconstructionConfig(RowTrainingConfig):
    """Training of the adapter towards the embedding matrix, before and during an arm."""

    mode: Literal["rows", "sequence"] = "rows"
    """``rows`` draws rows by their frequency in the training prompts; ``sequence`` takes the prompts themselves, batch
    by batch."""


class SupervisionConfig(Section):
    """Supervision by the first answer tokens; the prompt is never supervised."""

    k_tokens: Tokens = 4
    """Supervised answer tokens, including the end token."""
    ce_weight: Weight = 0.01
    """Weight of the cross-entropy on those tokens, averaged over them."""
    first_token_ce_weight: Weight = 0.0
    """Weight of the cross-entropy on the first answer token alone, averaged over the answers; added to the one on the
    first ``k_tokens``."""
    kd_weight: Weight = 0.0
    """Weight of KL(teacher || student) at the positions of the first ``k_tokens``."""
    teacher: str | None = None
    """Folder of the arm that serves as the teacher: a finished one, or one of the same sweep, which is run first. By
    default the model itself, with text as input and without LoRA."""

    @property
    def is_on(self) -> bool:
        """Whether answers contribute to the loss."""
        return self.ce_weight > 0 or self.first_token_ce_weight > 0 or self.kd_weight > 0

    @property
    def num_tokens(self) -> int:
        """The answer tokens that are computed: ``k_tokens``, or the first alone if no other contributes."""
        return self.k_tokens if self.ce_weight > 0 or self.kd_weight > 0 else 1


class TrainingConfig(Section):
    """Training of an arm."""

    renamed: ClassVar[Mapping[str, str]] = {"pass_tokens": "micro_batch_tokens"}

    epochs: Annotated[int, Field(ge=0, le=100_000)] = 3
    """Epochs over the training questions; 0 trains nothing on them, so an arm that reads blocks learns from
    texts alone."""
    batch_size: Annotated[int, Field(gt=0, le=1_000_000)] = 32
    """Questions per optimiser step, independent of memory: a batch is split into micro-batches, but never reduced."""
    micro_batch_tokens: Tokens | Auto = "auto"
    """Maximum tokens in one forward pass; ``auto`` depends on the model's size and the free memory."""
    batching: Literal["shuffled", "grouped"] = "shuffled"
    """``shuffled`` visits questions in random order; ``grouped`` visits paragraphs in random order, each with all its
    drawn questions, so that a paragraph is computed once for all of them (``share_prefixes``). This changes which
    questions share a step, and thereby results."""
    share_prefixes: bool = True
    """Compute common prefixes of a micro-batch's prompts once. Gradients stay the same; with LoRA dropout, the shared
    part has one dropout mask instead of one per prompt."""
    adapter_lr: Rate = 1e-4
    """Peak learning rate of AdamW for the adapter."""
    lora_lr: Rate = 1e-3
    """Peak learning rate of AdamW for LoRA."""
    warmup_steps: Annotated[int, Field(ge=0, le=1_000_000_000)] | Auto = "auto"
    """Steps of linear warm-up; ``auto`` is 20 or a tenth of the run, whichever is less. Linear decay to zero follows.
    """
    weight_decay: Weight = 0.0
    """Decoupled weight decay of AdamW, for adapter and LoRA alike."""
    clip_norm: Rate = 1.0
    """Maximum norm of the gradient of all trained parameters together."""
    checkpoint_minutes: Rate = 5.0
    """Minutes of training after which an arm's resume point is kept, besides those after each epoch. Affects no
    result."""

    def steps_per_epoch(self, num_questions: int) -> int:
        """Return the optimiser steps of an epoch; the last one takes the questions that are left."""
        return -(-num_questions // self.batch_size)


class EvaluationConfig(Section):
    """Decoding and scoring of answers."""

    renamed: ClassVar[Mapping[str, str]] = {"pass_tokens": "batch_tokens"}

    samples: Annotated[PositiveInt | Literal["auto", "all"], ByDevice(cuda=1_000, cpu=100)] = "auto"
    """Test questions, drawn by seed; ``auto`` is 1,000 on a GPU and 100 on a CPU."""
    selection_samples: Annotated[PositiveInt | Auto, ByDevice(cuda=500, cpu=50)] = "auto"
    """Selection questions, drawn by seed; ``auto`` is 500 on a GPU and 50 on a CPU."""
    max_new_tokens: Tokens = 24
    """Maximum answer length in tokens; decoding is greedy."""
    stop: Literal["end", "length"] = "end"
    """``end``: an answer ends at an end token or, for plain prompts, at a line end. ``length``: it always has
    ``max_new_tokens`` tokens, as in a harness without stop tokens; it exists to measure what that fault costs."""
    score: Literal["first_line", "raw"] = "first_line"
    """The scored part of an answer, also for choosing epochs and arms: its first line, or all of it."""
    batch_tokens: Tokens | Auto = "auto"
    """Maximum tokens in one batch of decoding, counting padding and new tokens."""


class VerdictConfig(Tiers):
    """Thresholds and confidence of the verdict. Gains over the baseline arm are in points of the task's score (F1);
    where none is set, the thresholds are those of the task, here of ``extractive_qa``."""

    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Confidence of the simultaneous intervals over all arms."""
    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Bootstrap resamples."""
    power: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    """Probability with which the reported number of questions would resolve an unresolved arm."""
