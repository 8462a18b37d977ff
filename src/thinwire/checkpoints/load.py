"""Load a finished arm: its model with LoRA, and its input embeddings."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from thinwire.adapter.adapter import Adapter
from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.input_embeddings import AdapterEmbeddings, InputEmbeddings
from thinwire.adapter.making import make_input_embeddings
from thinwire.checkpoints.save import ADAPTER_FILE, ENCODER_FILE, LORA_FOLDER, checkpoint_files, is_saved
from thinwire.codecs.base import Codec
from thinwire.codecs.table import codec_class
from thinwire.config.experiment import ArmConfig
from thinwire.config.lora_settings import LoraSettings
from thinwire.config.settings import ModelConfig
from thinwire.data.prompts import PromptEncoder
from thinwire.data.text_tokens import Tokenizer
from thinwire.determinism import generator
from thinwire.errors import ThinwireError, UsageError
from thinwire.model.first_layers import copy_of_first_layers
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.model.lora import factor_layout
from thinwire.model.lora_peft import FACTORS_FILE, check_saved_lora, with_factors
from thinwire.results.arm_record import ArmRecord, has_arm_record, read_arm_record
from thinwire.results.integrity import check_checkpoint, check_codec
from thinwire.results.layout import CHECKPOINT_FOLDER, HEADER_FILE, RECORD_FILE, arm_folder, run_of
from thinwire.results.record import damaged
from thinwire.results.sweep_header import has_header, read_header
from thinwire.results.tensor_file import Layout, check_layout, layout_of, read_layout, read_tensors
from thinwire.schema import build, nearest
from thinwire.tasks.task import Task

_MOST_LISTED = 40
"""Arms that an error message names."""


@dataclass(frozen=True, kw_only=True)
class FinishedArm:
    """A finished arm's settings, record and folder."""

    folder: Path
    config: ArmConfig
    model: ModelConfig
    record: ArmRecord

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINT_FOLDER

    @property
    def adapter_file(self) -> Path:
        return self.checkpoint / ADAPTER_FILE

    @property
    def run(self) -> Path:
        """The sweep's folder."""
        return run_of(self.folder)

    @property
    def task(self) -> Task:
        """What the arm was trained and scored for."""
        return self.record.task

    def prompt_encoder(self, tokenizer: Tokenizer) -> PromptEncoder:
        """Return what encodes questions as they were for this arm, and answers in the form that was decided on."""
        prompt, decision = self.config.prompt, self.record.done.answer_form
        if decision is not None:
            prompt = prompt.model_copy(update={"answer_form": decision.form})
        return PromptEncoder(tokenizer, prompt, self.task, with_context=self.config.context)

    def damaged(self, why: str) -> ThinwireError:
        """Return the error of a record that cannot be right."""
        return damaged(self.folder / RECORD_FILE, why)


def find_arm(folder: Path, device: str = "auto") -> FinishedArm:
    """Read the record in ``folder``.

    Raises:
        UsageError: the folder does not contain a finished arm.
        ThinwireError: its record is damaged, or that of another arm.
    """
    given, folder = folder, Path(os.path.realpath(folder))
    if not has_arm_record(folder):
        raise UsageError(_why_no_arm(given, folder))
    record = read_arm_record(folder)
    if record.status != "done":
        raise UsageError(f"the arm in {folder} is not done ({record.status}: {record.error}); resume its sweep")
    model = record.model.model_dump(include={"name", "dtype", "base_bits"}) | {"device": device}
    return FinishedArm(
        folder=folder,
        config=build(ArmConfig, record.config, where=f"{folder / RECORD_FILE}: config"),
        model=build(ModelConfig, model, where="model"),
        record=record,
    )


def is_inside_arm(path: Path) -> bool:
    """Whether ``path`` is the record or the checkpoint of an arm, and not its folder."""
    return path.name in (RECORD_FILE, CHECKPOINT_FOLDER) and has_arm_record(path.parent)


