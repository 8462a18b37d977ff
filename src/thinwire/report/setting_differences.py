"""In which settings the arms of a sweep differ: what figures and tables are laid out by, whatever arms are called."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from thinwire.config.experiment import ArmConfig
from thinwire.config.idle import effective_settings
from thinwire.errors import UsageError
from thinwire.results.arm_record import ArmRecord
from thinwire.schema import build, leaves

Settings = dict[str, Any]
"""Values by dotted path, as in an experiment file: ``lora.rank``."""


_NEEDED = (
    *("input", "seed", "lora.rank", "lora.alpha", "lora.layers", "supervision.kd_weight", "supervision.ce_weight"),
    *("codec.kind", "codec.compress_dim"),
)
"""Settings that decide which others have an effect, or stand in every row."""


def check_settings(record: ArmRecord, file: Path) -> None:
    """Refuse the record in ``file`` if its settings cannot be those of an arm.

    Raises:
        UsageError: a setting is missing, unknown or out of range.
    """
    build(ArmConfig, record.config, where=f"{file}: config")
    found = dict(leaves(record.config))
    if lacking := [path for path in _NEEDED if path not in found]:
        raise UsageError(f"{file}: config lacks {', '.join(lacking)}; put an undamaged copy in its place")


def differing_settings(records: Sequence[ArmRecord], num_layers: int, searched: Collection[str] = ()) -> list[Settings]:
    """For each record, return its values of the settings in which the arms differ, without those that have no effect.

    Controls have no say in which settings these are.

    Args:
        records: of arms and controls.
        num_layers: of the model.
        searched: dotted paths of settings that each arm has its own best value of, which are no difference.
    """
    settings = [_compared(record, num_layers, searched) for record in records]
    of_arms = [found for record, found in zip(records, settings, strict=True) if record.kind == "arm"]
    values: dict[str, list[Any]] = {}
    for found in of_arms:
        for path, value in found.items():
            here = values.setdefault(path, [])
            here += [] if value in here else [value]
    return [{path: value for path, value in found.items() if len(values.get(path, ())) > 1} for found in settings]


def differ_in_lora_alone(one: Mapping[str, Any], other: Mapping[str, Any], free: Collection[str] = ()) -> bool:
    """Return whether the configuration ``one`` has LoRA, ``other`` has none, and nothing else tells them apart.

    Args:
        free: dotted paths in which they may differ. The learning rate of LoRA always may: ``other`` has no use for it.
    """
    found, rest = dict(leaves(one)), dict(leaves(other))
    differing = {path for path in found.keys() | rest.keys() if found.get(path) != rest.get(path)}
    others = {path for path in differing - {*free, "training.lora_lr"} if not path.startswith("lora.")}
    return found["lora.rank"] > 0 and rest["lora.rank"] == 0 and not others


def _compared(record: ArmRecord, num_layers: int, searched: Collection[str]) -> Settings:
    """Return the settings of a record that may be a difference between arms; a list is one text."""
    found = effective_settings(record.config)
    if found.get("lora.layers") == "all":
        found["lora.layers"] = num_layers
    left_out = {*searched, *(["seed"] if record.name != record.arm else [])}  # one of several seeds of the same arm
    return {
        path: ", ".join(map(_as_text, value)) if isinstance(value, list) else value
        for path, value in found.items()
        if path not in left_out
    }


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
