from pathlib import Path
from typing import get_args, get_origin

import pytest

from thinwire.config.describe import setting_groups, settings_below, settings_page
from thinwire.config.experiment import Experiment
from thinwire.errors import UsageError
from thinwire.schema import Section

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "settings.md"


def leaves(section: type[Section], before=""):
    for name, field in section.model_fields.items():
        named = get_origin(field.annotation) in (dict, tuple)
        choices = () if named else get_args(field.annotation) or (field.annotation,)
        groups = [one for one in choices if isinstance(one, type) and issubclass(one, Section)]
        if groups:
            yield from leaves(groups[0], f"{before}{name}.")
        else:
            yield before + name


def test_every_setting_is_listed_once():
    listed = [setting.path for group in setting_groups() for setting in group.settings]
    assert sorted(listed) == sorted(leaves(Experiment))


def test_the_page_in_the_guide_is_what_the_command_prints():
    assert PAGE.read_text(encoding="utf-8") == settings_page(), "thinwire settings --markdown > docs/guide/settings.md"


def test_types_limits_and_defaults_are_described_in_words():
    found = {setting.path: setting for group in setting_groups() for setting in group.settings}
    assert (found["codec.vq.decay"].values, found["codec.vq.decay"].default) == ("number > 0, < 1", "`0.95`")
    assert found["lora.layers"].values == "integer > 0, <= 10000 or `all`"
    assert found["name"].default == "required"
    assert found["lora.targets"].default == "`attention`"


def test_no_setting_lacks_its_description():
    assert [s.path for group in setting_groups() for s in group.settings if not s.description] == []


def test_the_settings_of_a_group_are_those_below_it():
    paths = [setting.path for setting in settings_below("lora")]
    assert {"lora.rank", "lora.alpha"} < set(paths)
    assert all(path.startswith("lora.") for path in paths)
    assert [setting.path for setting in settings_below("lora.rank")] == ["lora.rank"]
    assert [setting.path for setting in settings_below("seed")] == ["seed"], "and not seeds"
    assert len(settings_below()) == sum(len(group.settings) for group in setting_groups())
    with pytest.raises(UsageError, match=r"is called 'lor'.*did you mean 'lora'"):
        settings_below("lor")
