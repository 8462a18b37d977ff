"""Resume points: the training state of an arm after an epoch, in memory and on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from thinwire.files import replacing
from thinwire.results.arm_record import ResumedRun, Scores
from thinwire.results.record import Record


class RunMetadata(Record):
    """What the run of an arm recorded up to the resume point, beside its training state."""

    diagnostics_bytes: int
    """Length of the diagnostics file, in bytes."""
    selections: tuple[Scores, ...]
    """Scores on the selection split, one for each epoch."""
    seconds: float
    """Time that the run took so far."""
    started_at: str
    runs: tuple[ResumedRun, ...]
    """The arm's runs so far, this one included."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The resume point of an arm.

    Lists have an entry for each trained tensor, float32: the adapter's tensors, then the arm's LoRA factors, without
    the padding of its multi-LoRA group.
    """

    epoch: int
    """Epochs done."""
    num_tokens: int
    """Tokens trained on."""
    seconds: float
    """The arm's part of the time that training took."""
    trained_together: int
    """Most arms that it was trained together with, itself included."""
    best_epoch: int
    best_score: float
    best: list[Tensor]
    """The tensors after the best epoch."""
    now: list[Tensor]
    """The tensors after ``epoch``; like the moments, empty after the last epoch."""
    first_moments: list[Tensor]
    """AdamW's first moments (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    second_moments: list[Tensor]
    """AdamW's second moments."""

    def save(self, path: Path, key: str, run: RunMetadata) -> None:
        """Write the state and the run's metadata to ``path``; ``peek`` needs the same ``key``.

        Raises:
            OSError, SafetensorError: it cannot be written; an earlier file is kept.
        """
        tensors = {f"{name}.{i}": tensor for name in _LISTS for i, tensor in enumerate(getattr(self, name))}
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        with replacing(path) as temporary:
            metadata = {"key": key, "numbers": json.dumps(numbers), "run": run.model_dump_json()}
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary, metadata)

    @classmethod
    def load(cls, path: Path) -> tuple[TrainingState, RunMetadata]:
        """Read what ``save`` wrote, onto the CPU."""
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata(), list(file.keys())
            lists: dict[str, Any] = {
                name: [file.get_tensor(f"{name}.{i}") for i in range(sum(n.startswith(f"{name}.") for n in names))]
                for name in _LISTS
            }
        return cls(**json.loads(metadata["numbers"]), **lists), RunMetadata.model_validate_json(metadata["run"])


_NUMBERS = ("epoch", "num_tokens", "seconds", "trained_together", "best_epoch", "best_score")
_LISTS = ("best", "now", "first_moments", "second_moments")


def peek(path: Path, key: str) -> tuple[int, RunMetadata] | None:
    """Return the epochs done and the metadata of the state in ``path``, without reading its tensors; None if there is
    no complete state, or one of another ``key``."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("key") != key:
            return None
        return int(json.loads(metadata["numbers"])["epoch"]), RunMetadata.model_validate_json(metadata["run"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
