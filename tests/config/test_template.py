"""The experiment file that ``thinwire init`` writes."""

from pathlib import Path

import pytest
import yaml

from thinwire.config.load import load_experiment
from thinwire.config.shipped import SCHEMA_FILE
from thinwire.config.template import new_experiment
from thinwire.errors import UsageError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_can_be_loaded_and_is_valid_by_the_schema_that_its_first_line_names(elsewhere):
    jsonschema = pytest.importorskip("jsonschema")
    file = elsewhere / "my file.yaml"
    file.write_text(new_experiment("mine", file))
    made = load_experiment(file)
    assert (made.name, list(made.arms)) == ("mine", ["baseline", "r4", "r16"])
    first, *_ = file.read_text().splitlines()
    assert first == f"# yaml-language-server: $schema={SCHEMA_FILE}"
    schema = yaml.safe_load(SCHEMA_FILE.read_text())
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load(file.read_text()))


@pytest.mark.parametrize("codec", ["kind: pca\n  ratio: 4", "kind: vq", "kind: autoencoder\n  ratio: 8"])
def test_its_interaction_compares_with_the_same_loras_gain_where_nothing_is_compressed(codec, elsewhere):
    text = new_experiment("mine", elsewhere / "mine.yaml")
    assert text.count("kind: pca\n  ratio: 4") == 1
    (elsewhere / "mine.yaml").write_text(text.replace("kind: pca\n  ratio: 4", codec))
    made = load_experiment(Path("mine.yaml"))
    one = made.interactions["r16"]
    for ours, reference in zip(one.gain, one.reference_gain, strict=True):
        changed = made.arm(reference).model_copy(update={"codec": made.arm(ours).codec})
        assert changed == made.arm(ours), "only the codec differs"
        assert (made.arm(reference).codec.kind, made.arm(reference).codec.ratio) == ("pca", 1)


def test_its_comments_name_the_file_and_the_folder_of_results(elsewhere):
    text = new_experiment("mine", elsewhere / "my file.yaml")
    assert f"thinwire sweep '{elsewhere / 'my file.yaml'}' --dry-run" in text
    assert "thinwire compare runs/mine\n" in text
    assert "my_experiment" not in text


def taken_up(elsewhere, *settings):
    """The experiment with suggestions of its comments taken up."""
    text = new_experiment("mine", elsewhere / "mine.yaml")
    for setting in settings:
        assert text.count(setting) == 1, setting
        text = text.replace(setting, setting.replace("# ", "").replace("#", ""))
    (elsewhere / "mine.yaml").write_text(text)
    return load_experiment(Path("mine.yaml"))


def test_what_it_suggests_in_comments_is_valid(elsewhere):
    made = taken_up(elsewhere, "  # test: ", "# seeds: ", "# search:", "#   training.lora_lr: ")
    assert (made.data.test, made.seeds) == ("questions.json", (0, 1, 2))
    assert made.search == {"training.lora_lr": (3e-4, 1e-3, 3e-3)}


def test_what_it_suggests_for_a_table_of_ones_own_is_valid(elsewhere):
    data = taken_up(elsewhere, "  # columns: ", "  # test_articles: ", "  # selection_articles: ").data
    assert (data.test_articles, data.selection_articles) == (6, 4)
    columns = data.columns
    assert (columns.context, columns.question, columns.answers) == ("passage", "query", "gold")


def test_the_arms_of_fewer_positions_that_it_suggests_are_valid_and_differ_in_lora_alone(elsewhere):
    made = taken_up(elsewhere, "  # k2: ", "  # k2_r16: ")
    one, other = made.arm("k2"), made.arm("k2_r16")
    assert (one.block_kind.size, one.reconstructs_text) == (2, True)
    assert other.model_copy(update={"lora": one.lora}) == one
    assert other.lora == made.arm("r16").lora


@pytest.mark.parametrize("name", ["2026", "true", "null", "1.5"])
def test_a_name_that_yaml_takes_for_another_value_is_quoted(name, elsewhere):
    file = elsewhere / "mine.yaml"
    file.write_text(new_experiment(name, file))
    assert load_experiment(file).name == name


@pytest.mark.parametrize("name", ["a b", "../x", "con", "x\ny", "[1]", "{", "x: y"])
def test_a_name_that_no_experiment_can_have_is_refused(name, elsewhere):
    with pytest.raises(UsageError):
        new_experiment(name, elsewhere / "mine.yaml")


def test_the_command_writes_it_once(elsewhere, thinwire):
    code, out, err = thinwire("init", "mine")
    assert (code, out) == (0, "mine.yaml\n")
    assert "thinwire sweep mine.yaml --dry-run" in err
    before = (elsewhere / "mine.yaml").read_text()
    code, out, err = thinwire("init", "mine", "-o", "mine.yaml")
    assert (code, out) == (2, "")
    assert err == "error: mine.yaml exists and is kept; name another file with --output\n"
    assert (elsewhere / "mine.yaml").read_text() == before
    assert [file.name for file in elsewhere.iterdir()] == ["mine.yaml"]
