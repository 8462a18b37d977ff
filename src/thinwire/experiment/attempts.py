"""How often workers have ended while they ran arms, and what follows: a limit, so that one arm cannot end them all.

A claim counts the owners that went away without progress (``Owner.attempt``). That of a group of several arms does not
say which of them ended its workers, so beyond the limit they run one by one, and each is counted by a claim of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from thinwire import claims, interruption
from thinwire.claims import Claim
from thinwire.errors import ThinwireError
from thinwire.experiment.group_queue import claim_name
from thinwire.experiment.plan import Planned
from thinwire.experiment.resume_points import committed
from thinwire.experiment.text_progress import text_progress

MOST_ATTEMPTS = 3
"""Workers in succession that may go away while they run an arm, or a group, without getting further."""

_POLL_SECONDS = 0.2


def progress_of(sweep_folder: Path, names: Iterable[str]) -> int:
    """Return a number that grows as the resume points of arms do, those of training on texts included."""
    points = committed(sweep_folder)
    return sum(text_progress(sweep_folder, name) + (points[name].progress if name in points else 0) for name in names)


@contextmanager
def counted_alone(run: Planned, sweep_folder: Path, claim: Claim) -> Iterator[Claim]:
    """Hold a claim on one arm during the block, which counts how often its workers have gone away.

    Args:
        claim: this process's, by which no other runs the arm; returned if it is on this arm alone.

    Raises:
        StorageError: the file cannot be written.
        Interrupted: this process is to stop.
    """
    path = claim.path.with_name(claim_name([run]))
    if path == claim.path:
        yield claim
        return
    progress = progress_of(sweep_folder, [run.name])
    while (own := claims.take(path, device=claim.owner.device, progress=progress)) is None:
        interruption.check()  # a worker that has lost the group is about to lose this, too
        time.sleep(_POLL_SECONDS)
    with own:
        yield own


def check_attempts(run: Planned, claim: Claim) -> None:
    """Check that an arm has not ended too many workers.

    Args:
        claim: on this arm alone.

    Raises:
        ThinwireError: it has.
    """
    if claim.owner.attempt > MOST_ATTEMPTS:
        setting = f"{run.kind}s.{run.arm}.training.micro_batch_tokens"
        raise ThinwireError(
            f"{claim.owner.attempt - 1} workers in succession have ended while they ran it alone; where memory ran "
            f"out, choose smaller micro-batches (--set {setting}=N) or fewer worker_processes; --resume tries it again"
        )
