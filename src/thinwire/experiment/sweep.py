"""Run an experiment: check the folder, run the remaining arms, and write header, summary and reports."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import yaml

from thinwire.config.auto import resolved
from thinwire.config.experiment import Experiment
from thinwire.experiment.arm_inputs import ArtifactCache
from thinwire.experiment.group_run import run_group
from thinwire.experiment.plan import Controls, Planned, plan
from thinwire.experiment.resume import check_folder, exclusive, finished_record, with_epochs_done
from thinwire.experiment.runtime import Runtime, make_runtime
from thinwire.experiment.scheduling import group, max_group_size, num_worker_processes
from thinwire.experiment.worker_processes import run_in_worker_processes
from thinwire.files import content_hash, write_text
from thinwire.model.loading import load
from thinwire.progress import Display
from thinwire.report import compare
from thinwire.report.summary import summary_text
from thinwire.report.write import write_reports
from thinwire.results.arm_record import ArmRecord, read_arm_record
from thinwire.results.layout import EXPERIMENT_FILE, SUMMARY_FILE, arm_folder
from thinwire.results.provenance import environment, now
from thinwire.results.read import is_complete, read_results
from thinwire.results.sweep_header import FORMAT, SweepHeader, SweepModel, write_header
from thinwire.results.tensorboard import check_available, write_scalars

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
        resume: continue in a folder that holds results; finished arms are kept, others resume after their last complete
            epoch.
        only: names of arms and controls to run instead of all.
        controls: ``auto`` leaves out controls that train if there are 500 samples or fewer.
        tensorboard: also write each finished run's diagnostics as TensorBoard scalars, into its folder.

    Returns:
        The records, in the order of the experiment file.

    Raises:
        UsageError: the folder holds results and ``resume`` is not given, or holds those of another experiment.
    """
    display = display or Display()
    if tensorboard:
        check_available()
    planned = plan(experiment, only, controls)
    with exclusive(folder):
        before = check_folder(folder, experiment, resume)
        lm = load(experiment.model)
        runtime = make_runtime(experiment, lm, display)
        artifacts = ArtifactCache(experiment, lm, folder / "codec", display)
        runs = [replace(run, config=resolved(run.config, lm.device.type)) for run in planned]
        if lm.device.type != "cuda" and any(run.config.evaluation.samples == "auto" for run in planned):
            logger.info("scoring 100 test questions, as this is a CPU (evaluation.samples sets another number)")
        # Read the questions now: unreadable data is refused before anything is written.
        data = {run.name: artifacts.questions(run.config).encoded.hashes for run in runs}
        for overlap in artifacts.splits.overlaps:
            logger.warning("%s (data.allow_shared_paragraphs)", overlap)
        done = {run.name: record for run in runs if (record := finished_record(run, folder, data[run.name], lm))}
        for name in done:
            logger.info("%s is done already", name)
        left = [with_epochs_done(run, folder, data[run.name], lm) for run in runs if run.name not in done]
        groups = group(left, max_group_size(lm, experiment.group_size))
        num_processes = _num_worker_processes(runtime, artifacts, groups, experiment)
        header = _header(experiment, runtime, artifacts, before, runs)
        write_text(folder / EXPERIMENT_FILE, yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
        write_header(folder, header)
        shutil.copyfile(Path(compare.__file__), folder / "compare_results.py")
        over = _run(runtime, artifacts, groups, folder, num_processes)
        records = done
        with display.overall("sweep", before=len(records)) as task, closing(over):
            task.update(len(records), len(runs))
            for together in over:
                for run in together:
                    own = arm_folder(folder, run.name, run.kind)
                    records[run.name] = read_arm_record(own)
                    if tensorboard and records[run.name].status == "done":
                        write_scalars(own)
                task.update(len(records), len(runs))
                # After every group, so that an unfinished sweep has a summary too.
                write_text(folder / SUMMARY_FILE, summary_text(folder))
        write_header(folder, header.model_copy(update={"finished_at": now()}))
        if is_complete(folder):
            write_reports(read_results(folder))
    return [records[run.name] for run in runs]


def _num_worker_processes(
    runtime: Runtime, artifacts: ArtifactCache, groups: Sequence[Sequence[Planned]], experiment: Experiment
) -> int:
    configs = [run.config for together in groups for run in together]
    num_tokens = sum(artifacts.questions(config).training_tokens(config) for config in configs)
    return num_worker_processes(runtime.lm, experiment.worker_processes, num_groups=len(groups), num_tokens=num_tokens)


def _run(
    runtime: Runtime,
    artifacts: ArtifactCache,
    groups: Sequence[Sequence[Planned]],
    folder: Path,
    num_processes: int,
) -> Generator[Sequence[Planned], None, None]:
    """Run groups of arms, in this process or in worker processes; yields each group when it has ended."""
    if num_processes > 1:
        artifacts.make_shared(run.config for together in groups for run in together)
        yield from run_in_worker_processes(groups, folder, runtime.display, num_processes=num_processes)
    else:
        for together in groups:
            run_group(runtime, artifacts, together, folder)
            yield together


def _header(
    experiment: Experiment,
    runtime: Runtime,
    artifacts: ArtifactCache,
    before: SweepHeader | None,
    runs: Sequence[Planned],
) -> SweepHeader:
    lm = runtime.lm
    return SweepHeader(
        format=FORMAT,
        name=experiment.name,
        description=experiment.description,
        baseline=experiment.baseline,
        experiment_hash=content_hash(experiment.model_dump(mode="json")),
        verdict=experiment.verdict.model_dump(mode="json"),
        report=experiment.report.model_dump(mode="json"),
        interactions=experiment.interactions,
        planned={**(before.planned if before else {}), **{run.name: run.kind for run in runs}},
        model=SweepModel(
            name=lm.name,
            revision=lm.revision,
            matrix_sha256=lm.embedding_hash(),
            vocabulary=lm.embedding_matrix.shape[0],
            embedding_width=lm.embedding_matrix.shape[1],
            num_layers=lm.num_layers,
            bytes_per_number=lm.embedding_matrix.element_size(),
            text_bits_per_token=artifacts.questions(runs[0].config).encoded.text_bits_per_token(),
            quantisation=lm.quantisation,
        ),
        samples=experiment.data.samples,
        test_questions=artifacts.splits.num_test_questions,
        shared_paragraphs=artifacts.splits.num_shared_paragraphs,
        epochs=experiment.training.epochs,
        environment=environment(lm.device),
        started_at=before.started_at if before else now(),
        finished_at=None,
    )
