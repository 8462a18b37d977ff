"""An arm's diagnostics as TensorBoard scalars, for those who watch their runs there."""

from __future__ import annotations

import importlib.util
import re
import shutil
import time
from pathlib import Path

from thinwire.errors import UsageError
from thinwire.files import replacing_folder
from thinwire.reading import read_jsonl
from thinwire.results.layout import DIAGNOSTICS_FILE

TENSORBOARD_FOLDER = "tensorboard"

_OTHER = re.compile(r"[^\w/.-]", re.ASCII)
"""What does not belong into a tag, which TensorBoard shows and groups by."""
_NO_SCALARS = ("event", "step", "epoch", "split", "n", "degeneration")


def check_available() -> None:
    """Raise a ``UsageError`` with the remedy where the package ``tensorboard`` is missing."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UsageError("--tensorboard needs the package tensorboard: pip install 'thinwire[tensorboard]'")


def write_scalars(folder: Path) -> None:
    """Write what ``diagnostics.jsonl`` in ``folder`` holds to an event file in ``folder / "tensorboard"``.

    Tags are ``train/<name>`` by step and ``selection/<name>`` or ``test/<name>`` at the step the evaluation came after.

    Raises:
        StorageError: it cannot be written.
    """
    # An extra. Its ``SummaryWriter`` writes in a thread of its own, whose errors cannot be caught here.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter
    from torch.utils.tensorboard.summary import scalar

    target = folder / TENSORBOARD_FOLDER
    shutil.rmtree(target, ignore_errors=True)  # a resumed sweep writes again: each scalar once
    started = time.time()
    with replacing_folder(target) as temporary, (temporary / f"events.out.tfevents.{started:.0f}").open("wb") as file:
        writer, step = RecordWriter(file), 0
        writer.write(Event(wall_time=started, file_version="brain.Event:2").SerializeToString())
        for row in read_jsonl(folder / DIAGNOSTICS_FILE):
            step = row.get("step", step)
            group = row.get("split", "train")
            for name, value in row.items():
                if name not in _NO_SCALARS and value is not None:
                    event = Event(
                        wall_time=started, step=step, summary=scalar(_OTHER.sub("_", f"{group}/{name}"), value)
                    )
                    writer.write(event.SerializeToString())
