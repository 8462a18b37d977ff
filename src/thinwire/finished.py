"""Opening a finished arm again: its model, what that model reads, and its LoRA, ready to answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinwire.checkpoint import LORA_FOLDER, load_reader
from thinwire.config import ArmConfig, ModelConfig, build
from thinwire.errors import UsageError
from thinwire.lora import with_factors
from thinwire.model import LanguageModel, load
from thinwire.reader import Reader
from thinwire.records import read_json


@dataclass(frozen=True, kw_only=True)
class FinishedArm:
    """What a record says of an arm, and where its files lie."""

    folder: Path
    config: ArmConfig
    model: ModelConfig
    record: dict[str, Any]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def codec_file(self) -> Path:
        """The codec lies with the sweep: beside the arm's folder, or one level up from ``controls``."""
        sweep = self.folder.resolve().parent
        sweep = sweep.parent if self.record["kind"] == "control" else sweep
        return sweep / (self.record["codec"]["file"] if self.record["codec"] else "")


def find_arm(folder: Path, device: str = "auto") -> FinishedArm:
    """Read the record in ``folder``.

    Raises:
        UsageError: the folder is no finished arm's.
    """
    if not (folder / "record.json").is_file():
        raise UsageError(f"{folder} is no arm's folder: it has no record.json; give runs/SWEEP/ARM")
    record = read_json(folder / "record.json")
    if record["status"] != "done":
        raise UsageError(f"the arm in {folder} is not done ({record['status']}: {record['error']}); resume its sweep")
    return FinishedArm(
        folder=folder,
        config=build(ArmConfig, record["config"], where=""),
        model=build(
            ModelConfig,
            {key: record["model"].get(key) for key in ("name", "dtype", "base_bits")} | {"device": device},
            where="model",
        ),
        record=record,
    )


def opened(arm: FinishedArm) -> tuple[LanguageModel, Reader]:
    """Load the arm's model with its LoRA merged (beside the weights where they are quantised), and its reader.

    Raises:
        UsageError: the model at hand is not the one that the arm was trained on.
    """
    lm = load(arm.model)
    if lm.revision != arm.record["model"]["revision"]:
        raise UsageError(
            f"the arm was trained on {lm.name} at {arm.record['model']['revision']}, here is {lm.revision}; "
            "get that revision of the model"
        )
    reader = load_reader(lm, arm.config, arm.checkpoint, arm.codec_file)
    if (arm.checkpoint / LORA_FOLDER).exists():
        lm = replace(lm, model=with_factors(lm.model, arm.checkpoint / LORA_FOLDER, merge=lm.base_bits is None))
    return lm, reader
