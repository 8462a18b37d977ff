"""Seconds from starting the command to its first training step, once everything that can be cached is.

Two figures: until the first step begins, and until it is done (compiling included, where layers are compiled). The
first run is not counted: it makes the starting adapter and whatever else later runs find in the cache. Each run
is the README's smoke run with one arm, in an empty folder, and is ended (SIGTERM) when its first step is on disk.

    python benchmarks/startup.py --repeats 5 --output startup.json
"""

# ruff: noqa: T201 (the table is what it is for)

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from thinwire.model import choose_device
from thinwire.provenance import environment
from thinwire.records import write_json

POLL_SECONDS = 0.05  # rarely enough to leave the processor to what is measured
SMOKE = ("data.samples=300", "training.epochs=1")


def seconds_to_first_step(command: list[str], limit: float) -> tuple[float, float]:
    """Start the command in a folder of its own, wait for its first step, and end it.

    Returns:
        Seconds until the step began, and until it was done.

    Raises:
        SystemExit: it ended by itself before that, or took longer than ``limit`` seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, log = Path(folder) / "run", Path(folder) / "log"
        with log.open("w", encoding="utf-8") as file:
            start = time.perf_counter()
            process = subprocess.Popen([*command, "--output", str(output)], stdout=file, stderr=subprocess.STDOUT)
            begun = None
            try:
                while not has_stepped(output):
                    if process.poll() is not None or time.perf_counter() - start > limit:
                        raise SystemExit(f"no first step within {limit:g} s:\n{log.read_text(encoding='utf-8')}")
                    if begun is None and has_begun(output):
                        begun = time.perf_counter() - start
                    time.sleep(POLL_SECONDS)
                done = time.perf_counter() - start
                return (done if begun is None else begun), done
            finally:
                process.terminate()
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def has_begun(output: Path) -> bool:
    """Whether any arm below ``output`` has logged that its training begins."""
    return any("training begins" in log.read_text(encoding="utf-8") for log in output.rglob("training_*.log"))


def has_stepped(output: Path) -> bool:
    """Whether any arm below ``output`` has a complete line of a training step."""
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
    begun, done = ([run[i] for run in runs] for i in range(2))
    print(f"median {statistics.median(begun):.2f} s, {min(begun):.2f} to {max(begun):.2f} s", end="; ")
    print(f"step done {statistics.median(done):.2f} s, {min(done):.2f} to {max(done):.2f} s")
    if args.output:
        result: dict[str, Any] = {"command": ["python", *command[1:]], "first_run": first, "seconds_to_step": begun}
        result |= {"seconds_to_step_done": done, "median": statistics.median(begun)}
        result |= {"environment": environment(choose_device(args.device))}
        write_json(args.output, result)


if __name__ == "__main__":
    main()
