"""The README: its length, its folders, its links and its Python example."""

import re
from pathlib import Path

import pytest
import yaml

import thinwire
from tiny_models import save_sweep_inputs

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_at_most_8_kilobytes():
    assert len(README.encode()) <= 8192


def test_its_table_of_folders_names_every_folder_of_the_package():
    package = Path(thinwire.__file__).parent
    there = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    table = README.split("| folder of `src/thinwire/` |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)/`", table)) == there


def links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", link)]


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*s/README.md")])


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if heading and target.suffix == ".md":
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.M)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, link


def test_its_python_runs(tmp_path, monkeypatch, capsys):
    folder = save_sweep_inputs(tmp_path)
    small = {
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
    (tmp_path / "experiments" / "phase1a_lora.yaml").write_text(yaml.safe_dump(small))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    code = README.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - the README's example
    assert capsys.readouterr().out.split()[:2] == ["baseline", "done"]
    assert names["matrix"].shape == names["lm"].embedding_matrix.shape
