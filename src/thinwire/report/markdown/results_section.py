"""A sweep as Markdown, from its analysis or sweep record: a section of a results page, a few rows of a README."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.report.analysis_record import Analysis, CodecSummary
from thinwire.report.caveats import BELOW_TIERS, CEILING_SCALE, first_seed, limits, model_name, notes, overlap
from thinwire.report.code_sizes import shown_metrics
from thinwire.report.markdown.details import findings, interactions
from thinwire.report.markdown.tables import (
    CONFIGURATION,
    EM,
    F1,
    FINDING,
    GAIN,
    P_VALUE,
    TIER,
    TRAINED,
    MarkdownColumn,
    line,
    points,
    table,
)
from thinwire.report.rows import AnalysisRow
from thinwire.report.summary import commit
from thinwire.results.arm_record import CodecMetric, Kind
from thinwire.results.read import CEILING, CODEC


def section(record: Analysis) -> str:
    """Write everything: verdict, origin, arms, controls, reconstruction and degeneration of the answers, codecs."""
    arms, controls = (_rows(record, kind) for kind in _KINDS)
    shared = (CONFIGURATION, TRAINED, F1, EM, _difference(record))
    parts = [
        _overlap(record),
        _verdict(record),
        _origin(record),
        f"```bash\n{record.command}\n```" if record.command else "",
        table(arms, (*shared, P_VALUE, TIER, _CEILING, *_sizes(arms), _SELECTION, FINDING)),
        "Controls:" if controls else "",
        table(controls, (*shared, _SELECTION, FINDING)),
        _legend(record, arms),
        interactions(record),
        *_reconstruction_and_answers(record, [*arms, *controls]),
        findings(record),
        _codecs(record.codecs),
        "\n".join(f"Note: {note}." for note in [*notes(record), *_failures(record)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def short_section(record: Analysis) -> str:
    """Write the arm that was chosen, the baseline and the controls, with the verdict."""
    named = {record.verdict.best, record.verdict.judged_by}
    rows = [row for row in record.rows if row.kind == "control" or row.is_baseline or row.name in named]
    columns = (_in_words(record), F1, EM, _difference(record))
    parts = [
        _overlap(record),
        _verdict(record),
        table([row for row in rows if row.status == "done"], columns),
        f"{_model(record)}; {_data(record)}; {record.sweep.environment.device}, {_date(record)}. F1 and EM in "
        f"points; the interval is {record.confidence:.0%}, simultaneous over all arms compared.",
        f"Limits of the numbers: {'; '.join(found)}." if (found := limits(record)) else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


_KINDS: tuple[Kind, Kind] = ("arm", "control")


def _verdict(record: Analysis) -> str:
    return f"**{record.verdict.headline}.** {record.verdict.sentence}"


def _overlap(record: Analysis) -> str:
    shared = overlap(record.sweep.shared_paragraphs)
    return f"**{shared}.**" if shared else ""


def _failures(record: Analysis) -> list[str]:
    return [f"{row.name} {row.status}: {row.error}" for row in record.rows if row.status != "done"]


def _rows(record: Analysis, kind: Kind) -> list[AnalysisRow]:
    return [row for row in record.rows if row.kind == kind]


# Where it comes from


def _origin(record: Analysis) -> str:
    environment = record.sweep.environment
    packages = environment.packages
    versions = [f"{name} {packages[name]}" for name in ("torch", "transformers", "peft") if name in packages]
    versions.append(f"Python {environment.python}")
    pairs = {
        "sweep": f"`{record.sweep.name}`: {record.sweep.description}",
        "device": environment.device,
        "software": f"thinwire {environment.thinwire}, commit {commit(environment)}; {', '.join(versions)}",
        "model": _model(record),
        "data": _data(record),
        **_compression(record),
        "time": _date(record) + _duration(record.sweep.seconds),
    }
    return "\n".join(["| | |", line(["---", "---"]), *map(line, pairs.items())])


def _model(record: Analysis) -> str:
    return f"{model_name(record.sweep.model)}, revision `{record.sweep.model.revision[:12]}`"


def _data(record: Analysis) -> str:
    sweep = record.sweep
    seeds = _numbers([row.num_seeds for row in record.rows if row.params != 0])  # what trains nothing has one
    return (
        f"{sweep.samples:,} training questions x {sweep.epochs} epochs; "
        f"{_numbers([row.n for row in record.rows])} test questions{'' if seeds == '1' else f'; {seeds} seeds'}"
    )


def _numbers(found: Sequence[int | None]) -> str:
    """The different numbers among ``found``."""
    return " or ".join(f"{number:,}" for number in sorted({number for number in found if number}))


def _compression(record: Analysis) -> dict[str, str]:
    """The codec where it is one, and what its codes take in all and on a wire; of several, the chosen arm's by name."""
    found = {}
    if len(record.codecs) == 1:
        (codec,) = record.codecs
        metrics = [f"{metric.label} {_codec_metric(metric)}" for metric in codec.metrics]
        found["codec"] = ", ".join([codec.label, f"{codec.code_size} a token", *metrics])
    if sizes := record.bytes:
        whose = f" ({sizes.arm})" if len(record.codecs) > 1 else ""
        found[f"bytes{whose}"] = (
            f"codes {_megabytes(sizes.matrix_bytes_codes)}, adapter {_megabytes(sizes.matrix_bytes_adapter)}, codec "
            f"{_megabytes(sizes.matrix_bytes_codec)}; the embedding matrix took "
            f"{_megabytes(sizes.matrix_bytes_original)}"
        )
        found[f"bits a token{whose}"] = ", ".join(f"{one.form} {_bits(one.bits)}" for one in sizes.wire_bits)
    return found


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _bits(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.1f}"


