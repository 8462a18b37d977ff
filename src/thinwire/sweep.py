"""Running an experiment: into which folder, what is left to run in it, what is written when it is over."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from thinwire.arm import as_left, check_done
from thinwire.config import Experiment
from thinwire.errors import UsageError
from thinwire.fused import group, run_group
from thinwire.memory import arm_processes, fused_arms
from thinwire.model import load
from thinwire.plan import Controls, Planned, plan
from thinwire.processes import run_side_by_side
from thinwire.progress import Display
from thinwire.provenance import environment, now
from thinwire.records import content_hash, read_json, write_json, write_text
from thinwire.report import compare
from thinwire.report.results import is_complete, read_results, record_folder
from thinwire.report.summary import summary_text
from thinwire.report.write import write_reports
from thinwire.tensorboard import check_available, write_scalars
from thinwire.workbench import Workbench

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
) -> list[dict[str, Any]]:
    """Run the arms of ``experiment`` and write everything below ``folder``.

    Args:
        resume: continue in a folder that holds results; arms whose record says done are kept, others go on after their
            last whole epoch.
        only: run these arms or controls alone, instead of all.
        controls: ``auto`` leaves controls that train out of a run of 500 samples or fewer.
        tensorboard: also write each finished training's diagnostics as TensorBoard scalars, into its folder.

    Returns:
        The records, in the order of the experiment file.

    Raises:
        UsageError: the folder holds results and ``resume`` is not given, or holds those of another experiment.
    """
    display = display or Display()
    if tensorboard:
        check_available()
    planned = plan(experiment, only, controls)
    with _exclusive(folder):
        before = check_folder(folder, experiment, resume)
        lm = load(experiment.model)
        bench = Workbench(experiment, lm, folder / "codec", display)
        runs = [replace(run, config=bench.resolve(run.config)) for run in planned]
        for run in runs:
            bench.encoded(run.config)  # what cannot be read is refused here, before anything is written
        records = _finished(bench, runs, folder)
        left = [as_left(run, folder, bench) for run in runs if run.name not in records]
        groups = group(left, fused_arms(lm, experiment.fused_arms))
        num_processes = _num_processes(bench, groups, experiment.processes)
        header = _header(experiment, bench, before, runs)
        write_text(folder / "experiment.yaml", yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False))
        write_json(folder / "sweep.json", header)
        shutil.copyfile(Path(compare.__file__), folder / "compare_results.py")
        over = _run(bench, groups, folder, display, num_processes)
        with display.overall("sweep", before=len(records)) as task, closing(over):
            task.update(len(records), len(runs))
            for together in over:
                for run in together:
                    own = record_folder(folder, run.name, run.kind)
                    records[run.name] = read_json(own / "record.json")
                    if tensorboard and records[run.name]["status"] == "done":
                        write_scalars(own)
                task.update(len(records), len(runs))
                # After every group, so that an unfinished sweep can be read too.
                write_text(folder / "sweep_summary.txt", summary_text(folder))
        write_json(folder / "sweep.json", {**header, "finished_at": now()})
        if is_complete(folder):
            write_reports(read_results(folder))
    return [records[run.name] for run in runs]


def _num_processes(bench: Workbench, groups: Sequence[Sequence[Planned]], setting: int | str) -> int:
    num_tokens = sum(bench.training_tokens(run.config) for together in groups for run in together)
    return arm_processes(bench.lm, setting, num_groups=len(groups), num_tokens=num_tokens)


def _run(
    bench: Workbench, groups: Sequence[Sequence[Planned]], folder: Path, display: Display, num_processes: int
) -> Generator[Sequence[Planned], None, None]:
    """Run groups of arms, in this process or in several; gives each when it is over."""
    if num_processes > 1:
        bench.make_shared(run.config for together in groups for run in together)
        yield from run_side_by_side(groups, folder, display, num_processes=num_processes)
    else:
        for together in groups:
            run_group(bench, together, folder, display)
            yield together


def _header(
    experiment: Experiment, bench: Workbench, before: dict[str, Any] | None, runs: list[Planned]
) -> dict[str, Any]:
    """``sweep.json``: what all arms share. A resumed sweep keeps its start and the arms it has planned before."""
    lm = bench.lm
    return {
        "format": 1,
        "name": experiment.name,
        "description": experiment.description,
        "baseline": experiment.baseline,
        "experiment_hash": content_hash(experiment.model_dump(mode="json")),
        "verdict": experiment.verdict.model_dump(mode="json"),
        "planned": {**(before["planned"] if before else {}), **{run.name: run.kind for run in runs}},
        "model": {
            "name": lm.name,
            "revision": lm.revision,
            "table_sha256": lm.table_hash(),
            "vocabulary": lm.table.shape[0],
            "embedding_width": lm.table.shape[1],
            "num_layers": lm.num_layers,
            "bytes_per_number": lm.table.element_size(),
            "text_bits_per_token": bench.text_bits_per_token(runs[0].config),
        },
        "samples": experiment.data.samples,
        "epochs": experiment.training.epochs,
        "environment": environment(lm.device),
        "started_at": before["started_at"] if before else now(),
        "finished_at": None,
    }


def _finished(bench: Workbench, runs: Sequence[Planned], sweep_folder: Path) -> dict[str, dict[str, Any]]:
    """Records of the arms that are done already, by name."""
    records = {}
    for run in runs:
        record_file = record_folder(sweep_folder, run.name, run.kind) / "record.json"
        if record_file.exists() and (record := read_json(record_file))["status"] == "done":
            check_done(record, run.config, bench.questions(run.config).hashes, bench.lm)
            logger.info("%s is done already", run.name)
            records[run.name] = record
    return records


def check_folder(folder: Path, experiment: Experiment, resume: bool) -> dict[str, Any] | None:
    """Refuse a folder that must not be written to; returns the header of the sweep to be resumed, if there is one."""
    if not (folder / "sweep.json").exists() and not (folder / "experiment.yaml").exists():
        if others := [path.name for path in folder.iterdir() if path.name != ".lock"]:
            raise UsageError(
                f"{folder} holds other files ({', '.join(sorted(others)[:3])}); choose another output folder"
            )
        return None
    if not resume:
        raise UsageError(
            f"{folder} holds the results of a sweep, and nothing is overwritten: add --resume to continue it "
            "(for scripts/sweep_phase1a_lora.sh: as its argument), or choose another folder (OUTPUT_BASE, --output)"
        )
    before = yaml.safe_load((folder / "experiment.yaml").read_text(encoding="utf-8"))
    after = experiment.model_dump(mode="json")
    free = {
        "arms",
        "controls",
        "description",
        "verdict",
        "seeds",
        "fused_arms",
        "processes",
    }  # may grow between runs; finished arms are compared one by one
    for settings in (before, after):
        for how_fast in ("compile", "cuda_graphs"):
            settings["model"].pop(how_fast, None)
    differing = sorted(key for key in after if key not in free and before.get(key) != after[key])
    if differing:
        raise UsageError(
            f"{folder} was started with other settings ({', '.join(differing)}); resume with the same, "
            "or choose another folder"
        )
    header: dict[str, Any] | None = read_json(folder / "sweep.json") if (folder / "sweep.json").exists() else None
    return header


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UsageError(
            f"another process is running a sweep in {folder}; wait for it, or use another folder"
        ) from None
