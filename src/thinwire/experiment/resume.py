"""The rules of resuming: which folders may be continued, which arms are done, and each arm's resume point."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

import thinwire
from thinwire.checkpoints.save import checkpoint_files
from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment.plan import Planned
from thinwire.files import content_hash
from thinwire.model.language_model import LanguageModel
from thinwire.results.arm_record import ArmRecord, QuestionHashes, has_arm_record, read_arm_record
from thinwire.results.experiment_file import has_experiment_file, read_experiment_file
from thinwire.results.integrity import check_checkpoint, check_codec, check_file
from thinwire.results.layout import (
    CHECKPOINT_FOLDER,
    DIAGNOSTICS_FILE,
    HEADER_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    STATE_FILE,
    arm_folder,
)
from thinwire.results.sweep_header import SweepHeader, has_header, read_header
from thinwire.training.state import peek

logger = logging.getLogger(__name__)

_MAY_CHANGE = frozenset(
    {"arms", "controls", "interactions", "description", "verdict", "report", "seeds"}
    | {"group_size", "worker_processes"}
)
"""Settings of an experiment that may differ between two runs in a folder: finished arms are compared one by one."""

_LOCK_FILE = ".lock"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Create ``folder``, and keep other processes from running a sweep in it during the block.

    A folder that is new and in which the block has written nothing is removed again.

    Raises:
        UsageError: another process is using it.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / _LOCK_FILE
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                if is_new and list(folder.iterdir()) == [lock]:
                    with suppress(OSError):  # some systems do not remove an open file
                        lock.unlink()
                        folder.rmdir()
    except Timeout:
        raise UsageError(
            f"another process is running a sweep in {folder}; wait for it, or use another folder"
        ) from None


def check_folder(folder: Path, experiment: Experiment, resume: bool) -> SweepHeader | None:
    """Refuse a folder that must not be written to; returns the header of the sweep to resume, or None.

    Raises:
        UsageError: the folder holds other files, results without ``resume``, or results of another experiment.
    """
    if not has_header(folder) and not has_experiment_file(folder):
        if others := [path.name for path in folder.iterdir() if path.name != _LOCK_FILE]:
            raise UsageError(
                f"{folder} holds other files ({', '.join(sorted(others)[:3])}); choose another output folder"
            )
        return None
    if not resume:
        raise UsageError(
            f"{folder} holds the results of a sweep, and nothing is overwritten: add --resume to continue it "
            "(for scripts/sweep_phase1a_lora.sh: as its argument), or choose another folder (OUTPUT_BASE, --output)"
        )
    before, after = read_experiment_file(folder), experiment.model_dump(mode="json")
    for settings in (before, after):
        for affects_only_speed in ("compile", "cuda_graphs"):
            if isinstance(settings.get("model"), dict):
                settings["model"].pop(affects_only_speed, None)
    differing = sorted(key for key in after if key not in _MAY_CHANGE and before.get(key) != after[key])
    if differing:
        raise UsageError(
            f"{folder} was started with other settings ({', '.join(differing)}); resume with the same, "
            "or choose another folder"
        )
    if not has_header(folder) and (arms := sorted(folder.glob(f"*/{RECORD_FILE}"))):
        raise ThinwireError(f"{folder / HEADER_FILE} is missing, though {arms[0].parent.name} is over; put back a copy")
    return read_header(folder) if has_header(folder) else None


def finished_record(
    run: Planned, sweep_folder: Path, data: QuestionHashes, lm: LanguageModel | None = None
) -> ArmRecord | None:
    """Return the record of a run that is done, or None.

    Args:
        lm: the sweep's model; if None, models are not compared.

    Raises:
        ThinwireError: it was done with other settings, another model or other questions.
    """
    folder = arm_folder(sweep_folder, run.name, run.kind)
    if not has_arm_record(folder) or (record := read_arm_record(folder)).status != "done":
        return None
    if difference := _difference(record, run.config, data, lm):
        raise ThinwireError(
            f"{record.name} was finished with {difference}; results of two experiments must not mix: "
            "use the same settings, or another output folder"
        )
    _check_files(folder, record, checkpoint_files(run.config))
    return record


def _check_files(folder: Path, record: ArmRecord, of_checkpoint: frozenset[str]) -> None:
    """Refuse a finished arm whose files are not those that it left: it is neither kept damaged nor silently redone.

    Raises:
        ThinwireError: a file is missing or damaged. A checkpoint that was deleted as a whole is said and no error.
    """
    try:
        for name in (PREDICTIONS_FILE, DIAGNOSTICS_FILE):
            check_file(folder, record, name)
        if of_checkpoint and not os.path.lexists(folder / CHECKPOINT_FOLDER):
            logger.warning("%s has no checkpoint: it can be reported, but not evaluated, exported or used", folder)
        else:
            check_checkpoint(folder, record, of_checkpoint)
        check_codec(folder, record)
    except ThinwireError as error:
        raise ThinwireError(
            f"the finished {record.name} is not as it was left: {error}, or move {folder} elsewhere to run it again"
        ) from None


def _difference(record: ArmRecord, config: ArmConfig, data: QuestionHashes, lm: LanguageModel | None) -> str | None:
    """Describe how a finished arm differs from the current settings, model and questions; None if it does not."""
    config_now = config.model_dump(mode="json")
    if record.config_hash != content_hash(config_now):
        differing = sorted(key for key in config_now if record.config.get(key) != config_now[key])
        return f"other settings ({', '.join(differing)})"
    if lm and record.model != lm.identity():
        then, now = record.model.model_dump(), lm.identity().model_dump()
        changed = [f"{key} {then[key]}, now {now[key]}" for key in now if then[key] != now[key]]
        return f"another model ({'; '.join(changed)})"
    return "other questions" if record.data != data else None


def with_epochs_done(run: Planned, sweep_folder: Path, data: QuestionHashes, lm: LanguageModel) -> Planned:
    """Set ``epochs_done`` of ``run`` from its unfinished run.

    It counts only if settings, questions, model and versions are the same; else 0.
    """
    folder = arm_folder(sweep_folder, run.name, run.kind)
    found, diagnostics = peek(folder / STATE_FILE, resume_key(run.config, data, lm)), folder / DIAGNOSTICS_FILE
    if found and diagnostics.exists() and diagnostics.stat().st_size >= found[1].diagnostics_bytes:
        return replace(run, epochs_done=found[0])
    return replace(run, epochs_done=0)


def resume_key(config: ArmConfig, data: QuestionHashes, lm: LanguageModel) -> str:
    """Hash everything that must be the same to resume a training."""
    made_by = [thinwire.__version__, torch.__version__, lm.device.type]
    return content_hash([config.model_dump(mode="json"), data.model_dump(), lm.identity().model_dump(), made_by])


def set_aside(folder: Path, attic: Path) -> None:
    """Move the files of an unfinished arm into ``attic``, where they are not resumed from."""
    number = 1
    while (target := attic / f"{folder.name}-{number}").exists():
        number += 1
    attic.mkdir(exist_ok=True)
    folder.rename(target)
    logger.info("moved what the unfinished %s left to %s", folder.name, target)