def _date(record: Analysis) -> str:
    return record.sweep.started_at.split("T")[0]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f", {f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s'} from start to end"


# Arms


def _difference(record: Analysis) -> MarkdownColumn:
    """To the baseline; controls are not compared with it, so theirs has no interval."""
    baseline = next((row.f1 for row in record.rows if row.is_baseline), None)

    def cell(row: AnalysisRow) -> str:
        if row.f1_difference or row.is_baseline or baseline is None or row.f1 is None:
            return GAIN.cell(row)
        return points(row.f1 - baseline, "+")

    return MarkdownColumn(GAIN.head, cell, numeric=False)


def _legend(record: Analysis, arms: list[AnalysisRow]) -> str:
    said = ["F1 and EM are points on the test questions."]
    if num_compared := sum(row.f1_difference is not None for row in arms):
        tiers = ", ".join(f"{tier} {points(gain, '+').removesuffix('.0')}" for tier, gain in record.thresholds.items())
        said.append(
            f"To the baseline: difference in F1, with its {record.confidence:.0%} interval, simultaneous over all "
            f"arms compared ({num_compared}), from {record.resamples:,} paired resamples of paragraphs; p is "
            f"adjusted after Holm. Tier: the highest that the interval's lower end supports ({tiers}); {BELOW_TIERS}."
        )
    if any(row.share_of_ceiling for row in arms):
        said.append(f"Of the ceiling: how much of the way from `{CODEC}` to `{CEILING}` ({CEILING_SCALE}).")
        reasons = dict.fromkeys(row.share_of_ceiling.reason for row in arms if row.share_of_ceiling)
        said += [f"Without an interval of it: {reason}." for reason in reasons if reason]
    if any(row.num_seeds not in (1, None) for row in arms):
        shares = [(row.num_seeds, row.share_of_ceiling) for row in arms if row.share_of_ceiling]
        of_one = any(share.num_seeds != num_seeds for num_seeds, share in shares)  # as earlier versions had it
        alone = (
            "what is said of the answers is"
            if not of_one
            else "the share of the ceiling and what is said of the answers are"
        )
        said.append(f"Metrics are means over an arm's seeds, but {alone}{first_seed(record)}.")
    said.append(
        "Selection F1, on held-out training articles, chose each arm's epoch and the arm in bold; its questions are "
        "others, so it is not to be compared with F1. Trained: parameters."
    )
    return " ".join(said)


def _of_ceiling(row: AnalysisRow) -> str:
    share = row.share_of_ceiling
    if not share:
        return ""
    ends = "" if share.low is None or share.high is None else f" ({100 * share.low:.0f} to {100 * share.high:.0f})"
    return f"{100 * share.estimate:.0f} %{ends}"


def _in_words(record: Analysis) -> MarkdownColumn:
    """A column that names an arm by its input and its LoRA, for readers who do not know the arms' names."""

    def cell(row: AnalysisRow) -> str:
        name = f"{_input(record, row)}, {_lora(row)}"
        role = " (the ceiling)" if row.name == CEILING else " (the baseline)" if row.is_baseline else ""
        return f"**{name}**{role}" if row.best else name + role

    return MarkdownColumn("input and training", cell, numeric=False)


