"""Run an experiment: check the folder, search settings if asked for, run the arms, and write the reports."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from thinwire.config.auto import resolved
from thinwire.config.experiment import Experiment
from thinwire.data.splits import Splits
from thinwire.errors import UsageError
from thinwire.experiment.executors.local import LocalWorkers
from thinwire.experiment.executors.worker_process import WorkerProcess, processes_for_gpus
from thinwire.experiment.group_queue import begin_session
from thinwire.experiment.plan import Controls, Planned, log_notes
from thinwire.experiment.request import SweepRequest, write_request
from thinwire.experiment.resume import check_folder, forget_failures
from thinwire.experiment.run_claims import RunClaims, exclusive, stopping_on_request, submitted_job
from thinwire.experiment.search import choose, log_choices, plan_candidates, search_experiment, to_search
from thinwire.experiment.sweep_inputs import check_sizes, read_splits
from thinwire.experiment.sweep_run import SweepRun
from thinwire.files import make_folder, write_bytes
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.progress import Display
from thinwire.reading import read_bytes
from thinwire.report.write import REPORT_FILES, write_reports
from thinwire.results.arm_record import ArmRecord
from thinwire.results.layout import CODEC_FOLDER, SEARCH_FOLDER
from thinwire.results.read import is_complete, read_results
from thinwire.results.search_record import SearchRecord, read_search_record, write_search_record
from thinwire.results.sweep_header import has_header
from thinwire.tasks.table import TASKS
from thinwire.tracking.table import check_trackers
from thinwire.tracking.tracker import TrackedSweep
from thinwire.tracking.trackers import Trackers

logger = logging.getLogger(__name__)


def run_sweep(
    experiment: Experiment,
    folder: Path,
    *,
    resume: bool = False,
    only: Collection[str] = (),
    controls: Controls = "auto",
    track: Collection[str] = (),
    display: Display | None = None,
    splits: Splits | None = None,
    processes: Iterable[WorkerProcess] | None = None,
) -> list[ArmRecord]:
    """Run the arms of ``experiment`` on this host, and write everything below ``folder``.

    On several GPUs, or on a CPU, worker processes help (``executors/local.py``).

    Args:
        resume: continue in a folder that holds results; finished arms are kept, others resume where they stopped.
        only: names of arms and controls to run instead of all.
        controls: ``auto`` leaves out controls that train if there are 500 samples or fewer.
        track: names of trackers (``thinwire.tracking``) that are told what each run logs while it runs.
        splits: the experiment's, where its questions are read already.
        processes: those of ``processes_for_gpus``, where they have been started already.

    Returns:
        The records, in the order of the experiment file.

    Raises:
        UsageError: the folder holds results and ``resume`` is not given, or holds those of another experiment; or
            settings, questions or trackers cannot be used. Nothing is written then.
        StorageError: a file cannot be written. What was written before is kept, and can be resumed.
        ThinwireError: the run was cancelled, and this program handles signals itself; it can be resumed.
    """
    display = display or Display()
    request = SweepRequest(
        experiment=experiment,
        only=tuple(only),
        controls=controls,
        track=check_trackers(track),
        session=secrets.token_hex(8),
    )
    _refuse_submitted(folder, resume=resume)
    num_runs = len(request.planned)
    started = processes_for_gpus(experiment, num_runs) if processes is None else nullcontext(processes)
    with started as on_gpus:
        planned, splits = _checked(
            request, folder, splits, resume=resume
        )  # before anything is written, claims included
        log_notes(experiment, only, controls)
        with exclusive(folder):
            check_folder(folder, experiment, resume)
            claims = RunClaims(folder)
            claims.take_back_stop()
            begin_anew(request, folder)
            write_request(folder, request)  # for workers of other hosts that join (`thinwire work`)
            with LocalWorkers(request, folder, display, on_gpus) as workers, stopping_on_request(claims):
                workers.begin_on_gpus()
                with _trackers(request, folder) as trackers:
                    records = _run(request, folder, planned, splits, display, workers=workers, trackers=trackers)
                    _report(folder, trackers)
    return records


def _refuse_submitted(folder: Path, *, resume: bool) -> None:
    """Refuse a folder for which a Slurm array was submitted that has begun nothing yet: its request is there.

    Raises:
        UsageError: it is one, and ``resume`` is not given.
    """
    if not resume and (job := submitted_job(folder)) is not None and not has_header(folder):
        raise UsageError(
            f"Slurm job {job} was submitted for {folder} and has begun nothing there yet; wait for it, or use another "
            f"folder (--output); where it is over or ended by `thinwire cancel {folder}`, add --resume to run the "
            "sweep on this host"
        )


def join_sweep(
    request: SweepRequest, folder: Path, display: Display | None = None, *, memory_share: float = 1.0
) -> list[ArmRecord]:
    """Run arms of a sweep in ``folder`` as one of its workers, until all of its arms have ended.

    Workers may be on several hosts and may come and go; each arm is ended by one of them.

    Args:
        memory_share: share of the free memory that this worker may use.

    Raises:
        UsageError: settings, folder or questions cannot be used.
        StorageError: a file cannot be written.
    """
    check_trackers(request.track)
    planned, splits = _checked(request, folder, None, resume=True)
    presence = nullcontext() if request.session else RunClaims(folder).take(f"worker-{secrets.token_hex(4)}")
    assert presence is not None, "a name of its own"
    with _trackers(request, folder) as trackers:
        with presence, stopping_on_request(RunClaims(folder)):
            records = _run(
                request, folder, planned, splits, display or Display(), memory_share=memory_share, trackers=trackers
            )
        if request.session is None and is_complete(folder):
            RunClaims(folder).alone(
                "finish", "another worker, which writes the reports", partial(_report, folder, trackers)
            )
    return records


def _trackers(request: SweepRequest, folder: Path) -> Trackers:
    return Trackers(request.track, TrackedSweep(name=request.experiment.name, folder=folder))


def _report(folder: Path, trackers: Trackers) -> None:
    """Write the reports of a sweep that is complete, and hand them to the trackers."""
    if is_complete(folder):
        analysis = write_reports(read_results(folder))
        trackers.sweep_ended(analysis, [folder / name for name in REPORT_FILES])


def begin_anew(request: SweepRequest, folder: Path) -> None:
    """Begin a session in ``folder``, in which no worker is at work: arms that failed in an earlier one run again, and
    workers that went away in it no longer count.

    Raises:
        StorageError: a file cannot be changed.
    """
    begin_session(folder)
    RunClaims(folder).forget_gone()  # and how often owners of groups went: who begins anew has done something about it
    forget_failures(folder, request.planned)
    known = read_search_record(folder)
    if candidates := plan_candidates(request.experiment, [run.arm for run in request.planned], known):
        begin_session(folder / SEARCH_FOLDER)
        RunClaims(folder / SEARCH_FOLDER).forget_gone()
        forget_failures(folder / SEARCH_FOLDER, candidates)


def _checked(
    request: SweepRequest, folder: Path, splits: Splits | None, *, resume: bool
) -> tuple[list[Planned], Splits]:
    """Check what can be checked without a model; returns the runs and their questions."""
    planned = request.planned
    check_folder(folder, request.experiment, resume)
    return planned, read_splits(request.experiment, planned, folder, splits)


def _run(
    request: SweepRequest,
    folder: Path,
    planned: Sequence[Planned],
    splits: Splits,
    display: Display,
    *,
    workers: LocalWorkers | None = None,
    memory_share: float = 1.0,
    trackers: Trackers,
) -> list[ArmRecord]:
    """Search settings if asked for, and run the arms."""
    experiment, is_helper = request.experiment, workers is None and request.session is not None
    lm = load(experiment.model)
    known = read_search_record(folder)
    candidates = plan_candidates(experiment, [run.arm for run in planned], known)
    check_sizes([*planned, *candidates], lm)
    made = partial(SweepRun, lm=lm, display=display, splits=splits, workers=workers, memory_share=memory_share)
    sweep = made(request, folder=folder, trackers=trackers)
    if not (is_helper and candidates):
        sweep.begin(planned)
    if not is_helper:
        _say_what_is_special(planned, splits, lm)
    if candidates:
        searched = to_search(experiment, [run.arm for run in planned], known)
        logger.info("searching settings: %d candidates of %d arms and controls", len(candidates), len(searched))
        below = folder / SEARCH_FOLDER
        own = replace(request, experiment=search_experiment(experiment), only=(), controls="none", track=())
        if not is_helper:
            make_folder(below)
            check_folder(below, own.experiment, resume=True)
        search = made(own, folder=below)
        search.begin(candidates)
        choices = choose(experiment, searched, search.run("search"))
        write_search_record(folder, SearchRecord(arms={**known.arms, **choices}))
        log_choices(choices, TASKS[experiment.task].label)
        _share_codecs(below / CODEC_FOLDER, folder / CODEC_FOLDER)
        sweep.begin(planned)
    return sweep.run("sweep")


def _say_what_is_special(planned: Sequence[Planned], splits: Splits, lm: LanguageModel) -> None:
    for overlap in splits.overlaps:
        logger.warning("%s (data.allow_shared_paragraphs)", overlap)
    is_auto = [run.config for run in planned if run.config.evaluation.samples == "auto"]
    if lm.device.type != "cuda" and is_auto:
        drawn = len(splits.drawn(resolved(is_auto[0], lm.device.type).evaluation).test)
        if drawn < splits.num_test_questions:
            message = "scoring %s of %s test questions, as this is a CPU (evaluation.samples sets another number)"
            logger.info(message, drawn, f"{splits.num_test_questions:,}")


def _share_codecs(source: Path, target: Path) -> None:
    """Copy codecs that ``target`` lacks, whose names tell all that determines them, so that none is fitted again."""
    for file in source.glob("[!.]*.safetensors"):
        if not (target / file.name).exists():
            write_bytes(target / file.name, read_bytes(file, source))
