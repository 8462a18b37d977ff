"""A published sweep as Markdown: the section of a results page, and the few rows of a README, from one record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thinwire.report.compression import code_size, counts_entries, shown_figures
from thinwire.report.markdown import (
    CONFIGURATION,
    EM,
    F1,
    FORM,
    GAIN,
    P_VALUE,
    TIER,
    TRAINED,
    Column,
    Row,
    line,
    points,
    table,
)
from thinwire.report.publication import Publication
from thinwire.report.results import CEILING, CODEC
from thinwire.report.summary import commit

_READS = {
    CEILING: "text (the ceiling)",
    CODEC: "the codec's own inverse",
    "no_context": "the question alone",
}
"""What the model reads in the controls of the plan, whose names say more than their settings."""


def section(record: Publication) -> str:
    """Everything of a record: verdict, origin, arms, controls, reconstruction and form of the answers, codecs."""
    arms, controls = (_rows(record, kind) for kind in ("arm", "control"))
    figures = (CONFIGURATION, TRAINED, F1, EM, _difference(record))
    parts = [
        _verdict(record),
        _origin(record),
        f"```bash\n{record['command']}\n```" if record["command"] else "",
        table(arms, (*figures, P_VALUE, TIER, _CEILING, *_sizes(arms), _SELECTION, FORM)),
        "Controls:" if controls else "",
        table(controls, (*figures, _SELECTION, FORM)),
        _legend(record, arms),
        *_reconstruction_and_form([*arms, *controls]),
        _codecs(record["codecs"]),
        "\n".join(f"Note: {note}." for note in [*record["notes"], *_failures(record)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def short(record: Publication) -> str:
    """The arm that was chosen, the baseline and the controls, with the verdict."""
    verdict = record["verdict"]
    named = {verdict["best"], verdict.get("judged_by")}
    rows = [row for row in record["rows"] if row["kind"] == "control" or row["is_baseline"] or row["name"] in named]
    columns = (CONFIGURATION, _READ, _LORA, F1, EM, _difference(record))
    parts = [
        _verdict(record),
        table([row for row in rows if row["status"] == "done"], columns),
        f"{_model(record)}; {_data(record)}; {record['sweep']['environment']['device']}, {_date(record)}. F1 and EM in "
        f"points; the interval is {record['confidence']:.0%}, simultaneous over all arms compared.",
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(record: Publication) -> str:
    return f"**{record['verdict']['headline']}.** {record['verdict']['sentence']}"


def _failures(record: Publication) -> list[str]:
    return [f"{row['name']} {row['status']}: {row['error']}" for row in record["rows"] if row["status"] != "done"]


def _rows(record: Publication, kind: str) -> list[Row]:
    return [row for row in record["rows"] if row["kind"] == kind]


# Where it comes from


def _origin(record: Publication) -> str:
    environment = record["sweep"]["environment"]
    packages = environment["packages"]
    versions = [f"{name} {packages[name]}" for name in ("torch", "transformers", "peft") if name in packages]
    versions.append(f"Python {environment['python']}")
    pairs = {
        "sweep": f"`{record['sweep']['name']}`: {record['sweep']['description']}",
        "device": environment["device"],
        "software": f"thinwire {environment['thinwire']}, commit {commit(environment)}; {', '.join(versions)}",
        "model": _model(record),
        "data": _data(record),
        **_compression(record),
        "time": _date(record) + _duration(record["sweep"]["seconds"]),
    }
    return "\n".join(["| | |", line(["---", "---"]), *map(line, pairs.items())])


def _model(record: Publication) -> str:
    model = record["sweep"]["model"]
    return f"{model['name']}, revision `{model['revision'][:12]}`"


def _data(record: Publication) -> str:
    sweep = record["sweep"]
    seeds = _numbers(record, "num_seeds")
    return (
        f"{sweep['samples']:,} training questions x {sweep['epochs']} epochs; {_numbers(record, 'n')} test questions"
        f"{'' if seeds == '1' else f'; {seeds} seeds'}"
    )


def _numbers(record: Publication, name: str) -> str:
    """The different numbers that rows have of something."""
    return " or ".join(f"{number:,}" for number in sorted({row[name] for row in record["rows"] if row[name]}))


def _compression(record: Publication) -> dict[str, str]:
    """The codec where it is one, and what it takes in a table and on a wire; of several, the chosen arm's by name."""
    found = {}
    if len(record["codecs"]) == 1:
        (codec,) = record["codecs"]
        figures = [f"{name} {_codec_figure(key, codec['figures'][key])}" for key, name in shown_figures([codec])]
        found["codec"] = ", ".join([codec["kind"], f"{code_size(codec)} a token", *figures])
    if sizes := record["bytes"]:
        whose = f" ({sizes['arm']})" if len(record["codecs"]) > 1 and sizes.get("arm") else ""
        parts = [f"{part} {_megabytes(sizes[f'table_bytes_{part}'])}" for part in ("codes", "adapter", "codec")]
        found[f"bytes{whose}"] = (
            f"{', '.join(parts)}; the embedding table took {_megabytes(sizes['table_bytes_original'])}"
        )
        forms = [f"{one['form']} {_bits(one['bits'])}" for one in sizes["wire_bits"] if one["bits"]]
        found[f"bits a token{whose}"] = ", ".join(forms)
    return found


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _bits(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.1f}"


