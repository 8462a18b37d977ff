"""The JSON schema of experiment files: it refuses mistakes where loading refuses them, and nothing else."""

import pytest
import yaml

from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.config.json_schema import experiment_schema
from thinwire.config.load import load_experiment
from thinwire.errors import UsageError

jsonschema = pytest.importorskip("jsonschema")

SCHEMA = experiment_schema()
VALID = {"name": "mine", "arms": {"baseline": {}, "r4": {"lora": {"rank": 4}}}}


def faults(settings):
    """Return the places that the schema refuses, as ``--set`` writes them; of a choice, those in its members."""
    found = []
    for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(settings):
        inner = [*error.context] or [error]
        found += [".".join(map(str, one.absolute_path)) for one in inner]
    return found


def loaded(settings, folder):
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(settings))
    return load_experiment(file)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"lora": {"rnak": 4}}, "lora"),
        ({"trainings": {"epochs": 1}}, ""),
        ({"arms": {"baseline": {}, "r4": {"lora": {"rank": -1}}}}, "arms.r4.lora.rank"),
        ({"arms": {"baseline": {}, "r4": {"codec": {"vq": {"codebok_size": 4}}}}}, "arms.r4.codec.vq"),
        ({"arms": {"baseline": {}, "r4": {"data": {"samples": 4}}}}, "arms.r4"),  # of the whole experiment
        ({"arms": {"baseline": {}, "r 4": {}}}, "arms"),
        ({"controls": {"text": {"input": "txt"}}}, "controls.text.input"),
        ({"codec": {"kind": "pcaa"}}, "codec.kind"),
        ({"search": {"training.lora_lrr": [0.1, 0.2]}}, "search"),
        ({"search": {"training.lora_lr": [0.1]}}, "search.training.lora_lr"),
        ({"search": {"training.lora_lr": [0.1, -0.2]}}, "search.training.lora_lr.1"),
        ({"search": {"seed": [1, 2]}}, "search"),
        ({"interactions": {"one": {"arms": "baseline"}}}, "interactions.one"),
        ({"report": {"next_steps": {"strongest": ["go"]}}}, "report.next_steps"),
        ({"seeds": 3}, "seeds"),
        ({"extends": 3}, "extends"),
    ],
)
def test_a_mistake_is_refused_in_its_place_as_when_the_file_is_loaded(changes, place, tmp_path):
    settings = {**VALID, **changes}
    assert place in faults(settings)
    with pytest.raises(UsageError):
        loaded(settings, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"arms": {"baseline": None, "r4": {"lora": {"rank": 4}}}},
        {"search": {"training.lora_lr": [1e-3, 3e-3], "lora.dropout": [0, 0.1]}},
        {"search": {"training": {"lora_lr": [1e-3, 3e-3]}}},
        {"evaluation": {"samples": "all"}, "training": {"warmup_steps": "auto"}, "codec": {"compress_dim": None}},
        {"lora": {"targets": ["q_proj"], "layers": 4}, "model": {"base_bits": 4}},
    ],
)
def test_what_can_be_loaded_is_accepted(changes, tmp_path):
    settings = {**VALID, **changes}
    loaded(settings, tmp_path)
    assert faults(settings) == []


def test_a_file_that_extends_another_needs_nothing_else(tmp_path):
    gains = {"arm": "r4", "baseline": "baseline", "reference_arm": "r8", "reference_baseline": "baseline"}
    base = {**VALID, "arms": {**VALID["arms"], "r8": {}}, "interactions": {"one": gains}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    settings = {"extends": "base.yaml", "interactions": {"one": {"reference_baseline": "r4"}}}
    assert faults(settings) == []
    assert loaded(settings, tmp_path).interactions["one"].reference_gain == ("r8", "r4")
    assert len(faults({"name": "mine"})) == 2  # neither `extends` nor `arms`


def test_every_setting_is_there_with_its_default_and_its_docstring():
    assert set(SCHEMA["properties"]) == {"extends", *Experiment.model_fields}
    assert set(SCHEMA["$defs"]["ArmConfig"]["properties"]) == set(ArmConfig.model_fields)
    rank = SCHEMA["$defs"]["LoraSettings"]["properties"]["rank"]
    assert rank == {
        "type": "integer",
        "minimum": 0,
        "maximum": 65536,
        "default": 0,
        "description": "Rank of the update; 0 means no LoRA.",
    }
    groups = [SCHEMA, *SCHEMA["$defs"].values()]
    undescribed = [
        name
        for group in groups
        for name, setting in group["properties"].items()
        if not setting.get("description") and "$ref" not in setting
    ]
    assert undescribed == []
