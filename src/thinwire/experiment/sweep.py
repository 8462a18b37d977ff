"""Run an experiment: check the folder, search settings if asked for, run the arms, and write the reports."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from thinwire.config.experiment import Experiment
from thinwire.data.splits import Splits
from thinwire.experiment.folder_lock import exclusive
from thinwire.experiment.plan import Controls, Planned, plan
from thinwire.experiment.resume import check_folder
from thinwire.experiment.search import choose, log_choices, plan_candidates, search_experiment, to_search
from thinwire.experiment.sweep_inputs import check_sizes, read_splits
from thinwire.experiment.sweep_run import SweepRun
from thinwire.files import make_folder, write_bytes
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.progress import Display
from thinwire.reading import read_bytes
from thinwire.report.write import write_reports
from thinwire.results.arm_record import ArmRecord
from thinwire.results.layout import CODEC_FOLDER, SEARCH_FOLDER
from thinwire.results.read import is_complete, read_results
from thinwire.results.search_record import SearchRecord, read_search_record, write_search_record
from thinwire.results.tensorboard import check_available

logger = logging.getLogger(__name__)


def run_sweep(
    experiment: Experiment,
    folder: Path,
    *,
    resume: bool = False,
    only: Collection[str] = (),
    controls: Controls = "auto",
    tensorboard: bool = False,
    display: Display | None = None,
) -> list[ArmRecord]:
    """Run the arms of ``experiment`` and write everything below ``folder``.

    Args:
        resume: continue in a folder that holds results; finished arms are kept, others resume where they stopped.
        only: names of arms and controls to run instead of all.
        controls: ``auto`` leaves out controls that train if there are 500 samples or fewer.
        tensorboard: also write each finished run's diagnostics as TensorBoard scalars, into its folder.

    Returns:
        The records, in the order of the experiment file.

    Raises:
        UsageError: the folder holds results and ``resume`` is not given, or holds those of another experiment; or
            settings or questions cannot be used. Nothing is written then.
        StorageError: a file cannot be written. What was written before is kept, and can be resumed.
    """
    display = display or Display()
    if tensorboard:
        check_available()
    planned = plan(experiment, only, controls)
    check_folder(folder, experiment, resume)  # before anything is written into it, the lock included
    splits = read_splits(experiment, planned, folder)
    with exclusive(folder):
        before = check_folder(folder, experiment, resume)
        lm = load(experiment.model)
        known = read_search_record(folder)
        candidates = plan_candidates(experiment, [run.arm for run in planned], known)
        check_sizes([*planned, *candidates], lm)
        sweep = SweepRun(experiment, lm, folder, display, before=before, splits=splits)
        sweep.begin(planned)
        for overlap in sweep.splits.overlaps:
            logger.warning("%s (data.allow_shared_paragraphs)", overlap)
        if lm.device.type != "cuda" and any(run.config.evaluation.samples == "auto" for run in planned):
            logger.info("scoring 100 test questions, as this is a CPU (evaluation.samples sets another number)")
        if candidates:
            _search(experiment, candidates, known, planned, folder, lm, display, sweep.splits)
            sweep.begin(planned)
        records = sweep.run("sweep", tensorboard=tensorboard)
        if is_complete(folder):
            write_reports(read_results(folder))
    return records


def _search(
    experiment: Experiment,
    candidates: Sequence[Planned],
    known: SearchRecord,
    planned: Sequence[Planned],
    folder: Path,
    lm: LanguageModel,
    display: Display,
    splits: Splits,
) -> None:
    """Train the candidates of the planned arms, and record their choices in ``folder`` beside the known ones."""
    searched = to_search(experiment, [run.arm for run in planned], known)
    logger.info("searching settings: %d candidates of %d arms and controls", len(candidates), len(searched))
    own = search_experiment(experiment)
    below = folder / SEARCH_FOLDER
    make_folder(below)
    search = SweepRun(own, lm, below, display, before=check_folder(below, own, resume=True), splits=splits)
    search.begin(candidates)
    choices = choose(experiment, searched, search.run("search"))
    write_search_record(folder, SearchRecord(arms={**known.arms, **choices}))
    log_choices(choices)
    _share_codecs(below / CODEC_FOLDER, folder / CODEC_FOLDER)


def _share_codecs(source: Path, target: Path) -> None:
    """Copy codecs that ``target`` lacks, whose names tell all that determines them, so that none is fitted again."""
    for file in source.glob("*"):
        if not (target / file.name).exists():
            write_bytes(target / file.name, read_bytes(file, source))
