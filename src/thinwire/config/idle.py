"""Which settings of an arm have no effect, given its other settings: they are not compared and not searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thinwire.schema import leaves

AFFECT_NO_RESULT = frozenset({"checkpoint_minutes"})
"""Settings of ``training`` that change no result, so that they may differ between a run and its resumption."""

_IDLE_BY_INPUT: Mapping[str, tuple[str, ...]] = {
    "adapter": ("blocks.",),
    "codec": ("blocks.", "adapter.", "reconstruction.", "training.adapter_lr"),
    "text": ("blocks.", "codec.", "adapter.", "reconstruction.", "training.adapter_lr"),
    "blocks": ("codec.", "adapter.", "reconstruction."),
}
"""Beginnings of the paths of settings without effect, by ``input``."""


def effective_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return an arm's settings by path (``lora.rank``), without those that have no effect given the others.

    A setting of which that is not certain is kept.

    Args:
        config: an ``ArmConfig`` as JSON; one of an earlier version may lack newer settings.
    """
    found = dict(leaves(config))
    idle = [*_IDLE_BY_INPUT[found["input"]], *(f"training.{name}" for name in AFFECT_NO_RESULT)]
    has_lora = found["lora.rank"] > 0
    if not has_lora:
        idle += [path for path in found if path.startswith("lora.") and path != "lora.rank"]
    elif found["lora.layers"] == "all":
        idle.append("lora.position")
    if not has_lora or not found.get("lora.trained", True):
        idle.append("training.lora_lr")
        if found["input"] != "adapter" and (found["input"] != "blocks" or found["blocks.encoder"] == "mean"):
            idle += ["supervision.", "training.", "prompt.answer_form"]  # nothing is trained
    if found["supervision.kd_weight"] == 0:
        idle.append("supervision.teacher")
        if found["supervision.ce_weight"] == 0:
            idle.append("supervision.k_tokens")
            if found.get("supervision.first_token_ce_weight", 0) == 0:
                idle.append("prompt.answer_form")
    kinds = [name for name, value in config["codec"].items() if isinstance(value, Mapping)]
    idle += [f"codec.{kind}." for kind in kinds if kind != found["codec.kind"]]
    if found["codec.compress_dim"] is not None:
        idle.append("codec.ratio")
    if found["input"] == "blocks":
        idle += _idle_by_encoder(found["blocks.encoder"])
        idle += _idle_of_text_reconstruction(found)
    if found["prompt.style"] == "chat":
        idle.append("prompt.cue")
    if not found["context"]:
        idle.append("prompt.context_")
    elif found.get("prompt.context_share", 1) == 1:
        idle.append("prompt.context_choice")
    return {path: value for path, value in found.items() if not path.startswith(tuple(idle))}


def _idle_by_encoder(encoder: str) -> list[str]:
    """Return the paths of settings without effect in an arm with this encoder of blocks."""
    used_by = {
        "blocks.hidden": ("mlp", "pca", "transformer"),
        "blocks.layers": ("transformer", "first_layers"),
        "blocks.code_width": ("pca",),
    }
    idle = [path for path, encoders in used_by.items() if encoder not in encoders]
    return [*idle, "training.adapter_lr"] if encoder == "mean" else idle


def _idle_of_text_reconstruction(found: Mapping[str, Any]) -> list[str]:
    """Return beginnings of the paths of ``blocks.reconstruction`` without effect in an arm that reads blocks."""
    start = "blocks.reconstruction."
    own = [path for path in found if path.startswith(start)]
    has_encoder, beside = found["blocks.encoder"] != "mean", found.get(f"{start}lora", "kept")
    could_train_lora = found["lora.rank"] > 0 and found.get("lora.trained", True)
    if not (has_encoder or could_train_lora):
        return own
    if found.get(f"{start}passages") == 0:
        return [path for path in own if path != f"{start}passages"]
    if not has_encoder and not (could_train_lora and beside == "kept"):
        return [path for path in own if path != f"{start}lora"]
    idle = [] if has_encoder else [f"{start}encoder_lr"]
    if not could_train_lora or beside == "absent":
        idle.append(f"{start}lora_lr")
    return idle if found["lora.rank"] > 0 else [*idle, f"{start}lora"]
