"""The rules of resuming: which folders may be continued, which arms are done, and each arm's resume point."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import thinwire
from thinwire.adapter.block_encoders import FORMULAS
from thinwire.checkpoints.save import checkpoint_files
from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.config.idle import AFFECT_NO_RESULT
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment.plan import Planned, ResumePoint
from thinwire.experiment.resume_points import Committed
from thinwire.experiment.run_claims import WORKERS_FOLDER
from thinwire.files import make_folder, move, remove_content
from thinwire.hashes import content_hash
from thinwire.model.language_model import LanguageModel
from thinwire.output_path import check_output_folder
from thinwire.partial_files import is_partial
from thinwire.reading import read_bytes
from thinwire.results.arm_record import ArmRecord, QuestionHashes, has_arm_record, read_arm_record
from thinwire.results.experiment_file import has_experiment_file, read_experiment_file
from thinwire.results.integrity import check_checkpoint, check_codec, check_file
from thinwire.results.layout import (
    CHECKPOINT_FOLDER,
    DIAGNOSTICS_FILE,
    EXPERIMENT_FILE,
    HEADER_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    arm_folder,
)
from thinwire.results.sweep_header import SweepHeader, has_header, read_header
from thinwire.schema import build
from thinwire.training.state import peek

logger = logging.getLogger(__name__)

_MAY_CHANGE = frozenset(
    {"arms", "controls", "interactions", "description", "verdict", "report", "seeds"}
    | {"group_size", "worker_processes"}
)
"""Settings of an experiment that may differ between two runs in a folder: finished arms are compared one by one."""


def check_folder(folder: Path, experiment: Experiment, resume: bool) -> SweepHeader | None:
    """Refuse a folder that must not be written to; returns the header of the sweep to resume, or None.

    Reads only. A folder that is not there, or holds only what a sweep leaves that was killed as it began, is new.

    Raises:
        UsageError: the folder is none and cannot become one, or holds other files, results without ``resume``, or
            results of another experiment.
    """
    if not check_output_folder(folder, "output folder"):
        return None
    if not has_header(folder) and not has_experiment_file(folder):
        if others := [path.name for path in folder.iterdir() if path.name != WORKERS_FOLDER and not is_partial(path)]:
            raise UsageError(
                f"{folder} holds other files ({', '.join(sorted(others)[:3])}); choose another output folder"
            )
        return None
    if not resume:
        raise UsageError(
            f"{folder} holds the results of a sweep, and nothing is overwritten: add --resume to continue it "
            "(for scripts/sweep_phase1a_lora.sh: as its argument), or choose another folder (OUTPUT_BASE, --output)"
        )
    # A setting that is newer than the folder had its default's effect.
    before = _with_effect(build(Experiment, read_experiment_file(folder), where=str(folder / EXPERIMENT_FILE)))
    after = _with_effect(experiment)
    differing = sorted(key for key in after if key not in _MAY_CHANGE and before[key] != after[key])
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
        ThinwireError: it was done with other settings, other formulas, another model or other questions.
    """
    folder = arm_folder(sweep_folder, run.name, run.kind)
    if not has_arm_record(folder) or (record := read_arm_record(folder)).status != "done":
        return None
    if difference := _difference(record, run.config, data, lm):
        raise ThinwireError(
            f"{record.name} was finished with {difference}; results of two experiments must not mix: "
            f"use the same settings, move {folder} elsewhere to run it again, or choose another output folder"
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
    """Describe how a finished arm differs from the current settings, formulas, model and questions; None if it does
    not."""
    now = config.identity()
    if record.config_hash != content_hash(now):
        then = build(ArmConfig, record.config, where=f"the record of {record.name}: config").identity()
        if differing := sorted(key for key in now if then[key] != now[key]):
            return f"other settings ({', '.join(differing)})"
    formulas_then, formulas_now = record.block_formulas, block_formulas(config)
    if formulas_now is not None and formulas_then != formulas_now:
        version = "no version kept" if formulas_then is None else f"version {formulas_then}"
        return f"other formulas of its encoder of blocks, or with unknown ones ({version}, now {formulas_now})"
    if lm and record.model != lm.identity():
        model_then, model_now = record.model.model_dump(), lm.identity().model_dump()
        changed = [f"{key} {model_then[key]}, now {one}" for key, one in model_now.items() if model_then[key] != one]
        return f"another model ({'; '.join(changed)})"
    return "other questions" if record.data != data else None


def _with_effect(experiment: Experiment) -> dict[str, Any]:
    """Return the settings of an experiment without those that affect no result."""
    return experiment.model_dump(
        mode="json", exclude={"model": {"compile", "cuda_graphs"}, "training": set(AFFECT_NO_RESULT)}
    )


def with_resume_point(
    run: Planned, sweep_folder: Path, data: QuestionHashes, lm: LanguageModel, points: Mapping[str, Committed]
) -> Planned:
    """Set ``resume_point`` of ``run`` from its unfinished run.

    It counts only if settings, questions, model and versions are the same; else the run starts from the beginning.

    Args:
        points: the resume points that count (``resume_points.committed``).
    """
    if (own := points.get(run.name)) is None:
        return replace(run, resume_point=None)
    diagnostics = arm_folder(sweep_folder, run.name, run.kind) / DIAGNOSTICS_FILE
    if (found := peek(own.file, resume_key(run.config, data, lm))) is None:
        return _from_the_beginning(run, "its resume point is of other settings, data, model or versions")
    if not diagnostics.exists() or diagnostics.stat().st_size < found[1].diagnostics_bytes:
        return _from_the_beginning(run, f"{diagnostics} has lost lines that its resume point counts on")
    return replace(run, resume_point=ResumePoint(file=own.file, position=found[0], group=own.group))


def _from_the_beginning(run: Planned, why: str) -> Planned:
    logger.warning("%s starts from the beginning: %s", run.name, why)
    return replace(run, resume_point=None)


def block_formulas(config: ArmConfig) -> int | None:
    """Return the version of the formulas of an arm's encoder of blocks, None without blocks."""
    return None if config.block_kind is None else FORMULAS


def resume_key(config: ArmConfig, data: QuestionHashes, lm: LanguageModel) -> str:
    """Hash everything that must be the same to resume a training."""
    made_by = [thinwire.__version__, torch.__version__, lm.device.type]
    if (formulas := block_formulas(config)) is not None:
        made_by.append(f"formulas {formulas}")
    return content_hash([config.identity(), data.model_dump(), lm.identity().model_dump(), made_by])


def forget_failures(sweep_folder: Path, runs: Iterable[Planned]) -> None:
    """Remove the records of arms that failed or were cancelled, so that workers run them again; their other files are
    resumed from or set aside by then.

    Raises:
        StorageError: one cannot be removed.
    """
    for run in runs:
        forget_end(arm_folder(sweep_folder, run.name, run.kind))


def forget_end(folder: Path) -> None:
    """Remove the record of an arm that failed or was cancelled, if its folder holds one.

    Raises:
        StorageError: it cannot be removed.
    """
    if has_arm_record(folder):
        content = read_bytes(folder / RECORD_FILE, folder)
        if read_arm_record(folder).status != "done":
            remove_content(folder / RECORD_FILE, content)


def set_aside(folder: Path, attic: Path) -> None:
    """Move the files of an unfinished arm into ``attic``, where they are not resumed from.

    A folder that holds nothing stays. Of two workers that move the same arm, the late one fails: both choose the same
    place, which takes no second folder where the first is not empty.

    Raises:
        StorageError: they cannot be moved.
    """
    if not any(folder.iterdir()):
        return
    number = 1
    while (target := attic / f"{folder.name}-{number}").exists():
        number += 1
    make_folder(attic)
    move(folder, target)
    logger.info("moved what the unfinished %s left to %s", folder.name, target)
