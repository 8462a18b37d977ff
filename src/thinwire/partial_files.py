"""Temporary files that will be renamed: their names, and what killed processes left of them."""

import glob
import os
import re
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

PARTIAL = ".partial"
"""How the names of temporary files and folders end. They begin with a dot and the name of what they will be; between
are eight random characters, the host and the process."""


def temporary_file(path: Path) -> Path:
    """Create an empty temporary file for ``path``, beside it."""
    prefix, suffix = partial_parts(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=suffix)
    os.close(handle)
    return Path(name)


def partial_parts(path: Path) -> tuple[str, str]:
    """Return what the name of a temporary file for ``path`` begins and ends with, and remove those that killed
    processes of this host left of it."""
    name = path.name.encode()[:140].decode(errors="ignore")  # names have 255 bytes at most
    prefix, host = f".{name}.", host_name()[:64]
    for other in path.parent.glob(f"{glob.escape(prefix)}*{PARTIAL}"):
        found = re.fullmatch(rf"\w{{8}}\.{re.escape(host)}-(\d+){PARTIAL}", other.name.removeprefix(prefix))
        if found and not _is_running(int(found[1])):
            remove_whole(other)
    return prefix, f".{host}-{os.getpid()}{PARTIAL}"


def host_name() -> str:
    """Return this host's name: ``$THINWIRE_HOST`` where several have the same, as copies of a virtual machine may."""
    return (os.environ.get("THINWIRE_HOST") or socket.gethostname()).replace("/", "_")  # a part of names of files


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def remove_whole(path: Path) -> None:
    """Remove a file or a folder with all that it holds; another process may have done so."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def is_partial(path: Path) -> bool:
    """Return whether ``path`` has the name of a temporary file or folder of ``replacing`` or ``replacing_folder``."""
    return path.name.startswith(".") and path.name.endswith(PARTIAL)
