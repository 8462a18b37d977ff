"""Sweeps of the tiny model as processes of their own that are killed, signalled, or whose writes fail.

Starting Python and importing torch takes seconds, so one process imports everything and forks for each run. It is
started with ``fault_shim.c``, which makes the Nth change of a file fail, or the process die or stop there.
"""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

SOURCE = Path(__file__).parents[2] / "src"
KINDS = "open,write,rename,unlink,fsync,mkdir,truncate"
"""All kinds of calls that the shim knows."""

LORA = {"alpha": 4, "dropout": 0.2}
ARMS = {
    "baseline": {},
    "r2": {"lora": {"rank": 2, "layers": 1, **LORA}},
    "r4": {"lora": {"rank": 4, **LORA}},
    "quick": {"lora": {"rank": 2, **LORA}, "training": {"adapter_lr": 1e-2, "clip_norm": 0.1}},
}
WAYS = {
    "one by one": {"group_size": 1, "worker_processes": 1},
    "in a group": {"group_size": 4, "worker_processes": 1},
    "side by side": {"group_size": 2, "worker_processes": 2},
    "on a GPU": {"group_size": 4, "worker_processes": 1},
    "in blocks": {
        "group_size": 1,
        "worker_processes": 1,
        "input": "blocks",
        "supervision": {"ce_weight": 1.0},
        "blocks": {"hidden": 8, "reconstruction": {"passages": 24, "batch_size": 2}},
        "arms": {name: ARMS[name] for name in ("baseline", "r2")},
    },
}
"""The ways in which arms run, one of them on a GPU. Those in blocks learn from texts first, for twelve steps."""

ON_GPU = {"device": "cuda", "dtype": "bfloat16", "cuda_graphs": True}


def write_experiment(folder, way, **changes):
    """Write an experiment of four arms and a control with the inputs in ``folder``; returns its file.

    Resume points are kept after every one of six steps, so that interruptions meet as many of them as possible.
    """
    device = ON_GPU if way == "on a GPU" else {"device": "cpu", "dtype": "float32"}
    settings = {
        "name": "faulty",
        "model": {"name": str(folder / "model"), "compile": False, **device},
        "data": {
            "train": str(folder / "train.json"),
            "test": str(folder / "test.json"),
            "samples": 12,
            "selection_articles": 2,
        },
        "adapter": {"hidden": 8},
        "reconstruction": {"steps": 5, "batch_rows": 64},
        "training": {"epochs": 2, "batch_size": 4, "checkpoint_minutes": 1e-9},
        "evaluation": {"samples": 4, "selection_samples": 3, "max_new_tokens": 3},
        "arms": ARMS,
        "controls": {"codec_only": {"input": "codec"}},
        **WAYS[way],
        **changes,
    }
    file = folder / f"{way.replace(' ', '-')}-{abs(hash(json.dumps(changes, sort_keys=True)))}.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@dataclass
class Ended:
    """A run that has ended: its exit code, negative for a signal, and what it printed."""

    code: int
    said: str
    seconds: float

    @property
    def last_line(self):
        return self.said.strip().rpartition("\n")[2]

    @property
    def is_clean(self):
        """Whether it printed no traceback."""
        return "Traceback" not in self.said and "Logging error" not in self.said


