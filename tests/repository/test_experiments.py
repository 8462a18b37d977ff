"""Every file in experiments/ loads, passes a dry run, and runs from end to end with a tiny model."""

import json
from pathlib import Path

import pytest

from task_rows import task_rows, write_rows
from thinwire.config.load import load_experiment
from thinwire.config.strict_yaml import parse_yaml
from thinwire.experiment.dry_run import dry_run
from thinwire.experiment.sweep import run_sweep
from thinwire.results.read import read_results
from tiny_models import save_tiny, write_squad

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments").rglob("*.yaml"))
SCHEMA = ROOT / "experiments" / "schema.json"
EACH = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Write a model with enough layers for all arms, and questions."""
    folder = tmp_path_factory.mktemp("experiments")
    save_tiny(folder / "model", layers=16)
    write_squad(folder / "train.json", num_articles=3, questions=2)
    write_squad(folder / "test.json", num_articles=2, questions=2, first=3)
    write_squad(folder / "long_train.json", num_articles=3, questions=2, paragraphs=3)
    write_squad(folder / "long_test.json", num_articles=2, questions=2, paragraphs=3, first=3)
    return folder


def toy(file, inputs):
    """Load the experiment with its arms, and with everything that takes time as small as possible."""
    small = {
        "model.name": inputs / "model",
        "model.device": "cpu",
        "model.dtype": "float32",
        "model.compile": "false",
        "data.train": inputs / "train.json",
        "data.samples": 2,
        "data.selection_articles": 1,
        "training.epochs": 1,
        "evaluation.samples": 2,
        "evaluation.selection_samples": 1,
        "evaluation.max_new_tokens": 2,
        "verdict.resamples": 100,
        "group_size": 32,
        "codec.vq.steps": 2,
        "codec.autoencoder.steps": 2,
        "codec.autoencoder.hidden": 8,
        "blocks.reconstruction.passages": 2,
    }
    loaded = load_experiment(file)
    if loaded.task != "extractive_qa":
        for split, numbers in (("train", range(9)), ("test", range(20, 24))):
            small[f"data.{split}"] = write_rows(inputs / f"{file.stem}.{split}.jsonl", task_rows(loaded.task, numbers))
    elif loaded.data.test_articles:
        small["data.test_articles"] = 1
    else:
        small["data.test"] = inputs / "test.json"
    if loaded.data.distractors:  # which are other paragraphs of an article
        small |= {f"data.{split}": inputs / f"long_{split}.json" for split in ("train", "test")}
    small["seeds"] = list(loaded.seeds[:2])
    small |= {f"search.{path}": list(values[:2]) for path, values in loaded.search.items()}
    for name, changes in loaded.controls.items():
        if "codec" in changes:
            small[f"controls.{name}.reconstruction.steps"] = 2
    for name, changes in loaded.arms.items():
        if changes.get("reconstruction", {}).get("steps") != 0:
            small[f"arms.{name}.reconstruction.steps"] = 2
        if (width := changes.get("codec", {}).get("compress_dim", 0)) > 32:  # the width of the tiny model's embeddings
            small[f"arms.{name}.codec.compress_dim"] = width // 4
        if changes.get("blocks", {}).get("reconstruction", {}).get("passages"):
            small[f"arms.{name}.blocks.reconstruction.passages"] = 2
        if changes.get("supervision", {}).get("kd_weight"):
            small[f"arms.{name}.supervision.teacher"] = "null"  # the model itself instead of a finished arm
        if changes.get("lora", {}).get("start_from"):
            small |= {f"arms.{name}.lora.start_from": "null", f"arms.{name}.lora.trained": "true"}  # LoRA begins anew
        if changes.get("codec", {}).get("kind") == "vq":
            small[f"arms.{name}.codec.vq.codebook_size"] = 4 * (1 + len(name))
    return load_experiment(file, [f"{path}={value}" for path, value in small.items()])


@EACH
def test_it_has_a_description(file):
    assert load_experiment(file).description


def test_no_two_experiments_share_a_folder_of_results():
    names = [load_experiment(file).name for file in FILES]
    assert len(set(names)) == len(names)


@EACH
def test_the_header_names_the_file_in_its_command(file):
    header = file.read_text(encoding="utf-8").split("\nname:")[0]
    assert header.startswith("# ")
    assert f"thinwire sweep {file.relative_to(ROOT).as_posix()}" in header


def test_the_schema_beside_them_is_what_the_command_prints(thinwire):
    assert thinwire("schema") == (0, SCHEMA.read_text(encoding="utf-8"), "")


@EACH
def test_editors_find_the_schema_and_nothing_wrong(file):
    jsonschema = pytest.importorskip("jsonschema")
    text = file.read_text(encoding="utf-8")
    named = text.partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / named).resolve() == SCHEMA
    settings = parse_yaml(text, file.name)
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(settings)] == []
    settings["arms"] = {**settings.get("arms", {}), "mistyped": {"lora": {"rnak": 4}}}
    assert not validator.is_valid(settings)


def test_the_readme_has_one_row_for_each_experiment():
    readme = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    for file in FILES:
        name = file.relative_to(ROOT / "experiments").as_posix()
        assert readme.count(f"| [{name}]({name}) |") == 1, name


@EACH
def test_no_two_trainings_of_an_experiment_are_the_same(file):
    experiment = load_experiment(file)
    configs = {name: experiment.arm(name) for name in (*experiment.arms, *experiment.controls)}
    assert len(set(configs.values())) == len(configs)


@EACH
def test_a_dry_run_finds_nothing_wrong(file, inputs, tmp_path):
    planned = dry_run(toy(file, inputs), tmp_path / "run", controls="all")
    assert planned.obstacles == {}
    assert all(run.questions["test"] == planned.runs[0].questions["test"] for run in planned.runs), (
        "reports need the same questions"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@EACH
def test_it_runs_from_end_to_end_at_toy_size(file, inputs, tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(inputs / "cache"))
    made = toy(file, inputs)
    records = run_sweep(made, tmp_path / "run", controls="all")
    assert {record.name: record.error for record in records if record.status != "done"} == {}
    assert list(dict.fromkeys(record.arm for record in records)) == [*made.arms, *made.controls]
    assert set(read_results(tmp_path / "run").arms) == set(made.arms)
    analysis = json.loads((tmp_path / "run" / "analysis.json").read_text(encoding="utf-8"))
    assert analysis, "the input of every report"