def _why_no_arm(given: Path, folder: Path) -> str:
    """Say why an arm cannot be read from ``folder``, and which arms there are if it is a sweep's folder or in one."""
    if is_inside_arm(folder):
        return f"{given} is a part of an arm; name the arm's folder, {given.parent}"
    run = folder if has_header(folder) else run_of(folder)
    if not has_header(run):
        return f"{given} is no arm's folder: it has no {RECORD_FILE}; give runs/SWEEP/ARM"
    folders = [arm_folder(run, name, kind) for name, kind in read_header(run).planned.items()]
    arms = [one.relative_to(run).as_posix() for one in folders if has_arm_record(one)]
    listed = ", ".join(arms[:_MOST_LISTED]) or "none yet"
    if len(arms) > _MOST_LISTED:
        listed += f" and {len(arms) - _MOST_LISTED} more"
    if run == folder:
        return f"{given} is a sweep's folder; name one of its arms, as {given}/ARM: {listed}"
    near = nearest(folder.relative_to(run).as_posix(), arms)
    return f"{given} is no arm's folder: it has no {RECORD_FILE}{near}; {run} has: {listed}"


def check_arm(arm: FinishedArm) -> Codec | None:
    """Check all files that loading the arm needs, without its model.

    Returns:
        Its codec, on the CPU; None if its input is text.

    Raises:
        ThinwireError: a file is missing, damaged, or holds what the arm's settings do not ask for.
    """
    check_checkpoint(arm.folder, arm.record, checkpoint_files(arm.config))
    model = read_header(arm.run).model
    if model.revision != arm.record.model.revision:
        raise arm.damaged(f"its model is {arm.record.model.name} at another revision than in {HEADER_FILE}")
    if arm.config.lora.rank > 0 and is_saved(arm.config):
        check_saved_lora(arm.checkpoint / LORA_FOLDER, arm.config.lora, model.num_layers, arm.run)
    file = check_codec(arm.folder, arm.record)
    if (file is None) == arm.config.uses_codec:
        raise arm.damaged(f"input is {arm.config.input}, and it names {'no' if file is None else 'a'} codec")
    if file is None:
        return None
    codec = codec_class(arm.config.codec).load(file, arm.config.codec, model.embedding_width)
    if arm.config.input == "adapter":
        check_layout(arm.adapter_file, read_layout(arm.adapter_file, arm.run), _adapter_layout(arm, codec))
    return codec


def check_has_matrix(folder: Path, config: ArmConfig) -> None:
    """Refuse a teacher, the arm in ``folder``, whose input is not an embedding for each token id.

    Raises:
        UsageError: its input is blocks.
    """
    if config.input == "blocks":
        raise UsageError(
            f"{folder} reads blocks of tokens, for which no embedding matrix of token ids can stand, so it cannot "
            "teach; choose an arm that reads tokens (supervision.teacher)"
        )


def load_arm(arm: FinishedArm) -> tuple[LanguageModel, InputEmbeddings]:
    """Load the arm's model with its LoRA, and its input embeddings; its files are checked before the model is loaded.

    LoRA is merged, except over quantised weights, where it is computed beside them.

    Raises:
        UsageError: the available model is not the one that the arm was trained on.
        ThinwireError: a file of the arm is missing or damaged.
    """
    parts = load_parts(arm)
    if parts.factors is None:
        return parts.lm, parts.inputs
    return parts.with_lora(merge=parts.lm.base_bits is None), parts.inputs


@dataclass(frozen=True, kw_only=True)
class ArmParts:
    """What a finished arm consists of: the frozen model, and what was trained beside it."""

    lm: LanguageModel
    """The model without LoRA."""
    inputs: InputEmbeddings
    lora: LoraSettings
    factors: dict[str, Tensor] | None
    """The LoRA factors, float32 by their names in peft's format; None if the arm has no LoRA."""

    def with_lora(self, *, merge: bool) -> LanguageModel:
        """Return the model with LoRA: merged into its weights, which are changed in place, or in separate modules."""
        assert self.factors is not None
        return replace(self.lm, model=with_factors(self.lm.model, self.lora, self.factors, merge=merge))


