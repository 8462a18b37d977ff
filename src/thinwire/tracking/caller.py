"""Call a tracker in a thread of its own, so that one that is slow or fails cannot hold up or damage a sweep."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

from thinwire.tracking.tracker import Tracker

logger = logging.getLogger(__name__)

Call = Callable[[Tracker], None]


class TrackerCaller:
    """Hands calls to one tracker, in their order; after the first that raises there are no more, and one warning."""

    def __init__(self, name: str, open_tracker: Callable[[], Tracker]) -> None:
        """Make the tracker in this thread: modules are not imported while another thread imports some."""
        self.name = name
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._error: BaseException | None = None
        self._is_over = False
        try:
            self._tracker = open_tracker()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the sweep goes on
            self._error = error
            self._warn()
            return
        self._thread = Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self._thread.start()

    def call(self, call: Call) -> None:
        """Have a call made, soon."""
        self._warn()
        if not self._is_over:
            self._calls.put(call)

    def close(self, seconds: float) -> None:
        """Wait until all calls have been made, ``seconds`` at most."""
        if self._is_over:
            return
        self._calls.put(None)
        self._thread.join(seconds)
        self._warn()
        if not self._is_over and self._thread.is_alive():
            logger.warning(
                "--track %s has not taken all of the sweep within %.0f s; what it lacks is in the sweep's folder",
                self.name,
                seconds,
            )
        self._is_over = True

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call(self._tracker)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the sweep goes on
                self._error = error
                return

    def _warn(self) -> None:
        """Say once that the tracker has failed, in the thread of the sweep, whose logging is its own."""
        if self._error is not None and not self._is_over:
            self._is_over = True
            text = " ".join(str(self._error).split())[:500]
            logger.warning(
                "--track %s failed and is left out from here on; the sweep goes on (%s: %s)",
                self.name,
                type(self._error).__name__,
                text,
            )