def _date(record: Publication) -> str:
    return str(record["sweep"]["started_at"]).split("T")[0]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f", {f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s'} from start to end"


# Arms


def _difference(record: Publication) -> Column:
    """To the baseline; controls are not compared with it, so theirs has no interval."""
    baseline = next((row["f1"] for row in record["rows"] if row.get("is_baseline") and row["status"] == "done"), None)

    def cell(row: Row) -> str:
        if row["f1_difference"] or row["is_baseline"] or baseline is None:
            return GAIN.cell(row)
        return points(row["f1"] - baseline, "+")

    return Column(GAIN.head, cell, numeric=False)


def _legend(record: Publication, arms: list[Row]) -> str:
    said = ["F1 and EM are points on the test questions."]
    if num_compared := sum(row["f1_difference"] is not None for row in arms):
        tiers = ", ".join(
            f"{tier} {points(gain, '+').removesuffix('.0')}" for tier, gain in record["thresholds"].items()
        )
        said.append(
            f"To the baseline: difference in F1, with its {record['confidence']:.0%} interval, simultaneous over all "
            f"arms compared ({num_compared}), from {record['resamples']:,} paired resamples of paragraphs; p is "
            f"adjusted after Holm. Tier: the highest that the interval's lower end supports ({tiers})."
        )
    if any(row["share_of_ceiling"] for row in arms):
        said.append(f"Of the ceiling: how much of the way from `{CODEC}` to `{CEILING}`.")
    if any(row["num_seeds"] not in (1, None) for row in arms):
        # Records of earlier versions do not say how many seeds a share is of: it was the first's.
        shares = [(row["num_seeds"], row["share_of_ceiling"]) for row in arms if row["share_of_ceiling"]]
        of_one = any(share.get("num_seeds", 1) != num_seeds for num_seeds, share in shares)
        alone = (
            "the share of the ceiling and the form of the answers are those"
            if of_one
            else "the form of answers is that"
        )
        said.append(f"Figures are means over an arm's seeds, but {alone} of the first seed.")
    said.append(
        "Selection F1, on held-out training articles, chose each arm's epoch and the arm in bold; its questions are "
        "others, so it is not to be compared with F1. Trained: parameters."
    )
    return " ".join(said)


