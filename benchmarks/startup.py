"""Time the command from its start to its first training step, with warm caches.

Two times: until the first step begins, and until it is done (compilation included, where layers are compiled). The
first run is not counted, because it fills the cache that later runs use. Each run is the smoke run with one arm,
in an empty folder, and is ended with SIGTERM when its first step is on disk.

    python benchmarks/startup.py --repeats 5 --output startup.json
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from thinwire.files import write_json
from thinwire.model.loading import choose_device
from thinwire.results.provenance import environment

POLL_SECONDS = 0.05  # rare enough to leave the CPU to the command
SMOKE = ("data.samples=300", "training.epochs=1")


def seconds_to_first_step(command: list[str], limit: float) -> tuple[float, float]:
    """Start the command in a new folder, wait for its first step, and end it.

    Returns:
        Seconds until the step began, and until it was done.

    Raises:
        SystemExit: the command ended before that, or took longer than ``limit`` seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, log = Path(folder) / "run", Path(folder) / "log"
        with log.open("w", encoding="utf-8") as file:
            start = time.perf_counter()
            process = subprocess.Popen([*command, "--output", str(output)], stdout=file, stderr=subprocess.STDOUT)
            began = None
            try:
                while not has_stepped(output):
                    if process.poll() is not None or time.perf_counter() - start > limit:
                        raise SystemExit(f"no first step within {limit:g} s:\n{log.read_text(encoding='utf-8')}")
                    if began is None and has_begun_training(output):
                        began = time.perf_counter() - start
                    time.sleep(POLL_SECONDS)
                done = time.perf_counter() - start
                return (done if began is None else began), done
            finally:
                process.terminate()
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def has_begun_training(output: Path) -> bool:
    """Return whether any arm below ``output`` has logged that its training begins."""
    return any("training begins" in log.read_text(encoding="utf-8") for log in output.rglob("training_*.log"))


def has_stepped(output: Path) -> bool:
    """Return whether any arm below ``output`` has logged a complete training step."""
    for diagnostics in output.rglob("diagnostics.jsonl"):
        for line in diagnostics.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n") and json.loads(line)["event"] == "step":
                return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", type=Path, default=Path("experiments/phase1a_lora.yaml"))
    parser.add_argument("--arm", default="r16_a32_full")
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="change a setting")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--repeats", type=int, default=5, help="runs that count")
    parser.add_argument("--limit", type=float, default=600, help="seconds that a run may take")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    args = parser.parse_args()
    command = [sys.executable, "-m", "thinwire", "train", str(args.experiment), args.arm]
    for setting in (*SMOKE, f"model.device={args.device}", *args.set):
        command += ["--set", setting]
    first = seconds_to_first_step(command, args.limit)
    print(f"first run {first[0]:.2f} s, step done {first[1]:.2f} s, not counted", flush=True)
    runs = []
    for number in range(args.repeats):
        runs.append(seconds_to_first_step(command, args.limit))
        print(f"run {number + 1} {runs[-1][0]:.2f} s, step done {runs[-1][1]:.2f} s", flush=True)
    began, done = ([run[i] for run in runs] for i in range(2))
    print(f"median {statistics.median(began):.2f} s, {min(began):.2f} to {max(began):.2f} s", end="; ")
    print(f"step done {statistics.median(done):.2f} s, {min(done):.2f} to {max(done):.2f} s")
    if args.output:
        result: dict[str, Any] = {
            "command": ["python", *command[1:]],
            "first_run": first,
            "seconds_to_step": began,
        }
        result |= {"seconds_to_step_done": done, "median": statistics.median(began)}
        result |= {"environment": environment(choose_device(args.device)).model_dump(mode="json")}
        write_json(args.output, result)


if __name__ == "__main__":
    main()
