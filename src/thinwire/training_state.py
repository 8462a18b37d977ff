"""An arm between two epochs, in memory and on disk: all that its training needs to go on as if it had not stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from thinwire.records import replacing


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """Lists have an entry for each trained tensor, float32: those of the adapter, then LoRA's factors, the arm's own
    without the padding that the arms beside it made necessary."""

    epoch: int
    """Epochs done."""
    num_tokens: int
    seconds: float
    trained_together: int
    best_epoch: int
    best_score: float
    best: list[Tensor]
    """As they were after the best epoch."""
    now: list[Tensor]
    """As they are after ``epoch``; like the moments, empty once no epoch is left."""
    first_moments: list[Tensor]
    """Of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), and the second ones below."""
    second_moments: list[Tensor]

    def save(self, path: Path, made_for: str, books: dict[str, Any]) -> None:
        """Write the state, the hash of what it was ``made_for``, and what whoever keeps the arm's books needs to go on
        with them, as JSON.

        Raises:
            OSError, SafetensorError: it cannot be written; a state that was there before stays.
        """
        tensors = {f"{name}.{i}": one for name in _LISTS for i, one in enumerate(getattr(self, name))}
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        with replacing(path) as temporary:
            metadata = {"made_for": made_for, "numbers": json.dumps(numbers), "books": json.dumps(books)}
            save_file({name: one.cpu().contiguous() for name, one in tensors.items()}, temporary, metadata)

    @classmethod
    def load(cls, path: Path) -> tuple[TrainingState, dict[str, Any]]:
        """What ``save`` wrote: the state, on the CPU, and the books."""
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata(), list(file.keys())
            lists: dict[str, Any] = {
                name: [file.get_tensor(f"{name}.{i}") for i in range(sum(n.startswith(f"{name}.") for n in names))]
                for name in _LISTS
            }
        return cls(**json.loads(metadata["numbers"]), **lists), json.loads(metadata["books"])


_NUMBERS = ("epoch", "num_tokens", "seconds", "trained_together", "best_epoch", "best_score")
_LISTS = ("best", "now", "first_moments", "second_moments")


def look_at(path: Path, made_for: str) -> tuple[int, dict[str, Any]] | None:
    """The epochs done and the books of the state in ``path``, without its tensors; None if there is no whole one, or
    one that was made for something else."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        if metadata.get("made_for") != made_for:
            return None
        return int(json.loads(metadata["numbers"])["epoch"]), json.loads(metadata["books"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
