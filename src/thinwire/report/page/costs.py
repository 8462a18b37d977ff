"""What the compression saves and what it does not, and where the results come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from thinwire.report.compression import code_size, counts_entries, shown_figures
from thinwire.report.figures import wire
from thinwire.report.numbers import percent, whole
from thinwire.report.page.markup import Cell, Column, figure, pairs, paragraph, section, table, text
from thinwire.report.page.verdict import HALF

_TABLE = (
    ("table_bytes_original", "original table"),
    ("table_bytes_codes", "codes"),
    ("table_bytes_adapter", "adapter"),
    ("table_bytes_codec", "codec"),
    ("table_bytes_total", "codes, adapter and codec"),
)


def bytes_(analysis: Mapping[str, Any]) -> str:
    """Bytes of the embedding table before and after, and bits of a token on a wire."""
    found = analysis["bytes"]
    if not found:
        return section("bytes", "Bytes", paragraph("Not accounted for in this run.", "empty"))
    forms = [form for form in found["wire_bits"] if form["bits"]]
    larger = [form["form"] for form in forms if form["larger_than_id"]]
    caption = "The dashed line is the token id."
    if larger:
        caption += f" Larger than the id, so no saving on a wire: {', '.join(larger)} (squares)."
    drawn = figure(wire.TITLE, caption, wire.draw(forms, HALF)) if forms else ""
    halves = f'<div class="halves">{_table(analysis)}{drawn}</div>'
    return section("bytes", "Bytes", halves + _codecs(analysis["codecs"]))


def _table(analysis: Mapping[str, Any]) -> str:
    found = analysis["bytes"]
    whose = f"The codec of {found['arm']}: " if len(analysis["codecs"]) > 1 and found.get("arm") else ""
    original = found["table_bytes_original"]
    rows = [
        (
            "total" if key == "table_bytes_total" else "",
            [
                Cell(markup=text(name)),
                Cell(markup=whole(found[key]), value=found[key], key=key),
                Cell(markup=percent(found[key] / original)),
            ],
        )
        for key, name in _TABLE
    ]
    shape = (
        f"{whose}{whole(found['vocabulary'])} tokens, embeddings of {whole(found['embedding_width'])} values, "
        f"codes of {whole(found['code_width'])}"
    )
    columns = [
        Column(name="part", numeric=False),
        Column(name="bytes"),
        Column(name="of original"),
    ]
    drawn = table(columns, rows, "Bytes of the embedding table")
    return f"<div><h3>Embedding table</h3>{paragraph(shape)}{drawn}</div>"


def _codecs(found: Sequence[Mapping[str, Any]]) -> str:
    """The codecs' own figures, a row each; those that none of them has are left out."""
    shown = shown_figures(found)
    if not shown:
        return ""
    columns = [Column(name="codec", numeric=False), Column(name="read by", numeric=False), Column(name="code")]
    rows = []
    for codec in found:
        cells = [Cell(markup=text(words)) for words in (codec["kind"], ", ".join(codec["arms"]), code_size(codec))]
        for key, _ in shown:
            value = codec["figures"].get(key)
            cells.append(Cell(markup=whole(value) if counts_entries(key) else percent(value)))
        rows.append(("", cells))
    drawn = table([*columns, *(Column(name=name) for _, name in shown)], rows, "Figures of the codecs")
    return f"<h3>Codecs</h3>{drawn}"


def provenance(analysis: Mapping[str, Any]) -> str:
    """Model, data, code and machine."""
    sweep = analysis["sweep"]
    environment = sweep["environment"]
    commit = environment["git_commit"]
    dirty = {True: ", with uncommitted changes", False: "", None: ""}[environment["git_dirty"]]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    items = [
        ("sweep", f"{sweep['name']}: {sweep['description']}"),
        ("baseline arm", sweep["baseline"]),
        ("model", sweep["model"]["name"]),
        ("model revision", sweep["model"]["revision"]),
        ("embedding table, SHA-256", sweep["model"]["table_sha256"]),
        ("training", f"{whole(sweep['samples'])} questions, {sweep['epochs']} epochs"),
        ("thinwire", environment["thinwire"]),
        ("commit", f"{commit}{dirty}" if commit else None),
        ("python", environment["python"]),
        ("packages", packages),
        ("device", environment["device"]),
        ("platform", f"{environment['platform']}, {environment['cpu_threads']} threads of {environment['cpus']} CPUs"),
        ("started", sweep["started_at"]),
        ("finished", sweep["finished_at"]),
    ]
    return section("provenance", "Where this comes from", pairs(items))
