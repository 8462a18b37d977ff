"""The executor of a Slurm cluster: an array of jobs, each of whose elements is a worker.

submitit writes the script and the job's function. An element that is preempted, or near its time limit, stops after
its optimiser step and is requeued alone; what it has done is in the run's folder.
"""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from thinwire import interruption
from thinwire.errors import UsageError
from thinwire.experiment.executors.peer import LOGS, run_peer
from thinwire.experiment.run_claims import SLURM_JOB_FILE, WORKERS_FOLDER
from thinwire.files import write_text

_WARNING_SECONDS = 120
"""Seconds before a time limit at which an element is told to stop."""

_MOST_TIMEOUTS = 1_000
"""How often an element may meet its time limit and go on. Below limits of ten minutes, submitit takes a pre-emption for
a time-out too."""

_OF_SUBMITIT = frozenset({"partition", "account", "qos", "constraint", "gres", "exclude", "nodelist", "dependency"})
"""Options of sbatch that submitit has names for; others are passed through as they are."""

_GPU_OPTIONS = frozenset({"gres", "gpus", "gpus_per_node", "gpus_per_task"})


class Worker:
    """What an element of the array runs. submitit stores it by its name, with the folder."""

    def __call__(self, folder: str) -> None:
        """Run arms of the sweep in ``folder``; ask Slurm to requeue this element if it is told to stop."""
        requeue: Any = signal.getsignal(signal.SIGUSR2)  # submitit's; it ends the process
        interruption.install()  # ours lets an optimiser step end, and also listens to a pre-emption's SIGTERM
        try:
            records = run_peer(Path(folder))
        except interruption.Interrupted as error:
            if interruption.received() == signal.SIGUSR2:
                requeue(signal.SIGUSR2, None)
            sys.exit(error.exit_code)
        if any(record.status != "done" for record in records):
            sys.exit(1)

    def checkpoint(self, folder: str) -> Any:
        """Return what submitit is to run when the element is requeued."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, folder)


def check_options(options: Mapping[str, str]) -> None:
    """Check options of sbatch, as for ``submit``.

    Raises:
        UsageError: submitit is missing, or an option cannot be used.
    """
    _check_submitit()
    _parameters(Path(), options, on_gpu=True)


def check_slurm() -> None:
    """Check that jobs can be submitted from this host.

    Raises:
        UsageError: a program of Slurm is missing.
    """
    if missing := [program for program in ("sbatch", "srun") if shutil.which(program) is None]:
        raise UsageError(
            f"--executor slurm needs {missing[0]}, which is not on the PATH; submit from a login node of a Slurm "
            "cluster, or use --executor local"
        )


def submit(folder: Path, num_workers: int, options: Mapping[str, str], *, on_gpu: bool) -> str:
    """Submit an array of ``num_workers`` elements that run the sweep in ``folder`` (``peer.ask``).

    Args:
        options: of sbatch, by their long names with underscores: ``{"partition": "gpu", "time": "04:00:00"}``.
        on_gpu: whether each element is to have a GPU, unless ``options`` say so themselves.

    Returns:
        The number of the job.

    Raises:
        UsageError: sbatch refuses the job.
    """
    import submitit

    executor = submitit.SlurmExecutor(
        folder=folder / LOGS, max_num_timeout=_MOST_TIMEOUTS, python=shlex.quote(sys.executable)
    )
    executor.update_parameters(**_parameters(folder, options, on_gpu=on_gpu))
    try:
        jobs = executor.map_array(Worker(), [str(folder.absolute())] * num_workers)
    except submitit.core.utils.FailedJobError as error:
        raise UsageError(f"sbatch refuses the job: {str(error).strip()}") from None
    job = str(jobs[0].job_id).partition("_")[0]
    write_text(folder / WORKERS_FOLDER / SLURM_JOB_FILE, f"{job}\n")
    return job


def script(folder: Path, num_workers: int, options: Mapping[str, str], *, on_gpu: bool) -> str:
    """Return the script that ``submit`` would hand to sbatch; nothing is written, and sbatch need not be there.

    Raises:
        UsageError: submitit is missing, or an option cannot be used.
    """
    _check_submitit()
    from submitit.slurm.slurm import SlurmExecutor

    class Unsubmitted(SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 2

    executor = Unsubmitted(folder / LOGS, python=shlex.quote(sys.executable))
    executor.update_parameters(**_parameters(folder, options, on_gpu=on_gpu))
    if num_workers > 1:
        executor.parameters["map_count"] = num_workers
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def _check_submitit() -> None:
    if find_spec("submitit") is None:
        raise UsageError("--executor slurm needs submitit; pip install 'thinwire[slurm]'")


def _parameters(folder: Path, options: Mapping[str, str], *, on_gpu: bool) -> dict[str, Any]:
    """Return the parameters of submitit's executor."""
    named: dict[str, Any] = {"job_name": f"thinwire-{folder.name}", "signal_delay_s": _WARNING_SECONDS}
    named |= {"array_parallelism": 10_000, "stderr_to_stdout": True}
    others: dict[str, Any] = {"requeue": True}
    for key, value in options.items():
        if key == "time":
            named["time"] = minutes(value)
        elif key in _OF_SUBMITIT or key == "mem":
            named[key] = value
        elif key == "cpus_per_task":
            named[key], named["srun_args"] = value, [f"--cpus-per-task={value}"]  # srun does not inherit it
        else:
            others[key] = value
    if on_gpu and not _GPU_OPTIONS & options.keys():
        named["gpus_per_node"] = 1
    return {**named, "additional_parameters": others}


def minutes(text: str) -> int:
    """Return a time limit in Slurm's forms (``90``, ``1:30:00``, ``2-12``, ``2-12:30``) in minutes, rounded up.

    Raises:
        UsageError: it is in none of them.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if found is None:
        raise UsageError(f"--slurm time={text} is no time limit; write minutes, HH:MM:SS or D-HH:MM")
    days, *rest = found.groups()
    first, second, third = (int(part or 0) for part in rest)
    if days is not None:
        hours, mins, seconds = int(days) * 24 + first, second, third
    elif rest[2] is not None:
        hours, mins, seconds = first, second, third
    else:
        hours, mins, seconds = 0, first, second
    return hours * 60 + mins + (seconds > 0)
