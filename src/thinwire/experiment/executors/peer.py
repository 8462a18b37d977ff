"""A worker that a scheduler starts: one of several equals, on any host that sees the run's folder."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import torch

from thinwire.config.experiment import Experiment
from thinwire.errors import UsageError
from thinwire.experiment.plan import Controls, log_notes
from thinwire.experiment.request import SweepRequest, read_request, write_request
from thinwire.experiment.resume import check_folder
from thinwire.experiment.run_claims import WORKERS_FOLDER, RunClaims, refuse_others
from thinwire.experiment.sweep import begin_anew, join_sweep
from thinwire.experiment.sweep_inputs import read_splits
from thinwire.files import make_folder
from thinwire.hard_links import has_hard_links
from thinwire.results.arm_record import ArmRecord
from thinwire.tracking.table import check_trackers

LOGS = Path(WORKERS_FOLDER) / "logs"
"""Where workers' own output goes, in the run's folder."""


def ask(
    experiment: Experiment,
    folder: Path,
    *,
    resume: bool,
    controls: Controls,
    num_workers: int,
    track: Collection[str] = (),
) -> None:
    """Check a sweep that workers of a scheduler are to run, and leave the request in its folder for them.

    Raises:
        UsageError: the sweep would be refused, or the folder cannot be shared by workers.
        StorageError: the request cannot be written.
    """
    track = check_trackers(track)
    request = SweepRequest(experiment=experiment, controls=controls, track=track, num_workers=num_workers)
    check_folder(folder, experiment, resume)
    log_notes(experiment, (), controls)
    read_splits(experiment, request.planned, folder)
    refuse_others(folder)
    make_folder(folder)
    if not has_hard_links(folder):
        with suppress(OSError):  # it holds something
            folder.rmdir()
        raise UsageError(
            f"{folder} has no hard links, by which workers of several hosts end each arm once; choose another "
            "folder (--output), or --executor local"
        )
    RunClaims(folder).take_back_stop()
    begin_anew(request, folder)
    write_request(folder, request)


def run_peer(folder: Path) -> list[ArmRecord]:
    """Run arms of the sweep that ``folder`` has a request for, until all of them have ended; messages go to the
    standard error.

    Returns:
        The records, in the order of the experiment file.

    Raises:
        UsageError: this process sees several GPUs, or settings, folder or questions cannot be used.
        StorageError: a file cannot be written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    package = logging.getLogger("thinwire")
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        request = read_request(folder)
        if RunClaims(folder).is_asked_to_stop():
            raise UsageError(f"the run in {folder} was cancelled; `thinwire sweep ... --resume` goes on with it")
        check_one_gpu(request.experiment.model.device)
        return join_sweep(request, folder)
    finally:
        package.removeHandler(handler)


def check_one_gpu(device: str) -> None:
    """Check that this process sees one GPU at most, unless the model is divided among all that it sees: other workers
    may have been given the others.

    Args:
        device: ``model.device``.

    Raises:
        UsageError: it sees several, or none where one is asked for.
    """
    seen = torch.cuda.device_count()
    if (device in ("auto", "cuda") and seen > 1) or (device == "cuda" and seen == 0):
        raise UsageError(
            f"a worker sees {seen} GPUs (CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}); it needs one: "
            "ask the scheduler for one GPU for each worker"
        )
