"""Where a result came from: versions, machine, commit."""

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import thinwire
from thinwire.results.arm_record import Environment

_PACKAGES = ("torch", "transformers", "peft", "numpy", "gguf", "safetensors", "tokenizers")


def environment(device: torch.device) -> Environment:
    """Versions, device and commit of this process, for a record."""
    commit, dirty = _git_state()
    return Environment(
        thinwire=thinwire.__version__,
        git_commit=commit,
        git_dirty=dirty,
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := _version(name))},
        platform=f"{platform.system()} {platform.machine()}",
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        cpu_threads=torch.get_num_threads(),
        cpus=os.cpu_count(),
    )


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> tuple[str | None, bool | None]:
    """Commit of the checkout this package runs from and whether it was changed; nulls outside a checkout.

    ``$THINWIRE_COMMIT`` speaks for code that was copied somewhere without its history, as into a container.
    """
    if told := os.environ.get("THINWIRE_COMMIT"):
        return told, None
    folder = Path(thinwire.__file__).parent
    try:
        top = _git(folder, "rev-parse", "--show-toplevel")
        # A package installed into an environment inside some other checkout is not that checkout's code.
        if not (Path(top) / "src" / "thinwire").samefile(folder):
            return None, None
        return _git(folder, "rev-parse", "HEAD"), bool(_git(folder, "status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
