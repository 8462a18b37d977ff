"""Time the plan's sweep as a whole command on one GPU and on several of the same host.

Each run has a cache of its own, which holds only the model and the questions, so that all of them make codecs and
starting adapters and compile: set-up is a part of the time. With ``--compile-cache DIR`` all runs share what compilers
wrote, also those of an earlier call: the first run fills DIR, and the others are as sweeps on a machine that has run
one before. Runs use the first of the visible GPUs (``CUDA_VISIBLE_DEVICES``).

    python benchmarks/multi_gpu.py --gpus 1 2 4
    python benchmarks/multi_gpu.py --gpus 1 2 4 --shape 8b --checkpoint /tmp/random-8b --samples 1700 --epochs 1
    python benchmarks/multi_gpu.py --gpus 2 1 2 --compile-cache /tmp/compiled    # the first run fills it
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from lib.random_checkpoint import write_random_checkpoint

from thinwire.cache import cache_dir
from thinwire.files import write_json
from thinwire.model.loading import choose_device
from thinwire.ops.device import visible_gpus
from thinwire.results.provenance import environment

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "phase1a_lora.yaml"


def timed_sweep(
    num_gpus: int, folder: Path, settings: list[str], controls: str, compile_cache: Path | None = None
) -> dict[str, Any]:
    """Run the sweep on the first ``num_gpus`` visible GPUs; returns seconds of the command and of its parts.

    ``folder`` gets the run and its caches, but not the compilers' if ``compile_cache`` says where they are.
    """
    cache, run = folder / f"cache-{num_gpus}", folder / f"run-{num_gpus}"
    cache.mkdir(parents=True)
    for name in ("assets", "models"):
        if (cache_dir() / name).exists():
            (cache / name).symlink_to(cache_dir() / name)
    compiled = compile_cache or folder / f"compiled-{num_gpus}"
    is_warm = any(path.is_file() for path in compiled.rglob("*"))
    variables = {
        "CUDA_VISIBLE_DEVICES": ",".join(visible_gpus()[:num_gpus]),
        "THINWIRE_CACHE": str(cache),
        **compiler_caches(compiled),
    }
    command = [sys.executable, "-m", "thinwire", "sweep", str(EXPERIMENT), "--output", str(run), "--controls", controls]
    command += [word for setting in settings for word in ("--set", setting)]
    started, began = time.time(), time.perf_counter()
    subprocess.run(command, env={**os.environ, **variables}, check=True)
    seconds = time.perf_counter() - began
    moments = [moment - started for log in run.rglob("training_*.log") for moment in training_begins(log)]
    ends = sorted(path.stat().st_mtime - started for path in run.rglob("record.json"))
    return {
        "gpus": num_gpus,
        "compile_cache": "warm" if is_warm else "cold",
        "seconds": seconds,
        "training_begins": sorted(moments)[: 16 * num_gpus],
        "arms_end": ends,
    }


def compiler_caches(folder: Path) -> dict[str, str]:
    """Return the environment variables that make torch's compiler and Triton keep their results in ``folder``."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "TRITON_CACHE_DIR": str(folder / "triton")}


def training_begins(log: Path) -> list[float]:
    """Return the moments at which the arm of a log began to train, as Unix times in seconds."""
    found = re.findall(r"^(\S+ \S+) INFO .*: training begins$", log.read_text(encoding="utf-8"), re.MULTILINE)
    return [datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp() for text in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shape", choices=["8b"], help="random weights of this size instead of the default model")
    parser.add_argument("--checkpoint", type=Path, help="where the random weights are, or are to be written")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--test", default="all", help="test questions of an arm")
    parser.add_argument("--controls", default="all")
    parser.add_argument(
        "--compile-cache", type=Path, metavar="DIR", help="share what compilers wrote (default: every run compiles)"
    )
    parser.add_argument("--set", action="append", default=[], help="further settings")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    settings = [f"data.samples={options.samples}", f"training.epochs={options.epochs}"]
    settings += [f"evaluation.samples={options.test}", *options.set]
    given = [*settings, f"shape {options.shape}"] if options.shape else settings
    if options.shape:
        write_random_checkpoint(options.shape, options.checkpoint)
        settings = [*settings, f"model.name={options.checkpoint}"]
    timed = []
    compile_cache = options.compile_cache and options.compile_cache.absolute()
    with tempfile.TemporaryDirectory() as folder:
        for index, num_gpus in enumerate(options.gpus):
            own = Path(folder) / str(index)
            timed.append(timed_sweep(num_gpus, own, settings, options.controls, compile_cache))
            like = [run for run in timed if run["compile_cache"] == timed[-1]["compile_cache"]]
            ratio = like[0]["seconds"] / timed[-1]["seconds"]
            print(f"{num_gpus} GPUs, compile cache {timed[-1]['compile_cache']}: {timed[-1]['seconds']:.1f} s")
            print(f"  {ratio:.2f} times as fast as {like[0]['gpus']} with such a cache")
            print(f"  training begins {[round(moment, 1) for moment in timed[-1]['training_begins'][:8]]} s")
            print(f"  the last arms end {[round(moment, 1) for moment in timed[-1]['arms_end'][-4:]]} s", flush=True)
    if options.output:
        found = environment(choose_device("auto")).model_dump()
        write_json(options.output, {"environment": found, "settings": given, "sweeps": timed})


if __name__ == "__main__":
    main()
