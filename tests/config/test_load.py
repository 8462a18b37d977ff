"""Experiment files that extend others; settings are validated after merging."""

import pytest

from thinwire.config.load import load_experiment
from thinwire.errors import UsageError

BASE = """
name: base
data: {samples: 10}
training: {epochs: 3, batch_size: 8}
lora: {targets: [q_proj, v_proj]}
arms:
  baseline: {}
  r2: {lora: {rank: 2, alpha: 4}}
"""


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_an_extending_file_changes_what_it_names_and_keeps_the_rest(tmp_path):
    mine = (
        "extends: base.yaml\nname: mine\ntraining: {epochs: 5}\narms: {r2: {lora: {alpha: 8}}, r3: {lora: {rank: 3}}}\n"
    )
    experiment = load_experiment(write(tmp_path, base=BASE, mine=mine) / "mine.yaml")
    assert (experiment.name, experiment.data.samples) == ("mine", 10)
    assert (experiment.training.epochs, experiment.training.batch_size) == (5, 8)
    assert list(experiment.arms) == ["baseline", "r2", "r3"], "new arms come last"
    assert (experiment.arm("r2").lora.rank, experiment.arm("r2").lora.alpha) == (2, 8)


def test_a_list_is_replaced_and_not_merged(tmp_path):
    write(tmp_path, base=BASE, mine="extends: base.yaml\nlora: {targets: [k_proj]}\n")
    assert load_experiment(tmp_path / "mine.yaml").lora.targets == ("k_proj",)


def test_the_command_line_overrides_the_files(tmp_path):
    write(tmp_path, base=BASE, mine="extends: base.yaml\ntraining: {epochs: 5}\n")
    assert load_experiment(tmp_path / "mine.yaml", ["training.epochs=7"]).training.epochs == 7


@pytest.mark.parametrize(
    ("override", "new", "said"),
    [
        ("arms.r2.lora.rank=8", (), []),
        ("arms.r22.lora.rank=8", ["r22"], []),
        ("arms.r22.lora.rank=8", ["r2"], ["'r22' to the arms and controls of {} (did you mean 'r2'?); if that"]),
        ("controls.other.input=text", (), ["'other' to the arms and controls of {}; if that"]),
    ],
)
def test_an_override_that_adds_an_arm_which_is_not_asked_for_by_name_is_a_warning(
    override, new, said, tmp_path, caplog
):
    file = write(tmp_path, base=BASE) / "base.yaml"
    load_experiment(file, [override], new=new)
    assert caplog.messages == [
        f"the settings given add {one.format(file)} is meant, put it into the file" for one in said
    ]


@pytest.mark.parametrize("arms", ["3", "[baseline]", "{1: {}}"])
def test_arms_of_a_file_that_are_none_are_refused_whatever_overrides_add(arms, tmp_path):
    write(tmp_path, base=f"name: base\narms: {arms}\n")
    with pytest.raises(UsageError, match="arms"):
        load_experiment(tmp_path / "base.yaml", ["controls.x.input=text"])


def test_an_extended_path_is_relative_to_the_file_that_names_it(tmp_path, monkeypatch):
    for folder in ("inner", "elsewhere"):
        (tmp_path / folder).mkdir()
    write(tmp_path, base=BASE)
    write(tmp_path / "inner", middle="extends: ../base.yaml\nname: middle\n", mine="extends: middle.yaml\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_experiment(tmp_path / "inner" / "mine.yaml").name == "middle"


def test_only_the_merged_file_has_to_be_valid(tmp_path):
    write(tmp_path, base="lora: {dropout: 0}\n", mine="extends: base.yaml\nname: mine\narms: {baseline: {}}\n")
    assert load_experiment(tmp_path / "mine.yaml").lora.dropout == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: bse.yaml\n", r"mine\.yaml extends .*bse\.yaml, which does not exist"),
        ("extends: [base.yaml]\n", r"extends takes the path of one experiment file, got \['base\.yaml'\]"),
        ("extends: mine.yaml\n", r"mine\.yaml extends itself \(.*mine\.yaml -> .*mine\.yaml\)"),
        ("extends: other.yaml\n", r"mine\.yaml extends itself \(.*mine\.yaml -> .*other\.yaml -> .*mine\.yaml\)"),
        (
            "extends: base.yaml\ntraining: {epoch: 1}\n",
            r"unknown setting 'training\.epoch' \(did you mean 'epochs'\?\)",
        ),
        ("extends: broken.yaml\n", r"broken\.yaml is not a readable YAML file"),
        ("extends: list.yaml\n", r"list\.yaml holds a list, expected a mapping"),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path, text, message):
    write(tmp_path, base=BASE, other="extends: ./mine.yaml\n", broken="a: [", list="[]", mine=text)
    with pytest.raises(UsageError, match=message):
        load_experiment(tmp_path / "mine.yaml")
