"""An arm's diagnostics as TensorBoard scalars, for those who watch their runs there."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

from thinwire.errors import UsageError
from thinwire.files import read_jsonl

_OTHER = re.compile(r"[^\w/.-]", re.ASCII)
"""What does not belong into a tag, which TensorBoard shows and groups by."""
_NO_SCALARS = ("event", "step", "epoch", "split", "n", "degeneration")


def check_available() -> None:
    """Raise a ``UsageError`` with the remedy where the package ``tensorboard`` is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs the package tensorboard: pip install 'thinwire[tensorboard]'")


def write_scalars(folder: Path) -> None:
    """Write what ``diagnostics.jsonl`` in ``folder`` holds to event files in ``folder / "tensorboard"``.

    Tags are ``train/<name>`` by step and ``selection/<name>`` or ``test/<name>`` at the step the evaluation came after.
    """
    from torch.utils.tensorboard import SummaryWriter  # an extra

    shutil.rmtree(folder / "tensorboard", ignore_errors=True)  # a resumed sweep writes again: each scalar once
    writer = SummaryWriter(str(folder / "tensorboard"))
    try:
        step = 0
        for row in read_jsonl(folder / "diagnostics.jsonl"):
            step = row.get("step", step)
            group = row.get("split", "train")
            for name, value in row.items():
                if name not in _NO_SCALARS and value is not None:
                    writer.add_scalar(_OTHER.sub("_", f"{group}/{name}"), value, step)
    finally:
        writer.close()
