"""Work on a run's groups of arms, beside other workers or alone, until all of them have ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from thinwire import interruption
from thinwire.claims import Claim, ClaimLostError
from thinwire.experiment.plan import Planned
from thinwire.experiment.run_claims import RunClaims

logger = logging.getLogger(__name__)

LEAST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between two looks at what others do; longer and longer, because each asks the file system a little. A few
workers of one host may keep to the least."""


class GroupProgress(NamedTuple):
    """What is done of a group that has not ended."""

    units: int
    """In any unit that grows: a worker that goes away without adding to it counts as an attempt."""
    steps: int
    """Optimiser steps of the arms that are left."""


def work(
    groups: Sequence[Sequence[Planned]],
    claims: RunClaims,
    run: Callable[[Sequence[Planned], Claim], None],
    *,
    claim_of: Callable[[Planned], str],
    has_ended: Callable[[Planned], bool],
    progress: Callable[[Sequence[Planned]], GroupProgress],
    check: Callable[[], None] = lambda: None,
    takes_part: bool = True,
    longest_pause: float = LONGEST_PAUSE,
) -> Generator[Sequence[Planned], None, None]:
    """Run each group that no other worker has claimed; wait for those that others run.

    A group whose worker goes away before its arms have ended is run by another one. A group begins when those
    that hold arms which it needs (``Planned.needs``) have ended.

    Args:
        run: runs a group that this process has claimed.
        claim_of: returns the name of the claim on an arm's group.
        has_ended: whether an arm is done or has failed.
        progress: what is done of a group (``Owner.attempt`` and ``Owner.steps``).
        check: called again and again; may raise.
        takes_part: False to wait only.
        longest_pause: in seconds, between two looks at what others do.

    Yields:
        Each group when all its arms have ended, in any order.
    """
    waiting, is_said, pause = list(groups), False, LEAST_PAUSE
    while waiting:
        interruption.check()
        # A group whose arms have all failed together is run again one by one, by the worker that holds it.
        if ended := [one for one in waiting if all(map(has_ended, one)) and not claims.is_held(claim_of(one[0]))]:
            pause = LEAST_PAUSE
            for group in ended:
                waiting.remove(group)
                yield group
            continue
        check()
        if takes_part and _run_one(waiting, claims, run, claim_of, has_ended, progress):
            continue
        if takes_part and not is_said:
            logger.info("nothing can be begun now; waiting for groups that other workers run (%d left)", len(waiting))
            is_said = True
        time.sleep(pause)
        pause = min(1.2 * pause, longest_pause)


def _run_one(
    waiting: Sequence[Sequence[Planned]],
    claims: RunClaims,
    run: Callable[[Sequence[Planned], Claim], None],
    claim_of: Callable[[Planned], str],
    has_ended: Callable[[Planned], bool],
    progress: Callable[[Sequence[Planned]], GroupProgress],
) -> bool:
    """Run the first group that can be begun and claimed; returns whether there was one."""
    for group in filter(lambda one: _can_begin(one, waiting), waiting):
        claim = claims.take(claim_of(group[0]), *progress(group))
        if claim is not None:
            with claim:
                if left := [arm for arm in group if not has_ended(arm)]:
                    try:
                        run(left, claim)
                    except ClaimLostError as error:
                        logger.warning("%s; what was done here since is dropped", error)
            return True
    return False


def _can_begin(group: Sequence[Planned], waiting: Sequence[Sequence[Planned]]) -> bool:
    """Return whether no other group that is waited for holds an arm that one of this group needs."""
    needs = frozenset[str]().union(*(arm.needs for arm in group))
    return needs.isdisjoint(arm.name for other in waiting if other is not group for arm in other)
