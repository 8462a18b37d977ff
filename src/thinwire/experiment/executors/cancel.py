"""Stop the workers of a run, on whatever hosts they are."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
from pathlib import Path

from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment.run_claims import RunClaims, submitted_job
from thinwire.results.sweep_header import has_header

logger = logging.getLogger(__name__)

_PATIENCE = 300.0
"""Seconds that workers have to finish their steps and save what they have."""


def cancel(folder: Path) -> int:
    """Ask the workers of the run in ``folder`` to stop, and wait until they have; returns how many there were.

    Elements of a Slurm array that have not begun are cancelled.

    Raises:
        UsageError: it is no sweep's folder, or no worker is at work there.
        StorageError: the request cannot be written.
        ThinwireError: workers have not stopped in time.
    """
    claims, job = RunClaims(folder), submitted_job(folder)
    if not has_header(folder) and not claims.folder.exists():
        raise UsageError(f"{folder} is no sweep's folder")
    if job and shutil.which("scancel"):
        subprocess.run(["scancel", "--state=PENDING", job], capture_output=True, check=False)
    working = _workers(claims)
    if not working and not job:
        raise UsageError(f"no worker is at work in {folder}, so there is nothing to stop")
    claims.ask_to_stop()
    if working:
        logger.info("waiting for %d workers to finish their steps: %s", len(working), ", ".join(sorted(working)))
    until = time.monotonic() + _PATIENCE
    while left := _workers(claims):
        if time.monotonic() > until:
            raise ThinwireError(
                f"still at work: {', '.join(sorted(left))}; `thinwire status` shows when they last were"
            )
        time.sleep(0.5)
    return len(working)


def _workers(claims: RunClaims) -> set[str]:
    """Return the processes that hold claims."""
    return {str(one.owner) for one in claims.live()}
