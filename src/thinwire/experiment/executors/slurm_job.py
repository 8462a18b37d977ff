"""The array of jobs that was submitted to Slurm for a run, and whether elements of it are still to come."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from thinwire.experiment.run_claims import WORKERS_FOLDER
from thinwire.files import write_text
from thinwire.reading import read_text

_JOB_FILE = "slurm_job.txt"

_ANSWER_SECONDS = 30.0
"""Seconds that Slurm's controller has to answer."""

_NO_SUCH_JOB = "Invalid job id"
"""What squeue says of a job that ended some time ago, beside an exit code of 1."""


def write_job(folder: Path, job: str) -> None:
    """Note the number of the array that was submitted for the run in ``folder``.

    Raises:
        StorageError: it cannot be written.
    """
    write_text(folder / WORKERS_FOLDER / _JOB_FILE, f"{job}\n")


def submitted_job(folder: Path) -> str | None:
    """Return the number of the array that was submitted last for the run in ``folder``; None if none was."""
    path = folder / WORKERS_FOLDER / _JOB_FILE
    return read_text(path).strip() if path.exists() else None


def is_in_queue(job: str) -> bool:
    """Return whether elements of an array wait or run; True also where Slurm cannot be asked."""
    if shutil.which("squeue") is None:
        return True
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return bool(told.stdout.strip()) if told.returncode == 0 else _NO_SUCH_JOB not in told.stderr