def _input(record: Analysis, row: AnalysisRow) -> str:
    if row.input == "text":
        return "the question alone" if row.name == "no_context" else "text"
    codec = next((codec for codec in record.codecs if row.name in codec.arms), None)
    codes = f"{codec.label if codec else 'codec'} codes"
    if codec and codec.code_bits is None and codec.code_width >= record.sweep.model.embedding_width:
        codes += " of full width (uncompressed)"
    return codes if row.input == "adapter" else f"{codes} without adapter"


def _lora(row: AnalysisRow) -> str:
    if row.rank:
        layers = "all layers" if row.layers == "all" else f"{row.position} {row.layers} layers"
        return f"LoRA r{row.rank}, {layers}"
    return "no LoRA" if row.input == "adapter" else "untrained"


def _sizes(arms: list[AnalysisRow]) -> list[MarkdownColumn]:
    """What each arm's codes, adapter and codec take, and one code, where that is not the same for all."""
    done = [row for row in arms if row.status == "done"]
    return [
        *([_MATRIX_BYTES] if len({row.matrix_bytes for row in done}) > 1 else []),
        *([_CODE_BITS] if len({row.code_bits for row in done}) > 1 else []),
    ]


_MATRIX_BYTES = MarkdownColumn(
    "MB for the matrix", lambda row: "" if row.matrix_bytes is None else f"{row.matrix_bytes / 1e6:.1f}"
)
_CODE_BITS = MarkdownColumn("bits a token", lambda row: "" if row.code_bits is None else _bits(row.code_bits))
_SELECTION = MarkdownColumn("selection F1", lambda row: points(row.selection_f1))
_CEILING = MarkdownColumn("of the ceiling", _of_ceiling, numeric=False)


# Reconstruction and answers


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _distinct(row: AnalysisRow) -> str:
    return _percent(row.degeneration.metrics.distinct_share) if row.degeneration else ""


def _first_word(row: AnalysisRow) -> str:
    if row.degeneration is None or row.degeneration.metrics.top_first_word is None:
        return ""
    return f"{row.degeneration.metrics.top_first_word}, {_percent(row.degeneration.metrics.top_first_word_share)}"


def _cut(row: AnalysisRow) -> str:
    return _percent(row.degeneration.metrics.run_on_share) if row.degeneration else ""


def _reconstruction_and_answers(record: Analysis, rows: list[AnalysisRow]) -> list[str]:
    # Records of earlier versions do not say how rare rows are rebuilt.
    says_rare = any(row.rare_cosine is not None for row in rows)
    columns = [column for column in _ANSWERS if column is not _RARE or says_rare]
    rare = "rare: the mean over rows that occur 1 to 9 times in the training prompts; " if says_rare else ""
    return [
        f"Reconstruction, and degeneration of the answers{first_seed(record)} ({rare}cut: those that the length limit "
        "cut short):",
        table(rows, columns),
    ]


_RARE = MarkdownColumn("rare cosine", lambda row: _decimal(row.rare_cosine))
_ANSWERS = (
    CONFIGURATION,
    MarkdownColumn("cosine at start", lambda row: _decimal(row.cosine_at_start)),
    MarkdownColumn("cosine", lambda row: _decimal(row.cosine)),
    _RARE,
    MarkdownColumn("relative MSE", lambda row: _decimal(row.relative_mse)),
    MarkdownColumn("nearest row", lambda row: _percent(row.nearest_row_accuracy)),
    MarkdownColumn("raw F1", lambda row: points(row.raw_f1)),
    MarkdownColumn("different answers", _distinct),
    MarkdownColumn("first word", _first_word, numeric=False),
    MarkdownColumn("cut", _cut),
    FINDING,
)


# Codecs


def _codec_metric(metric: CodecMetric) -> str:
    return f"{metric.value:,.0f}" if metric.unit == "entries" else _percent(metric.value)


def _codecs(codecs: Sequence[CodecSummary]) -> str:
    """A line for each codec, where there is more to say than the origin does; warnings are among the notes."""
    if len(codecs) < 2 and not any(codec.warnings for codec in codecs):
        return ""
    shown = shown_metrics(codecs)
    lines = [line(["codec", "used by", "code", *(metric.label for metric in shown)])]
    lines.append(line(["---", "---", "---", *("---:" for _ in shown)]))
    for codec in codecs:
        values = {metric.name: _codec_metric(metric) for metric in codec.metrics}
        cells = (values.get(metric.name, "") for metric in shown)
        lines.append(line([codec.label, ", ".join(codec.arms), codec.code_size, *cells]))
    return "\n".join(["Codecs:", "", *lines])
