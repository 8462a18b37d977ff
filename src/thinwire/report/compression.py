"""What a sweep's codecs are, what they are said to be bad at, and what they take: in a table, and on a wire.

Integer codes are counted packed, at the bits that they need; float codes at the size of the model's own numbers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from thinwire.report.compare import code_bits
from thinwire.report.results import Results

_NO_FIGURES = frozenset({"file", "code_width", "code_bits", "parameters", "bytes", "alarms"})
"""What a record says of a codec beside the codec's own figures."""

TOKEN_ID = "token id"
"""The form of a token on a wire that all others are compared with."""

FIGURES = (
    ("explained_variance", "variance kept"),
    ("rounding_error", "lost in rounding"),
    ("codebook_use", "entries in use"),
    ("codebook_use_worst", "in the worst codebook"),
    ("perplexity", "perplexity"),
    ("perplexity_worst", "of the worst"),
    ("perplexity_maximum", "at most"),
    ("collisions", "ids that collide"),
    ("collisions_weighted", "tokens that collide"),
)
"""The figures that codecs have, and what a table calls them. A perplexity counts entries; all others are shares."""


def shown_figures(found: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Key and name of each figure that any of the codecs has, in the order of a table."""
    return [(key, name) for key, name in FIGURES if any(key in codec["figures"] for codec in found)]


def counts_entries(key: str) -> bool:
    """Whether a codec's figure is a number of entries; else it is a share."""
    return key.startswith("perplexity")


def code_size(codec: Mapping[str, Any]) -> str:
    """What a code consists of: floats, or packed integers."""
    width, bits = codec["code_width"], codec["code_bits"]
    return f"{width:,} floats" if bits is None else f"{width:,} x {bits // width} bits"


def codecs(results: Results) -> list[dict[str, Any]]:
    """Each codec of the sweep once, with the arms and controls that read it; none where all of them read text."""
    readers: dict[str, list[dict[str, Any]]] = {}
    for name, runs in {**results.arms, **{name: [one] for name, one in results.controls.items()}}.items():
        for record in (run.record for run in runs if run.record["codec"]):
            # Arms that read one codec keep more of it, or less.
            same = {name: value for name, value in record["codec"].items() if name != "bytes"}
            held = readers.setdefault(json.dumps(same, sort_keys=True), [])
            held.append({"name": name, "config": record["config"]["codec"]})
    found = []
    for text, read_by in readers.items():
        codec, config = json.loads(text), read_by[0]["config"]
        found.append(
            {
                "arms": list(dict.fromkeys(one["name"] for one in read_by)),
                "kind": f"vq, {config['vq']['form']}" if config["kind"] == "vq" else config["kind"],
                "code_width": codec["code_width"],
                "code_bits": codec.get("code_bits"),
                "figures": {name: value for name, value in codec.items() if name not in _NO_FIGURES},
                "alarms": codec.get("alarms", []),
            }
        )
    return found


def alarms(found: list[dict[str, Any]]) -> list[str]:
    """What readers of any figure must be told, a sentence each."""
    return [f"codec {one['kind']} of {', '.join(one['arms'])}: {alarm}" for one in found for alarm in one["alarms"]]


def sizes(results: Results, best: str) -> dict[str, Any] | None:
    """What the compression takes, for the best arm's codec; None where no arm reads codes."""
    arms = [best, *results.arms]  # the first that reads codes
    record = next((one for name in arms if (one := results.arms[name][0].record)["codec"]), None)
    if record is None:
        return None
    model, codec = results.sweep["model"], record["codec"]
    vocabulary, width, size = model["vocabulary"], model["embedding_width"], model["bytes_per_number"]
    id_bits = math.ceil(math.log2(vocabulary))
    forms = {
        **_forms(codec["code_width"], codec.get("code_bits")),
        TOKEN_ID: id_bits,
        "UTF-8 text": model["text_bits_per_token"],
    }
    return {
        "arm": record["arm"],
        "vocabulary": vocabulary,
        "embedding_width": width,
        "code_width": codec["code_width"],
        "table_bytes_original": vocabulary * width * size,
        **{f"table_bytes_{part}": taken for part, taken in _table_parts(model, record).items()},
        "table_bytes_total": table_bytes(model, record),
        "wire_bits": [{"form": name, "bits": bits, "larger_than_id": bits > id_bits} for name, bits in forms.items()],
    }


def table_bytes(model: dict[str, Any], record: dict[str, Any]) -> int | None:
    """What stands in for the embedding table of an arm or control; None where it reads text, so the table itself."""
    return sum(_table_parts(model, record).values()) if record["codec"] else None


def _table_parts(model: dict[str, Any], record: dict[str, Any]) -> dict[str, int]:
    codec = record["codec"]
    return {
        "codes": math.ceil(model["vocabulary"] * code_bits(model, codec) / 8),
        "adapter": record["trainable_parameters"]["adapter"] * 4,
        "codec": codec.get("bytes", codec["parameters"] * 4),
    }


def _forms(code_width: int, code_bits: int | None) -> dict[str, int]:
    """Ways of sending a code and their bits: floats might be rounded, integers are what they are."""
    if code_bits is None:
        types = {"float32": 32, "bf16": 16, "int8": 8, "int4": 4}
        return {f"{name} code": bits * code_width for name, bits in types.items()}
    return {f"code, {code_width} x {code_bits // code_width} bits": code_bits}
