"""Resume points: the training state of an arm after a step, in memory and on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from thinwire.results.arm_record import ResumedRun, Scores, TextReconstruction
from thinwire.results.record import Record
from thinwire.results.tensor_file import read_layout, read_tensors, write_tensors


class RunMetadata(Record):
    """What the run of an arm recorded up to the resume point, beside its training state."""

    diagnostics_bytes: int
    """Length of the diagnostics file, in bytes."""
    selections: tuple[Scores, ...]
    """Scores on the selection split, one for each scored epoch."""
    seconds: float
    """Time that the run took so far."""
    started_at: str
    runs: tuple[ResumedRun, ...]
    """The arm's runs so far, this one included."""
    text_reconstruction: TextReconstruction | None = None
    """What encoder and LoRA had learned of texts before; None if they were not trained on any."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The resume point of an arm: after an epoch and its score, or after any step.

    Lists have an entry for each trained tensor, float32: the adapter's tensors, then the arm's LoRA factors, without
    the padding of its multi-LoRA group.
    """

    epoch: int
    """Epochs trained and scored."""
    step: int
    """Optimiser steps done, over all epochs."""
    failure: str | None
    """The error that ended the arm while others of its group went on; its tensors are those of before that step."""
    micro_batch_tokens: int
    """Most tokens in a micro-batch, counted for one arm: sums over other micro-batches would be rounded differently."""
    cpu_threads: int
    """Threads that torch computed with, for the same reason."""
    num_tokens: int
    """Tokens trained on."""
    seconds: float
    """The arm's part of the time that training took."""
    trained_together: int
    """Most arms that it was trained together with, itself included."""
    best_epoch: int
    """0 before the first score."""
    best_score: float
    best: list[Tensor]
    """The tensors after the best epoch; empty before the first score."""
    now: list[Tensor]
    """The tensors after ``step``; like the moments, empty after the last epoch."""
    first_moments: list[Tensor]
    """AdamW's first moments (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    second_moments: list[Tensor]
    """AdamW's second moments."""
    random: list[Tensor]
    """Within an epoch, the states of torch's generators that dropout masks are drawn from, uint8: the CPU's, then the
    device's if it has its own. Empty between epochs, because each epoch seeds them. (The arms of a group draw from one
    stream, so theirs are the same.)"""

    def save(self, path: Path, key: str, run: RunMetadata) -> None:
        """Write the state and the run's metadata to ``path``; ``peek`` needs the same ``key``.

        Raises:
            StorageError: it cannot be written; an earlier file is kept.
        """
        tensors = {f"{name}.{i}": tensor for name in _LISTS for i, tensor in enumerate(getattr(self, name))}
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        write_tensors(path, tensors, {"key": key, "numbers": json.dumps(numbers), "run": run.model_dump_json()})

    @classmethod
    def load(cls, path: Path) -> tuple[TrainingState, RunMetadata]:
        """Read what ``save`` wrote, onto the CPU.

        Raises:
            ThinwireError: it is damaged.
        """
        tensors = read_tensors(path, read_layout(path), needs_hash=True)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        lists: dict[str, Any] = {
            name: [tensors[f"{name}.{i}"] for i in range(sum(n.startswith(f"{name}.") for n in tensors))]
            for name in _LISTS
        }
        return cls(**json.loads(metadata["numbers"]), **lists), RunMetadata.model_validate_json(metadata["run"])


_NUMBERS = (
    *("epoch", "step", "failure", "micro_batch_tokens", "cpu_threads"),
    *("num_tokens", "seconds", "trained_together", "best_epoch", "best_score"),
)
_LISTS = ("best", "now", "first_moments", "second_moments", "random")


@dataclass(frozen=True, kw_only=True)
class Position:
    """How far a training has come."""

    epoch: int
    """Epochs trained and scored."""
    step: int
    """Optimiser steps done, over all epochs."""


def peek(path: Path, key: str) -> tuple[Position, RunMetadata] | None:
    """Return position and metadata of the state in ``path``, without reading its tensors; None if there is no complete
    state, or one of another ``key``."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("key") != key:
            return None
        numbers = json.loads(metadata["numbers"])
        position = Position(epoch=int(numbers["epoch"]), step=int(numbers["step"]))
        return position, RunMetadata.model_validate_json(metadata["run"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
