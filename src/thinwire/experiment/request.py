"""What a sweep asks of each of its workers."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thinwire.config.experiment import Experiment
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment.plan import Controls, Planned, plan
from thinwire.experiment.run_claims import WORKERS_FOLDER
from thinwire.files import make_folder, write_json
from thinwire.reading import read_json
from thinwire.schema import build

_REQUEST_FILE = "request.json"


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """An experiment, and what of it to run."""

    experiment: Experiment
    only: tuple[str, ...] = ()
    """Names of arms and controls to run instead of all."""
    controls: Controls = "auto"
    track: tuple[str, ...] = ()
    """Names of the trackers that are told what the arms log."""
    session: str | None = None
    """The sweep whose helpers the workers are; None if they are equals."""
    num_workers: int = 1
    """How many there are to be."""

    @property
    def planned(self) -> list[Planned]:
        """The runs, in the order of the experiment file."""
        return plan(self.experiment, self.only, self.controls)

    def as_dict(self) -> dict[str, Any]:
        """Return the request as JSON values."""
        return {
            "experiment": self.experiment.model_dump(mode="json"),
            "only": list(self.only),
            "controls": self.controls,
            "track": list(self.track),
            "session": self.session,
            "num_workers": self.num_workers,
        }


def request_of(values: dict[str, Any]) -> SweepRequest:
    """Return the request that ``SweepRequest.as_dict`` describes."""
    experiment = build(Experiment, values["experiment"], where="")
    return SweepRequest(
        **{**values, "experiment": experiment, "only": tuple(values["only"]), "track": tuple(values["track"])}
    )


def write_request(folder: Path, request: SweepRequest) -> None:
    """Leave a request in the run's folder for workers that join.

    Raises:
        StorageError: it cannot be written.
    """
    make_folder(folder / WORKERS_FOLDER)
    write_json(folder / WORKERS_FOLDER / _REQUEST_FILE, replace(request, session=None).as_dict())


def has_request(folder: Path) -> bool:
    """Return whether the folder holds a request."""
    return os.path.lexists(folder / WORKERS_FOLDER / _REQUEST_FILE)


def requested_at(folder: Path) -> float | None:
    """Return when the request in the folder was written, as Unix time in seconds; None without one."""
    try:
        return (folder / WORKERS_FOLDER / _REQUEST_FILE).stat().st_mtime
    except FileNotFoundError:
        return None


def read_request(folder: Path) -> SweepRequest:
    """Read what ``write_request`` wrote.

    Raises:
        UsageError: the folder holds no request.
        ThinwireError: the file is damaged.
    """
    path = folder / WORKERS_FOLDER / _REQUEST_FILE
    if not has_request(folder):
        raise UsageError(f"{folder} asks for no workers; begin with `thinwire sweep EXPERIMENT.yaml --output {folder}`")
    try:
        return request_of(read_json(path))
    except (KeyError, TypeError) as error:
        raise ThinwireError(f"{path} is no request of a sweep ({error}); begin the sweep again") from None
