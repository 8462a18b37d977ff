"""Damage to a finished run's folder: every command gives what it gave before, or one error that names the file."""

import json
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from damage import ANY_FILE
from thinwire.errors import ThinwireError
from thinwire.experiment.sweep import run_sweep
from thinwire.files import file_hash
from thinwire.reading import read_json
from tiny_models import save_sweep_inputs
from tiny_sweeps import experiment

LORA = {"rank": 2, "alpha": 4, "layers": 1, "dropout": 0.0}
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
    def end(*_):
        raise TimeoutError("the command waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Commands


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


ARMS = ("baseline", "r2", "controls/codec_only", "controls/text_lora")
READING = ("report", "compare", "best", "publish", "plot", "postprocess", "resume", "dry resume", "teach", "start")
COMMANDS = (*READING, *(f"{name} {arm}" for name in ("evaluate", "export") for arm in ARMS))


def attempt(setting: Setting, name: str, case: Path) -> Outcome:
    """Run a command on the run in ``case``."""
    with patience():
        code, out, err = setting.thinwire(*command(name, case, setting.folder))
    out = out.replace(str(case), "CASE")
    found = [re.sub(r"\d+\.\d minutes?|\b\d+:\d\d\b", "", out)]
    written = {"report": [case / "run"], "resume": [case / "run"]}.get(name, [case / "out"])
    for folder in written:
        for path in sorted(folder.rglob("*")):
            kept = path.name in ("analysis.json", "predictions.jsonl") or folder.name == "out"
            kept = kept or (name, path.name) == ("report", "report.md")
            if path.is_file() and kept and "unfinished" not in path.parts:
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


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A finished run with a search, and its experiment file beside it."""
    folder = save_sweep_inputs(tmp_path_factory.mktemp("damaged"))
    arms = {"baseline": {}, "r2": {"lora": LORA}}
    controls = {"codec_only": {"input": "codec"}, "text_lora": {"input": "text", "lora": {"rank": 2, "dropout": 0.0}}}
    made = experiment(
        folder,
        arms=arms,
        controls=controls,
        search={"training.lora_lr": [0.001, 0.1]},
        verdict={"resamples": 100},
        training={"epochs": 1, "batch_size": 4, "adapter_lr": 0.01},
        worker_processes=1,
    )
    (folder / "experiment.yaml").write_text(yaml.safe_dump(made.model_dump(mode="json", exclude_unset=True)))
    plain = made.model_dump(mode="json", exclude_unset=True) | {"search": {}, "controls": {}}
    (folder / "other.yaml").write_text(yaml.safe_dump(plain))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THINWIRE_CACHE", str(folder / "cache"))
        run_sweep(made, folder / "whole" / "run", controls="all")
        yield folder


def copy_of(folder: Path, case: Path) -> Path:
    """Copy the whole run to ``case``; returns the run."""
    shutil.rmtree(case, ignore_errors=True)
    shutil.copytree(folder / "whole", case)
    for name in ("experiment.yaml", "other.yaml"):
        shutil.copyfile(folder / name, case / name)
    return case / "run"


@pytest.fixture
def setting(inputs, thinwire, tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(inputs / "cache"))
    found = Setting(inputs, inputs / "whole" / "run", {}, thinwire)
    for name in COMMANDS:
        copy_of(inputs, tmp_path / "case")
        outcome = attempt(found, name, tmp_path / "case")
        assert outcome.code == 0, outcome.said
        found.expected[name] = outcome.results
    return found


# Judging


def shortfall(setting: Setting, name: str, case: Path, file: str, *, must_fail: bool) -> str | None:
    """Return how a command on a damaged run falls short; None if it does not.

    Args:
        file: what the error must name.
        must_fail: whether the same result as before is no good either, because the damage had to be noticed.
    """
    try:
        outcome = attempt(setting, name, case)
    except TimeoutError:
        return "waits for ever"
    except BaseException as error:  # noqa: BLE001 - whatever it is, it should not have come through
        return f"traceback: {type(error).__name__}: {error}"[:300]
    if outcome.code == 0:
        if outcome.results != setting.expected[name]:
            return "silently wrong"
        return "not noticed" if must_fail else None
    if outcome.code not in (1, 2):
        return f"exit code {outcome.code}"
    lines = [line for line in outcome.said.splitlines() if line.startswith(("error: ", "cannot read the results: "))]
    if len(lines) != 1 or "Traceback" in outcome.said:
        return f"{len(lines)} lines of error: {outcome.said[-300:]}"
    return None if file in outcome.said else f"does not name {file}: {lines[0][:300]}"


def names_of(run: Path) -> list[str]:
    """List the files that carry a run's results, by path in it."""
    left_out = ("report.", "sweep_summary", "compare_results", "training_", ".lock")
    files = [path for path in sorted(run.rglob("*")) if path.is_file()]
    return [str(path.relative_to(run)) for path in files if not path.name.startswith(left_out)]


def is_needed(name: str, file: str, how: str) -> bool:
    """Whether a command must notice that the content of a file of the run has changed."""
    command, _, arm = name.partition(" ")
    if file.startswith("search/"):  # over, as search.json says
        return False
    if command == "resume":  # whatever an arm or the sweep left; a deleted record means that the arm is not over
        regenerated = ("analysis.json", *(("record.json", "search.json") if how == "delete" else ()))
        return not file.endswith(regenerated)
    if command in ("evaluate", "export"):
        return file.startswith(f"{arm}/checkpoint") or (file.startswith("codec/") and arm != "controls/text_lora")
    if command in ("report", "publish", "postprocess", "plot"):
        return file.endswith("predictions.jsonl")
    return False


def says_the_same(before: Path, now: Path) -> bool:
    """Whether the damage left what the file says, as a space in the place of another does in JSON."""
    if now.is_symlink() or not now.is_file():
        return False
    if now.read_bytes() == before.read_bytes():
        return True
    if now.suffix != ".json":
        return False
    with suppress(ThinwireError):
        return bool(read_json(now) == read_json(before))
    return False


def cases(run: Path) -> list[tuple[str, str, str]]:
    """List all damages of all files with all commands: (command, file, damage)."""
    return [(name, file, how) for file in names_of(run) for how in ANY_FILE for name in COMMANDS if reads(name, file)]


def reads(name: str, file: str) -> bool:
    """Whether a command may read a file at all; what it cannot know of is tried with one command alone."""
    command, _, arm = name.partition(" ")
    if command in ("evaluate", "export"):
        return file.startswith((arm, "codec/", "sweep.json"))
    if name in ("teach", "start"):
        return file.startswith({"teach": "r2", "start": "controls/text_lora"}[name]) or file == "sweep.json"
    if file.startswith("search/"):
        return name == "resume"
    return "checkpoint" not in file or name in ("resume", "dry resume", "report")


def test_every_damage_to_every_file_is_an_error_that_names_it_or_changes_nothing(setting, long_form, tmp_path):
    tried = cases(setting.run)
    chosen = tried if long_form else tried[:: len(tried) // 110]
    short = {}
    for name, file, how in chosen:
        run = copy_of(setting.folder, tmp_path / "case")
        ANY_FILE[how](run / file)
        must = is_needed(name, file, how) and not says_the_same(setting.run / file, run / file)
        if found := shortfall(setting, name, tmp_path / "case", Path(file).name, must_fail=must):
            short[name, file, how] = found
    conclude("damaged files", len(chosen), short, at_least=551 if long_form else 100)


def conclude(kind: str, tried: int, short: dict, *, at_least: int) -> None:
    """Say how many cases were tried, and fail if one fell short or there were too few."""
    sys.stdout.write(f"{kind}: {tried} cases, {len(short)} fell short\n")
    assert not short, "\n".join(f"{case}: {why}" for case, why in short.items())
    assert tried >= at_least
