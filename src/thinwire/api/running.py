"""Run an experiment from Python, and read the results of a sweep's folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from thinwire.api.given import names_of, path_of
from thinwire.config import load
from thinwire.config.experiment import Experiment
from thinwire.errors import UsageError, shown
from thinwire.experiment.plan import Controls
from thinwire.experiment.sweep import run_sweep
from thinwire.report.analysis import analyse
from thinwire.report.analysis_record import Analysis, VerdictSummary
from thinwire.report.compare import ResultsError, load_rows
from thinwire.report.write import write_reports
from thinwire.results.arm_record import ArmRecord, has_arm_record, read_arm_record
from thinwire.results.layout import arm_folder
from thinwire.results.read import Results, read_results
from thinwire.results.sweep_header import read_header

if TYPE_CHECKING:
    import pandas


def load_experiment(path: Path | str, settings: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment file, and change settings of it.

    Args:
        settings: values by their dotted paths, such as ``{"data.samples": 300, "model.name": "gpt2"}``.

    Raises:
        UsageError: the file is missing, a setting is unknown, or a value is out of range.
    """
    changes = {} if settings is None else settings
    if not isinstance(changes, Mapping) or not all(isinstance(name, str) for name in changes):
        raise UsageError(
            f'settings are values by their dotted paths, such as {{"data.samples": 300}}, got {shown(settings)}'
        )
    plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in changes.items()}
    return load.load_experiment(path_of(path, "experiment file"), settings=plain)


def run(
    experiment: Experiment,
    folder: Path | str | None = None,
    *,
    resume: bool = False,
    only: Collection[str] = (),
    controls: Controls = "auto",
    track: Collection[str] = (),
) -> Run:
    """Run all arms and controls of ``experiment`` on this host, as ``thinwire sweep`` does.

    Arms that fail are in the results with their error. On several GPUs, and on a CPU where it is faster, worker
    processes are started, so a script needs the usual ``if __name__ == "__main__":``.

    Args:
        folder: where all files are written; by default ``runs/`` and the experiment's name.
        resume: go on in a folder that holds results.
        only: names of arms and controls to run instead of all.
        controls: ``auto`` leaves out controls that train if there are 500 samples or fewer.
        track: names of trackers that are told what each arm logs while it runs: ``tensorboard``, ``wandb``, ``mlflow``.

    Raises:
        UsageError: settings, data, folder or trackers cannot be used; nothing is written then.
        StorageError: a file cannot be written; what was written before can be resumed.
        ThinwireError: the run was cancelled (``thinwire cancel``); it can be resumed.
    """
    if not isinstance(experiment, Experiment):
        raise UsageError(f"an experiment is expected, as load_experiment returns it, got {shown(experiment)}")
    if controls not in (known := get_args(Controls)):
        raise UsageError(f"controls takes {', '.join(known)}; got {shown(controls)}")
    where = Path("runs") / experiment.name if folder is None else path_of(folder, "output folder")
    run_sweep(
        experiment,
        where,
        resume=resume,
        only=names_of(only, "only", "baseline"),
        controls=controls,
        track=names_of(track, "track", "tensorboard"),
    )
    return Run.load(where)


@dataclass(frozen=True)
class Run:
    """The results in a sweep's folder. Each is read when it is first asked for."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", path_of(self.folder, "sweep's folder"))  # from a text too

    @classmethod
    def load(cls, folder: Path | str) -> Run:
        """Open the folder of a sweep, which may still be running.

        Raises:
            UsageError: it is no sweep's folder.
            ThinwireError: its header is damaged.
        """
        found = cls(path_of(folder, "sweep's folder"))
        read_header(found.folder)
        return found

    def records(self) -> dict[str, ArmRecord]:
        """Return the record of each arm and control that has ended, by name, in the experiment's order."""
        planned = read_header(self.folder).planned
        folders = {name: arm_folder(self.folder, name, kind) for name, kind in planned.items()}
        return {name: read_arm_record(folder) for name, folder in folders.items() if has_arm_record(folder)}

    def to_pandas(self) -> pandas.DataFrame:
        """Return a row for each arm and control, with the columns of ``thinwire compare --json``; scores are fractions.

        Raises:
            UsageError: pandas is not installed, or results cannot be read.
        """
        if find_spec("pandas") is None:
            raise UsageError("a table needs pandas; pip install 'thinwire[pandas]'")
        import pandas

        try:
            return pandas.DataFrame(load_rows(self.folder))
        except ResultsError as error:
            raise UsageError(str(error)) from None

    def predictions(self, name: str) -> list[dict[str, Any]]:
        """Return an arm's scored answers to the test questions: for each its ``id``, ``question``, ``golds``, ``text``,
        ``score``, ``exact_match``, ...

        Raises:
            UsageError: the sweep has not ended, or no arm or control of that name is done.
        """
        done = {one.record.name: one for runs in self._results.groups.values() for one in runs}
        if not isinstance(name, str) or name not in done:
            raise UsageError(
                f"no arm or control called {shown(name)} is done in {self.folder}; there are: {', '.join(done)}"
            )
        return done[name].predictions

    def verdict(self) -> VerdictSummary:
        """Return what the sweep says about its question, by the arm that the selection split chose.

        Raises:
            UsageError: the sweep has not ended.
        """
        return self.analysis.verdict

    @cached_property
    def analysis(self) -> Analysis:
        """All numbers of the reports: rows with intervals and tiers, interactions, sizes.

        Raises:
            UsageError: the sweep has not ended.
        """
        return analyse(self._results)

    def report(self) -> Path:
        """Write the reports anew, and return the path of ``report.html``.

        Raises:
            UsageError: the sweep has not ended.
            StorageError: a file cannot be written.
        """
        write_reports(self._results)
        return self.folder / "report.html"

    @cached_property
    def _results(self) -> Results:
        return read_results(self.folder)
