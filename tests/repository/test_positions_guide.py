"""The page about fewer positions: its experiment, commands and Python run, with a tiny model in the place of the
default one."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from thinwire.schema import merge
from tiny_models import save_tiny, write_squad

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "positions.md").read_text(encoding="utf-8")


def fenced(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


COMMANDS = [
    shlex.split(line, comments=True)
    for block in fenced("bash")
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with the page's experiment, made small, to which the process changes."""
    save_tiny(tmp_path / "model")
    write_squad(tmp_path / "train.json", num_articles=4, questions=2, paragraphs=2)
    write_squad(tmp_path / "test.json", num_articles=2, questions=2, paragraphs=2, first=4)
    (experiment,) = map(yaml.safe_load, fenced("yaml"))
    changes = {
        "model": {"name": str(tmp_path / "model"), "device": "cpu", "dtype": "float32", "compile": False},
        "data": {"train": str(tmp_path / "train.json"), "test": str(tmp_path / "test.json"), "samples": 4}
        | {"selection_articles": 1},
        "blocks": {"hidden": 8, "reconstruction": {"passages": 2}},
        "evaluation": {"samples": 2, "selection_samples": 1, "max_new_tokens": 2},
        "verdict": {"resamples": 100},
    }
    (tmp_path / "blocks.yaml").write_text(yaml.safe_dump(merge(experiment, changes)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_what_the_page_says_to_type_runs(small, thinwire, capsys):
    assert len(COMMANDS) >= 8
    for program, *arguments in COMMANDS:
        assert program == "thinwire"
        data = ["--data", "test.json"] if arguments[0] == "evaluate" else []
        code, _, err = thinwire(*arguments, *data)
        assert code == 0, f"{arguments}: {err[-500:]}"
    assert {path.name for path in (small / "exported").iterdir()} == {"k2_lora", "k2_lora_peft"}
    (code,) = fenced("python")
    exec(compile(code, "example", "exec"), {})  # noqa: S102 - the repository's own example
    assert "torch.Size([" in capsys.readouterr().out