def _of_ceiling(row: Row) -> str:
    share = row["share_of_ceiling"]
    if not share:
        return ""
    ends = "" if share["low"] is None else f" ({100 * share['low']:.0f} to {100 * share['high']:.0f})"
    return f"{100 * share['estimate']:.0f} %{ends}"


def _lora(row: Row) -> str:
    if not row["rank"]:
        return "none"
    layers = "all layers" if row["layers"] == "all" else f"first {row['layers']} layers"
    return f"rank {row['rank']}, alpha {row['alpha']:g}, {layers}"


def _sizes(arms: list[Row]) -> list[Column]:
    """What each arm's codes, adapter and codec take, and one code, where that is not the same for all."""
    done = [row for row in arms if row["status"] == "done"]
    return [_size(*size) for size in _SIZES if len({row.get(size[0]) for row in done}) > 1]


def _size(key: str, head: str, write: Callable[[int], str]) -> Column:
    return Column(head, lambda row: write(row[key]) if row.get(key) else "")


_SIZES: tuple[tuple[str, str, Callable[[int], str]], ...] = (
    ("table_bytes", "MB for the table", lambda size: f"{size / 1e6:.1f}"),
    ("code_bits", "bits a token", _bits),
)
_SELECTION = Column("selection F1", lambda row: points(row["selection_f1"]))
_CEILING = Column("of the ceiling", _of_ceiling, numeric=False)
_READ = Column("the model reads", lambda row: _READS.get(row["name"]) or row["reads"], numeric=False)
_LORA = Column("LoRA", _lora, numeric=False)


# Reconstruction and form


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _decimal(name: str) -> Callable[[Row], str]:
    return lambda row: "" if row[name] is None else f"{row[name]:.3f}"


def _of_form(name: str) -> Callable[[Row], str]:
    return lambda row: _percent(row["collapse"][name])


def _first_word(row: Row) -> str:
    word, share = row["collapse"]["top_first_word"], row["collapse"]["top_first_word_share"]
    return "" if word is None else f"{word}, {_percent(share)}"


def _reconstruction_and_form(rows: list[Row]) -> list[str]:
    # Records of earlier versions do not say how rare rows are rebuilt.
    says_rare = any(row.get("rare_cosine") is not None for row in rows)
    columns = [column for column in _FORMS if column is not _RARE or says_rare]
    rare = "rare: the mean over rows that occur 1 to 9 times in the training prompts; " if says_rare else ""
    return [
        f"Reconstruction, and the form of the answers ({rare}cut: those that the length limit cut short):",
        table(rows, columns),
    ]


_RARE = Column("rare cosine", _decimal("rare_cosine"))
_FORMS = (
    CONFIGURATION,
    Column("cosine at start", _decimal("cosine_at_start")),
    Column("cosine", _decimal("cosine")),
    _RARE,
    Column("relative MSE", _decimal("relative_mse")),
    Column("nearest row", lambda row: _percent(row["nearest_row_accuracy"])),
    Column("raw F1", lambda row: points(row["raw_f1"])),
    Column("different answers", _of_form("distinct_share")),
    Column("first word", _first_word, numeric=False),
    Column("cut", _of_form("run_on_share")),
    FORM,
)


# Codecs


def _codec_figure(key: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if counts_entries(key) else _percent(value)


def _codecs(codecs: list[dict[str, Any]]) -> str:
    """A line for each codec, where there is more to say than the origin does; alarms are among the notes."""
    if len(codecs) < 2 and not any(codec["alarms"] for codec in codecs):
        return ""
    shown = shown_figures(codecs)
    lines = [line(["codec", "read by", "code", *(name for _, name in shown)])]
    lines.append(line(["---", "---", "---", *("---:" for _ in shown)]))
    for codec in codecs:
        figures = (_codec_figure(key, codec["figures"].get(key)) for key, _ in shown)
        lines.append(line([codec["kind"], ", ".join(codec["arms"]), code_size(codec), *figures]))
    return "\n".join(["Codecs:", "", *lines])