def load_parts(arm: FinishedArm) -> ArmParts:
    """Load what ``load_arm`` loads, with LoRA beside the model instead of in it.

    Raises:
        UsageError: as ``load_arm``.
        ThinwireError: as ``load_arm``.
    """
    codec = check_arm(arm)
    lm = load(arm.model)
    if lm.revision != arm.record.model.revision:
        raise UsageError(
            f"the arm was trained on {lm.name} at {arm.record.model.revision}, here is {lm.revision}; "
            "get that revision of the model"
        )
    decoder = copy_of_first_layers(lm, arm.config.blocks.layers) if arm.config.copies_layers else None
    codec = codec.to(lm.device) if codec else None
    inputs = make_input_embeddings(arm.config, lm.embedding_matrix, codec, decoder=decoder)
    if isinstance(inputs, BlockEmbeddings) and arm.config.has_trained_input:
        file = arm.checkpoint / ENCODER_FILE
        own = inputs.encoder.saved()
        for name, tensor in read_tensors(file, layout_of(own), arm.run).items():
            own[name].copy_(tensor)
    if isinstance(inputs, AdapterEmbeddings):
        inputs.adapter.load_state_dict(
            read_tensors(arm.adapter_file, layout_of(dict(inputs.adapter.named_parameters())), arm.run)
        )
    has_lora = arm.config.lora.rank > 0 and is_saved(arm.config)
    factors = _factors(arm, arm.config.lora, lm) if has_lora else None
    return ArmParts(lm=lm, inputs=inputs, lora=arm.config.lora, factors=factors)


def check_same_lora(folder: Path, lora: LoraSettings, wanted: LoraSettings) -> None:
    """Refuse an arm, in ``folder`` and with LoRA as ``lora`` sets it, whose factors do not fit the settings ``wanted``.

    Raises:
        UsageError: its LoRA has another rank, alpha, layers, position or targets.
    """
    theirs, ours = _shape_of(lora), _shape_of(wanted)
    differing = [f"lora.{name} {theirs[name]}, here {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if differing:
        raise UsageError(
            f"LoRA cannot start from {folder}: it has {'; '.join(differing)}; give LoRA the same settings, or "
            "choose another arm (lora.start_from)"
        )


def _shape_of(lora: LoraSettings) -> dict[str, object]:
    """Return the settings that decide where factors belong and how they are scaled."""
    position = "any" if lora.layers == "all" else lora.position
    targets = lora.targets if isinstance(lora.targets, str) else ", ".join(sorted(lora.targets))
    return {"rank": lora.rank, "alpha": lora.alpha, "layers": lora.layers, "position": position, "targets": targets}


def starting_factors(arm: FinishedArm, wanted: LoraSettings, lm: LanguageModel) -> dict[str, Tensor]:
    """Read the LoRA factors of ``arm``, float32 by their names in peft's format, for LoRA with the settings ``wanted``
    on ``lm``.

    Raises:
        UsageError: the arm has another LoRA, or was trained on another model.
        ThinwireError: one of its files is missing or damaged.
    """
    check_same_lora(arm.folder, arm.config.lora, wanted)
    model = arm.record.model
    if model.revision != lm.revision:
        raise UsageError(
            f"LoRA cannot start from {arm.folder}: it was trained on {model.name} at {model.revision}, here is "
            f"{lm.name} at {lm.revision}; choose an arm of the same model (lora.start_from)"
        )
    if not is_saved(arm.config):
        raise UsageError(
            f"LoRA cannot start from {arm.folder}: it was not trained, so it has no LoRA; choose an arm that was "
            "trained (lora.start_from)"
        )
    check_arm(arm)
    return _factors(arm, wanted, lm)


def _factors(arm: FinishedArm, settings: LoraSettings, lm: LanguageModel) -> dict[str, Tensor]:
    """Read the arm's LoRA factors, which are those of ``settings`` on ``lm``."""
    return read_tensors(arm.checkpoint / LORA_FOLDER / FACTORS_FILE, factor_layout(lm.model, settings), arm.run)


def _adapter_layout(arm: FinishedArm, codec: Codec) -> Layout:
    """Return the type and shape of each parameter of the arm's adapter."""
    adapter = Adapter(codec, arm.config.adapter, generator("cpu", 0, "layout"))
    return layout_of(dict(adapter.named_parameters()))
