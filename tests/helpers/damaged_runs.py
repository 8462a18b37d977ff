"""Commands on copies of a finished run, and the judgement of what they do once it is damaged."""

import json
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from thinwire.hashes import file_hash

PATIENCE = 60
"""Seconds after which a command counts as waiting for ever."""


@dataclass(frozen=True)
class Outcome:
    """What a command ended with."""

    code: int
    said: str
    """Standard output and error together."""
    results: str
    """What it gave: its output and the content of what it wrote, without times."""


@dataclass(frozen=True)
class Setting:
    """A finished run, and the commands that are tried on copies of it."""

    folder: Path
    run: Path
    expected: dict[str, str]
    """What each command gives of the undamaged run."""
    thinwire: Callable


@contextmanager
def patience() -> Iterator[None]:
    """Raise a ``TimeoutError`` if the block waits for ever."""

    def end(*_):
        raise TimeoutError("the command waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def command(name: str, case: Path, inputs: Path) -> list:
    """Return the arguments of a command on the run in ``case``."""
    run, out = case / "run", case / "out"
    data = ["--data", inputs / "test.json", "--samples", "3", "--device", "cpu"]
    resume = ["sweep", case / "experiment.yaml", "--output", run, "--controls", "all", "--resume"]
    dry = ["sweep", case / "other.yaml", "--output", case / "other", "--dry-run"]
    return {
        "report": ["report", run],
        "compare": ["compare", run, "--json"],
        "best": ["best", run],
        "publish": ["publish", run],
        "plot": ["plot", run, "--output", out, "--format", "svg"],
        "publish record": ["publish", run / RECORD],
        "publish record into": ["publish", run / RECORD, "--into", out / "page.md"],
        "publish record again": ["publish", run / RECORD, "--record", out / RECORD],
        "plot record": ["plot", run / RECORD, "--output", out, "--format", "svg"],
        "postprocess": ["postprocess", run, "--json"],
        "resume": resume,
        "dry resume": [*resume, "--dry-run"],
        "teach": [*dry, "--set", "supervision.kd_weight=1", "--set", f"supervision.teacher={run / 'r2'}"],
        "start": [*dry, *_start(run / "controls" / "text_lora")],
        **{f"evaluate {arm}": ["evaluate", run / arm, *data, "--json"] for arm in ARMS},
        **{f"export {arm}": ["export", run / arm, out] for arm in ARMS},
    }[name]


def _start(arm: Path) -> list:
    settings = {"rank": 2, "alpha": 16, "layers": "all", "dropout": 0, "start_from": arm}
    return [part for key, value in settings.items() for part in ("--set", f"arms.r2.lora.{key}={value}")]


RECORD = "published.json"
"""A sweep record of the run; ``OF_RECORD`` are the commands that read it."""
OF_RECORD = ("publish record", "publish record into", "publish record again", "plot record")
ARMS = ("baseline", "r2", "controls/codec_only", "controls/text_lora")
READING = ("report", "compare", "best", "publish", "plot", "postprocess", "resume", "dry resume", "teach", "start")
COMMANDS = (*READING, *(f"{name} {arm}" for name in ("evaluate", "export") for arm in ARMS))


def attempt(setting: Setting, name: str, case: Path) -> Outcome:
    """Run a command on the run in ``case``."""
    with patience():
        code, out, err = setting.thinwire(*command(name, case, setting.folder))
    out = re.sub(r"\d+\.\d minutes?|\b\d+:\d\d\b", "", out)
    found = ["".join(out.split()).replace(str(case), "CASE")]  # where lines break depends on the length of the path
    written = {"report": [case / "run"], "resume": [case / "run"]}.get(name, [case / "out"])
    for folder in written:
        for path in sorted(folder.rglob("*")):
            kept = path.name in ("analysis.json", "predictions.jsonl") or folder.name == "out"
            kept = kept or (name, path.name) == ("report", "report.md")
            if path.is_file() and kept and not {"unfinished", "search"} & set(path.parts):
                found.append(f"{path.relative_to(folder)} {_content(path)}")
    return Outcome(code, out + err, "\n".join(found))


def _content(path: Path) -> str:
    if path.name != "analysis.json":
        return file_hash(path)
    analysis = json.loads(path.read_text())
    analysis.pop("content_sha256")
    analysis["sweep"] = None  # a resumed sweep has another end
    for row in analysis["rows"]:
        row["minutes"] = None
    return json.dumps(analysis)


def copy_of(folder: Path, case: Path) -> Path:
    """Copy the whole run to ``case``; returns the run."""
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(folder / "whole", case)
    for name in ("experiment.yaml", "other.yaml"):
        shutil.copyfile(folder / name, case / name)
    return case / "run"


def shortfall(
    setting: Setting, name: str, case: Path, file: str, *, must_fail: bool = False, any_result: bool = False
) -> str | None:
    """Return how a command on a damaged run falls short; None if it does not.

    Args:
        file: what the error must name.
        must_fail: whether the same result as before is no good either, because the damage had to be noticed.
        any_result: whether another result will do too, because the content was changed on purpose.
    """
    try:
        outcome = attempt(setting, name, case)
    except TimeoutError:
        return "waits for ever"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it should not have come through
        return f"traceback: {type(error).__name__}: {error}"[:300]
    if outcome.code == 0:
        if outcome.results != setting.expected[name] and not any_result:
            return "silently wrong"
        return "not noticed" if must_fail else None
    if outcome.code not in (1, 2):
        return f"exit code {outcome.code}"
    lines = [line for line in outcome.said.splitlines() if line.startswith(("error: ", "cannot read the results: "))]
    if len(lines) != 1 or "Traceback" in outcome.said:
        return f"{len(lines)} lines of error: {outcome.said[-300:]}"
    named = file in re.sub(r"\s", "", outcome.said)  # a table breaks lines
    return None if named else f"does not name {file}: {lines[0][:300]}"
