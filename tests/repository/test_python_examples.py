"""The Python of README, guide and notebook runs, on a tiny experiment in the place of the plan's."""

import json
from pathlib import Path

import pytest
import yaml

from tiny_models import save_sweep_inputs

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with a tiny experiment under the name of the plan's, to which the process changes."""
    folder = save_sweep_inputs(tmp_path)
    settings = {
        "name": "small",
        "model": {"name": str(folder / "model"), "device": "cpu", "dtype": "float32"},
        "data": {"train": str(folder / "train.json"), "test": str(folder / "test.json")} | {"selection_articles": 2},
        "adapter": {"hidden": 8},
        "reconstruction": {"steps": 5, "batch_rows": 16},
        "training": {"batch_size": 4},
        "evaluation": {"samples": 4, "selection_samples": 2, "max_new_tokens": 2},
        "verdict": {"resamples": 100},
        "arms": {"baseline": {}, "r16_a32_full": {"lora": {"rank": 2}}},
    }
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "phase1a_lora.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run_code(code, names):
    exec(compile(code, "example", "exec"), names)  # noqa: S102 - the repository's own examples
    return names


def blocks(page):
    """Return the Python of a page's fenced blocks."""
    return [part.split("```")[0] for part in (ROOT / page).read_text(encoding="utf-8").split("```python\n")[1:]]


@pytest.mark.parametrize("page", ["README.md", "docs/guide/python.md"])
def test_the_python_of_a_page_runs(page, small, capsys):
    names = {}
    for code in blocks(page):
        run_code(code, names)
    assert names["results"].verdict().headline in capsys.readouterr().out
    assert names["lm"].embed(["abc"])[0].shape[1] == names["lm"].matrix.shape[1]


def test_the_notebook_runs(small):
    cells = json.loads((ROOT / "docs/notebooks/first_sweep.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["metadata"].get("tags") for cell in code].count(["parameters"]) == 1
    names = {"settings": {}, "folder": "runs/notebook", "experiment_file": "experiments/phase1a_lora.yaml"}
    for cell in code:
        if cell["metadata"].get("tags") != ["parameters"]:
            run_code("".join(cell["source"]), names)
    assert list(names["results"].records()) == ["baseline", "r16_a32_full"]
    assert len(names["answers"]) == 1
    assert names["codes"].shape == (261, 8)
