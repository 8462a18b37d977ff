"""The trackers by name. Their modules, and the packages that these need, are imported when one is opened."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection

from thinwire.errors import UsageError
from thinwire.schema import nearest
from thinwire.tracking.tracker import TrackedSweep, Tracker


def _tensorboard(sweep: TrackedSweep) -> Tracker:
    from thinwire.tracking.tensorboard import TensorBoardTracker

    return TensorBoardTracker(sweep)


def _wandb(sweep: TrackedSweep) -> Tracker:
    from thinwire.tracking.wandb import WandbTracker

    return WandbTracker(sweep)


def _mlflow(sweep: TrackedSweep) -> Tracker:
    from thinwire.tracking.mlflow import MlflowTracker

    return MlflowTracker(sweep)


TRACKERS: dict[str, Callable[[TrackedSweep], Tracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
"""A name is also that of the package that is imported, and of the extra that installs it."""


def check_trackers(names: Collection[str]) -> tuple[str, ...]:
    """Check that trackers are known and that their packages are installed; returns each name once.

    Raises:
        UsageError: one is not, or ``names`` is a single text; it says what to do.
    """
    if isinstance(names, str):
        raise UsageError(f"track takes a list of names, such as [{names!r}], got {names!r}")
    for name in names:
        if name not in TRACKERS:
            raise UsageError(f"--track takes {', '.join(TRACKERS)}; got {name!r}{nearest(name, list(TRACKERS))}")
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"--track {name} needs the package {name}: pip install 'thinwire[{name}]'")
    return tuple(dict.fromkeys(names))
