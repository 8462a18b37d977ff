"""Whether elements of an array of jobs that was submitted to Slurm are still to come."""

from __future__ import annotations

import shutil
import subprocess

_ANSWER_SECONDS = 30.0
"""Seconds that Slurm's controller has to answer."""

_NO_SUCH_JOB = "Invalid job id"
"""What squeue says of a job that ended some time ago, beside an exit code of 1."""


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
