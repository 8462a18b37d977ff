"""Load a finished arm: its model with LoRA, and its input embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from thinwire.adapter.input_embeddings import AdapterEmbeddings, InputEmbeddings, make_input_embeddings
from thinwire.checkpoints.save import ADAPTER_FILE, LORA_FOLDER
from thinwire.codecs.table import codec_class
from thinwire.config.experiment import ArmConfig
from thinwire.config.settings import LoraSettings, ModelConfig
from thinwire.errors import ThinwireError, UsageError
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.model.lora_peft import saved_factors, with_factors
from thinwire.results.arm_record import ArmRecord, has_arm_record, read_arm_record
from thinwire.results.layout import CHECKPOINT_FOLDER, RECORD_FILE
from thinwire.schema import build


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
    def codec_file(self) -> Path:
        """The codec's file, in the sweep's folder: beside the arm's folder, or one level up from ``controls``."""
        sweep = self.folder.resolve().parent
        sweep = sweep.parent if self.record.kind == "control" else sweep
        codec = self.record.done.codec
        return sweep / (codec.file if codec else "")


def find_arm(folder: Path, device: str = "auto") -> FinishedArm:
    """Read the record in ``folder``.

    Raises:
        UsageError: the folder does not contain a finished arm.
    """
    if not has_arm_record(folder):
        raise UsageError(f"{folder} is no arm's folder: it has no {RECORD_FILE}; give runs/SWEEP/ARM")
    record = read_arm_record(folder)
    if record.status != "done":
        raise UsageError(f"the arm in {folder} is not done ({record.status}: {record.error}); resume its sweep")
    model = record.model.model_dump(include={"name", "dtype", "base_bits"}) | {"device": device}
    return FinishedArm(
        folder=folder,
        config=build(ArmConfig, record.config, where=""),
        model=build(ModelConfig, model, where="model"),
        record=record,
    )


def load_arm(arm: FinishedArm) -> tuple[LanguageModel, InputEmbeddings]:
    """Load the arm's model with its LoRA, and its input embeddings.

    LoRA is merged, except over quantised weights, where it is computed beside them.

    Raises:
        UsageError: the available model is not the one that the arm was trained on.
    """
    lm = load(arm.model)
    if lm.revision != arm.record.model.revision:
        raise UsageError(
            f"the arm was trained on {lm.name} at {arm.record.model.revision}, here is {lm.revision}; "
            "get that revision of the model"
        )
    inputs = _input_embeddings(arm, lm)
    if (arm.checkpoint / LORA_FOLDER).exists():
        lm = replace(lm, model=with_factors(lm.model, arm.checkpoint / LORA_FOLDER, merge=lm.base_bits is None))
    return lm, inputs


def check_same_lora(arm: FinishedArm, wanted: LoraSettings) -> None:
    """Refuse an arm whose factors do not fit the settings ``wanted``.

    Raises:
        UsageError: its LoRA has another rank, alpha, layers, position or targets.
    """
    theirs, ours = _shape_of(arm.config.lora), _shape_of(wanted)
    differing = [f"lora.{name} {theirs[name]}, here {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if differing:
        raise UsageError(
            f"LoRA cannot start from {arm.folder}: it has {'; '.join(differing)}; give LoRA the same settings, or "
            "choose another arm (lora.start_from)"
        )


def _shape_of(lora: LoraSettings) -> dict[str, object]:
    """Return the settings that decide where factors belong and how they are scaled."""
    position = "any" if lora.layers == "all" else lora.position
    targets = ", ".join(sorted(lora.targets))
    return {"rank": lora.rank, "alpha": lora.alpha, "layers": lora.layers, "position": position, "targets": targets}


def starting_factors(arm: FinishedArm, wanted: LoraSettings, lm: LanguageModel) -> dict[str, Tensor]:
    """Read the LoRA factors of ``arm``, float32 by their names in peft's format, for LoRA with the settings ``wanted``
    on ``lm``.

    Raises:
        UsageError: the arm has another LoRA, or was trained on another model.
    """
    check_same_lora(arm, wanted)
    model = arm.record.model
    if model.revision != lm.revision:
        raise UsageError(
            f"LoRA cannot start from {arm.folder}: it was trained on {model.name} at {model.revision}, here is "
            f"{lm.name} at {lm.revision}; choose an arm of the same model (lora.start_from)"
        )
    if not (arm.checkpoint / LORA_FOLDER).exists():
        raise UsageError(
            f"LoRA cannot start from {arm.folder}: its checkpoint has no LoRA; choose an arm that was trained "
            "(lora.start_from)"
        )
    return saved_factors(arm.checkpoint / LORA_FOLDER)


def _input_embeddings(arm: FinishedArm, lm: LanguageModel) -> InputEmbeddings:
    """Load the arm's trained input embeddings onto the model's device."""
    if arm.config.input == "text":
        return make_input_embeddings(arm.config, lm.embedding_matrix)
    if not arm.codec_file.exists():
        raise ThinwireError(
            f"the arm's input is codes, but its codec {arm.codec_file} is missing; copy the whole run folder"
        )
    codec = codec_class(arm.config.codec).load(arm.codec_file).to(lm.device)
    inputs = make_input_embeddings(arm.config, lm.embedding_matrix, codec)
    if isinstance(inputs, AdapterEmbeddings):
        inputs.adapter.load_state_dict(load_file(arm.checkpoint / ADAPTER_FILE))
    return inputs
