"""What the training on texts leaves beside its result's place in the cache until it is done: its resume point, or the
error that ended it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from thinwire.errors import ThinwireError
from thinwire.files import make_folder, remove_file, write_json
from thinwire.reading import read_json
from thinwire.results.provenance import now
from thinwire.training.state import RunMetadata, TrainingState, peek
from thinwire.training.text_reconstruction import TextTrainingError

logger = logging.getLogger(__name__)


class TextStartFiles:
    """Files of one text start, in a folder of its own; its claim in the cache keeps other processes out."""

    def __init__(self, folder: Path, key: str) -> None:
        """Write nothing yet.

        Args:
            key: the hash of everything that determines the weights; resume points of another key do not count.
        """
        self._state, self._failure, self._key = folder / "unfinished.safetensors", folder / "failed.json", key

    def resume_point(self) -> TrainingState | None:
        """Return the resume point that an interrupted training left; None if there is none, or with a warning a damaged
        one."""
        if not os.path.lexists(self._state):
            return None
        try:
            if peek(self._state, self._key) is not None:
                return TrainingState.load(self._state)[0]
            reason = f"{self._state} is no resume point of it"
        except ThinwireError as error:
            reason = str(error).partition(";")[0]
        logger.warning("text reconstruction starts from the beginning: %s", reason)
        return None

    def save(self, states: Iterable[tuple[int, TrainingState]], on_keeping: Callable[[int], None]) -> None:
        """Write the resume point of the only training of ``states``, in the place of the one before.

        Args:
            on_keeping: called before it is written, with the number of steps done; may raise.

        Raises:
            StorageError: it cannot be written; the one before is kept.
        """
        for _, state in states:
            on_keeping(state.step)
            make_folder(self._state.parent)
            run = RunMetadata(diagnostics_bytes=0, selections=(), seconds=state.seconds, started_at=now(), runs=())
            state.save(self._state, self._key, run)

    def fail(self, error: ThinwireError) -> None:
        """Note that the training ends with ``error`` whenever it is tried, and remove its resume point, which leads
        there."""
        write_json(self._failure, {"error": str(error)})
        remove_file(self._state)

    def check_not_failed(self) -> None:
        """Refuse a training that has failed before: the same settings, data and versions would fail again.

        Raises:
            TextTrainingError: it has.
        """
        if not os.path.lexists(self._failure):
            return
        try:
            error = str(read_json(self._failure)["error"])
        except (ThinwireError, KeyError, TypeError):
            return  # it fails again, or not
        raise TextTrainingError(f"{error} (found earlier; remove {self._failure} to try it again)")
