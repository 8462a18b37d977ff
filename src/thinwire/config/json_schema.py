"""The JSON schema of experiment files, by which editors complete settings, describe them and underline mistakes.

It is made from the settings' types and docstrings, and says less than they do: what depends on several settings, or on
another file (``extends``), is checked only when the experiment is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from thinwire.codecs.table import CODECS
from thinwire.config.experiment import ARM_NAME, NOT_SEARCHED, ArmConfig, Experiment

Schema = dict[str, Any]

_DIALECT = "http://json-schema.org/draft-07/schema#"
"""The newest that editors' support for YAML knows whole."""

_DEFINITIONS = "#/$defs/"
_BY_NAME = ("properties", "patternProperties", "$defs")
"""Keywords whose keys are names and no keywords."""

_EXTENDS = (
    "Path of an experiment file, relative to this one, or name of one that comes with Thinwire; this file changes its "
    "settings."
)


def experiment_schema() -> Schema:
    """Return the schema of an experiment file, as JSON."""
    schema: Schema = _tidied(Experiment.model_json_schema())
    settings, groups = schema["properties"], schema["$defs"]
    groups["AnyCodecConfig"]["properties"]["kind"]["enum"] = list(CODECS)
    groups["ArmConfig"] = {
        "type": "object",
        "description": "The changes of an arm or control to the defaults.",
        "additionalProperties": False,
        "properties": {name: settings[name] for name in ArmConfig.model_fields},
    }
    changes = {"anyOf": [{"$ref": f"{_DEFINITIONS}ArmConfig"}, {"type": "null"}]}
    for name in ("arms", "controls"):
        settings[name] = {
            "type": "object",
            "description": settings[name]["description"],
            "additionalProperties": False,
            "patternProperties": {ARM_NAME: changes},
        }
    settings["search"] = {
        "type": "object",
        "description": settings["search"]["description"],
        "additionalProperties": False,
        "properties": dict(_candidates(groups["ArmConfig"], groups)),
    }
    return {
        "$schema": _DIALECT,
        "title": "Thinwire experiment",
        **schema,
        "properties": {"extends": {"type": "string", "description": _EXTENDS}, **settings},
        "anyOf": [{"required": ["extends"]}, {"required": ["name", "arms"]}],
    }


def _tidied(schema: Any) -> Any:
    """Leave out what an editor would only repeat (titles, defaults of groups), and what a file that extends another
    need not have; write descriptions in one line."""
    if isinstance(schema, list):
        return [_tidied(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: Schema = {}
    for key, value in schema.items():
        if key in ("title", "required") or (key == "default" and isinstance(value, Mapping)):
            continue
        if key in _BY_NAME:
            found[key] = {name: _tidied(one) for name, one in value.items()}
        elif key == "description":
            found[key] = " ".join(value.replace("``", "`").split())
        else:
            found[key] = value if key in ("default", "enum") else _tidied(value)
    return found


def _candidates(group: Schema, groups: Schema, before: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield the path and the schema of each setting below ``search``, and of each group, as both forms are read."""
    for name, setting in group["properties"].items():
        path = f"{before}{name}"
        if reference := setting.get("$ref"):
            if not before:
                yield path, {"type": "object"}
            yield from _candidates(groups[reference.removeprefix(_DEFINITIONS)], groups, f"{path}.")
        elif path not in NOT_SEARCHED and setting.get("type") != "array":
            values = {key: value for key, value in setting.items() if key not in ("default", "description")}
            yield path, {"type": "array", "minItems": 2, "items": values, "description": setting["description"]}