@dataclass
class Started:
    """A run that goes on."""

    runs: "Runs"
    pid: int
    output: Path
    started: float = field(default_factory=time.monotonic)

    def send(self, number):
        """Send a signal, unless it has ended."""
        if not self.has_ended():
            with suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, number)

    def has_ended(self):
        self.runs.receive(0)
        return self.pid in self.runs.ended

    def is_stopped(self):
        """Whether it is suspended by SIGSTOP."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:  # it has ended
            return False
        return state == "T"

    def wait(self, seconds=120.0):
        """Wait for its end; a run that takes longer is killed, and that is an error."""
        until = time.monotonic() + seconds
        while self.pid not in self.runs.ended:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
                raise AssertionError(f"a run hangs: {self.output.read_text()}")
            self.runs.receive(0.05)
        code = os.waitstatus_to_exitcode(self.runs.ended[self.pid])
        return Ended(code, self.output.read_text(errors="replace"), time.monotonic() - self.started)


class Runs:
    """Starts runs by forking a process that has imported everything; a context manager.

    Args:
        folder: for the library, the outputs and the cache.
    """

    def __init__(self, folder):
        self.folder, self.ended, self._number = folder, {}, 0
        self.cache = folder / "cache"
        library = folder / "fault_shim.so"
        source = Path(__file__).with_name("fault_shim.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        own = {
            "LD_PRELOAD": str(library),
            "FAULT_LIBRARY": str(library),
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, **own, "PYTHONPATH": path, "THINWIRE_COMMIT": "0" * 40, "COLUMNS": "500"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._lines = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(60)

    def start(self, *arguments, cache=None, **environment):
        """Start ``thinwire`` with ``arguments``; ``environment`` is for the shim."""
        self._number += 1
        output = self.folder / f"output-{self._number}.txt"
        environment = {"THINWIRE_CACHE": str(cache or self.cache), **environment}
        job = {"arguments": [*map(str, arguments)], "environment": environment, "output": str(output)}
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        self._pid = None
        while self._pid is None:
            self.receive(1.0)
        return Started(self, self._pid, output)

    def run(self, *arguments, **environment):
        """Start ``thinwire`` and wait for its end."""
        return self.start(*arguments, **environment).wait()

    def receive(self, seconds):
        """Note what the process says about its children."""
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return
        data = os.read(self._process.stdout.fileno(), 1 << 16)
        assert data, "the process that starts runs has ended"
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "status" in said:
                self.ended[said["pid"]] = said["status"]
            else:
                self._pid = said["pid"]


def results(run):
    """Return what must be the same in every run of a sweep, by path: contents without times and speeds."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if (
            path.is_dir()
            or name.startswith(("unfinished/", ".workers/", "search/.workers/"))
            or (path.name.startswith("training_"))
        ):
            continue
        if path.name == "record.json":
            found[name] = _timeless(json.loads(path.read_text()))
        elif path.name == "diagnostics.jsonl":
            found[name] = [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name in ("sweep.json", "analysis.json", "sweep_summary.txt", "report.md", "report.html"):
            found[name] = "is there"  # these show times
        else:
            found[name] = path.read_bytes()
    return found


_TIMES = {
    *("started_at", "finished_at", "seconds_total", "seconds", "seconds_test", "resumed", "tokens_per_second"),
    *("diagnostics.jsonl", "content_sha256"),  # hashes of what holds times
}


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in _TIMES}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def differences(run, expected):
    """Return the paths of files that are missing, left over, or not as in ``expected``."""
    here = results(run)
    return sorted(name for name in {*here, *expected} if here.get(name) != expected.get(name))


def spread(calls, number):
    """Return ``number`` different numbers from 1 to ``calls``, evenly spread, the first and the last included."""
    return sorted({1 + round(n * (calls - 1) / max(1, number - 1)) for n in range(number)})


def resumed_until_done(runs, file, run, most=5, cache=None):
    """Resume a sweep until it is done; returns what is wrong with that, or None."""
    for _ in range(most):
        ended = runs.run("sweep", file, "--output", run, "--resume", cache=cache)
        if ended.code == 0 and ended.is_clean:
            return None
        if "another process" not in ended.said:
            return f"exit code {ended.code}: {ended.said}"
        time.sleep(1)
    return "its folder stays locked"


def _serve():
    """Import everything, then fork for each job that comes on the standard input, and say how they end."""
    import peft  # noqa: F401
    import transformers
    import transformers.models.llama.modeling_llama

    from thinwire import interruption

    with suppress(ImportError):  # an extra
        import vl_convert  # noqa: F401

    transformers.AutoModelForCausalLM, transformers.AutoTokenizer  # noqa: B018 - loaded when they are named
    for number in interruption.SIGNALS:  # a shell's background jobs ignore some of them
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, interruption.SIGNALS)
    waiting, unread = set(), b""
    while True:
        if select.select([sys.stdin], [], [], 0.02)[0]:
            data = os.read(0, 1 << 16)
            if not data:
                return
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                if (pid := os.fork()) == 0:
                    _work(json.loads(line))
                waiting.add(pid)
                _say(pid=pid)
        while waiting:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            waiting.discard(pid)
            _say(pid=pid, status=status)


def _say(**values):
    os.write(1, json.dumps(values).encode() + b"\n")


def _work(job):
    """Run one command in this process as its entry point would, and end the process."""
    from thinwire import interruption
    from thinwire.cli import main

    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ.update(job["environment"])
        shim = ctypes.CDLL(os.environ["FAULT_LIBRARY"])
        shim.fault_reset()
        sys.argv = ["thinwire", *job["arguments"]]
        interruption.install()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interruption.SIGNALS)  # none before the command can hear it
        main.main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        if "FAULT_FOLDER" in os.environ:
            sys.stdout.write(f"calls: {shim.fault_count()}\n")
            sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
