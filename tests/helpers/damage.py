"""Ways in which a file of a run folder can be damaged. Each changes the file at ``path`` in place."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from thinwire.reading import read_json
from thinwire.results.record import SEAL, sealed

Damage = Callable[[Path], None]


def flip(share: float) -> Damage:
    """Flip the lowest bit of the byte at this share of the file: a digit becomes its neighbour."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[min(int(share * len(content)), len(content) - 1)] ^= 1
        path.write_bytes(content)

    return change


def flip_a_digit(path: Path) -> None:
    """Change the last digit of a text that is not in its last line, or the middle byte of what is no text."""
    content = bytearray(path.read_bytes())
    places = [i for i, byte in enumerate(content[:-80]) if chr(byte).isdigit()]
    content[places[-1] if places else len(content) // 2] ^= 1
    path.write_bytes(content)


def keep(share: float) -> Damage:
    """Cut the file to this share."""

    def change(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])

    return change


def cut_last_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def become(content: bytes) -> Damage:
    def change(path: Path) -> None:
        path.write_bytes(content)

    return change


def randomise(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))  # noqa: S311


def zeros(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def prepend(content: bytes) -> Damage:
    def change(path: Path) -> None:
        path.write_bytes(content + path.read_bytes())

    return change


def append(content: bytes) -> Damage:
    def change(path: Path) -> None:
        path.write_bytes(path.read_bytes() + content)

    return change


def twice(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def delete(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def link_outside(path: Path) -> None:
    """Move the file out of the run folder, which is called ``run``, and leave a link to it."""
    run = next(folder for folder in path.parents if folder.name == "run")
    target = run.with_name("moved")
    shutil.copyfile(path, target)
    path.unlink()
    path.symlink_to(target)


ANY_FILE: dict[str, Damage] = {
    **{f"flip at {share}": flip(share) for share in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)},
    "flip a digit": flip_a_digit,
    "keep half": keep(0.5),
    "keep a tenth": keep(0.1),
    "cut the end": cut_last_byte,
    "empty": become(b""),
    "zeros": zeros,
    "random bytes": randomise,
    "BOM": prepend(b"\xef\xbb\xbf"),
    "no UTF-8 behind": append(b"\xff\xfe"),
    "twice": twice,
    "nested": become(b"[" * 100_000),
    "null": become(b"null\n"),
    "number": become(b"1\n"),
    "delete": delete,
    "folder": folder,
    "pipe": pipe,
    "dangling link": dangling,
    "circle of links": circle,
    "device": endless,
    "link outside": link_outside,
}


def leaves_of(value: object, before: tuple = ()) -> list[tuple]:
    """List the paths of all single values, and of empty lists and objects, in a JSON value."""
    if isinstance(value, dict) and value:
        return [path for key, inner in value.items() for path in leaves_of(inner, (*before, key))]
    if isinstance(value, list) and value:
        return [path for key, inner in enumerate(value) for path in leaves_of(inner, (*before, key))]
    return [before]


def changed(value: object) -> list[object]:
    """Return other values in place of one: a near one of its type, then some of others."""
    if isinstance(value, bool):
        near = not value
    elif isinstance(value, int | float):
        near = value + 1 if isinstance(value, int) else value * 0.9 + 1e-3
    elif isinstance(value, str):
        near = value + "x"
    else:
        near = 1
    return [near, None, "x", -1, 10**30, [], {}, [[]], True]


def edited(path: Path, place: tuple, new: object, *, reseal: bool) -> None:
    """Put ``new`` at a place in a JSON file, without or with a hash that fits; without a place it is the content."""
    content = read_json(path)
    if reseal:
        content.pop(SEAL, None)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = new
    path.write_text(json.dumps(sealed(content) if reseal else content), encoding="utf-8")


def without(path: Path, place: tuple, *, reseal: bool) -> None:
    """Remove what is at a place in a JSON file."""
    content = read_json(path)
    if reseal:
        content.pop(SEAL, None)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    path.write_text(json.dumps(sealed(content) if reseal else content), encoding="utf-8")
