"""In which settings the arms of a sweep differ: what figures and tables are laid out by, whatever arms are called."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from thinwire.results.arm_record import ArmRecord

Settings = dict[str, Any]
"""Values by dotted path, as in an experiment file: ``lora.rank``."""

_IDLE_BY_INPUT = {
    "adapter": (),
    "codec": ("adapter.", "reconstruction."),
    "text": ("codec.", "adapter.", "reconstruction."),
}
"""What has no effect on an arm, by its ``input``."""


def differing_settings(records: Sequence[ArmRecord], num_layers: int, searched: Collection[str] = ()) -> list[Settings]:
    """For each record, return its values of the settings in which the arms differ, without those that have no effect.

    Controls have no say in which settings these are.

    Args:
        records: of arms and controls.
        num_layers: of the model.
        searched: dotted paths of settings that each arm has its own best value of, which are no difference.
    """
    settings = [_effective(record, num_layers, searched) for record in records]
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
    found, rest = dict(_flat(one)), dict(_flat(other))
    differing = {path for path in found.keys() | rest.keys() if found.get(path) != rest.get(path)}
    others = {path for path in differing - {*free, "training.lora_lr"} if not path.startswith("lora.")}
    return found["lora.rank"] > 0 and rest["lora.rank"] == 0 and not others


def _effective(record: ArmRecord, num_layers: int, searched: Collection[str]) -> Settings:
    """All settings of a record but those that the others make idle, so that no difference in them is one."""
    found = dict(_flat(record.config))
    idle = [*_IDLE_BY_INPUT[found["input"]], *searched]
    if found["lora.rank"] == 0:
        idle += [path for path in found if path.startswith("lora.") and path != "lora.rank"]
    elif found["lora.layers"] == "all":
        found["lora.layers"] = num_layers
        idle.append("lora.position")
    if found["lora.rank"] == 0 or not found.get("lora.trained", True):  # which older records do not name
        idle += [
            "training.lora_lr",
            *(("supervision.", "training.", "prompt.answer_form") if found["input"] != "adapter" else ()),
        ]
    if found["supervision.kd_weight"] == 0:
        idle.append("supervision.teacher")
    if found["supervision.ce_weight"] == found["supervision.kd_weight"] == 0:
        idle.append("supervision.k_tokens")
        if found.get("supervision.first_token_ce_weight", 0) == 0:  # records from before it have none
            idle.append("prompt.answer_form")
    kinds = [name for name, value in record.config["codec"].items() if isinstance(value, Mapping)]
    idle += [f"codec.{kind}." for kind in kinds if kind != found["codec.kind"]]
    if found["codec.compress_dim"] is not None:
        idle.append("codec.ratio")
    if record.name != record.arm:
        idle.append("seed")  # one of several of the same arm
    return {path: value for path, value in found.items() if not path.startswith(tuple(idle))}


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, ", ".join(value) if isinstance(value, list) else value
