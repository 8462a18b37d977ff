"""A sweep as Markdown, from its analysis or sweep record: a section of a results page, a few rows of a README."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from thinwire.report.analysis_record import Analysis, CodecSummary
from thinwire.report.caveats import BELOW_TIERS, CEILING_SCALE, first_seed, limits, notes, overlap
from thinwire.report.code_sizes import keeps_all_numbers, shown_metrics
from thinwire.report.markdown.details import findings, interactions, savings
from thinwire.report.markdown.origin import bits, codec_metric, data_in_words, date, model_in_words, origin
from thinwire.report.markdown.tables import (
    CONFIGURATION,
    GAIN,
    P_VALUE,
    TIER,
    TRAINED,
    MarkdownColumn,
    finding_columns,
    inert_markdown,
    line,
    percent,
    points,
    score_columns,
    table,
)
from thinwire.report.rows import AnalysisRow
from thinwire.report.score_words import begins, names
from thinwire.report.summary import commit
from thinwire.results.arm_record import Kind
from thinwire.results.read import CEILING, CODEC
from thinwire.tasks.task import Task


def section(record: Analysis) -> str:
    """Write everything: verdict, origin, arms, controls, reconstruction and degeneration of the answers, codecs."""
    arms, controls = (_rows(record, kind) for kind in _KINDS)
    shared = (CONFIGURATION, TRAINED, *score_columns(record.task), _difference(record))
    last = (_selection(record.task), *finding_columns(record.task))
    parts = [
        _overlap(record),
        _verdict(record),
        origin(record),
        f"```bash\n{record.command}\n```" if record.command else "",
        table(arms, (*shared, P_VALUE, TIER, *_said([_CEILING], arms), *_sizes(arms), *last)),
        "Controls:" if controls else "",
        table(controls, (*shared, *last)),
        _legend(record, arms),
        interactions(record),
        savings(record),
        *_reconstruction_and_answers(record, [*arms, *controls]),
        findings(record),
        _codecs(record.codecs),
        "\n".join(f"Note: {note}." for note in [*notes(record), *_failures(record)]),
    ]
    return inert_markdown("\n\n".join(part for part in parts if part) + "\n")


def short_section(record: Analysis) -> str:
    """Write the arm that was chosen, the baseline and the controls, with the verdict."""
    named = {record.verdict.best, record.verdict.judged_by}
    rows = [row for row in record.rows if row.kind == "control" or row.is_baseline or row.name in named]
    environment = record.sweep.environment
    scores = begins(names(record.task, " and "))
    columns = (_in_words(record), *score_columns(record.task), _difference(record))
    parts = [
        _overlap(record),
        _verdict(record),
        table([row for row in rows if row.status == "done"], columns),
        f"{model_in_words(record)}; {data_in_words(record)}; {environment.device}, {date(record)}, commit "
        f"{commit(environment)}{f': `{record.command}`' if record.command else ''}. {scores} in points; the interval "
        f"is {record.confidence:.0%}, simultaneous over all arms compared.",
        f"Limits of the numbers: {'; '.join(found)}." if (found := limits(record)) else "",
    ]
    return inert_markdown("\n\n".join(part for part in parts if part) + "\n")


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


# Arms


def _difference(record: Analysis) -> MarkdownColumn:
    """To the baseline; controls are not compared with it, so theirs has no interval."""
    baseline = next((row.score for row in record.rows if row.is_baseline), None)

    def cell(row: AnalysisRow) -> str:
        if row.score_difference or row.is_baseline or baseline is None or row.score is None:
            return GAIN.cell(row)
        return points(row.score - baseline, "+")

    return MarkdownColumn(GAIN.head, cell, numeric=False)


def _legend(record: Analysis, arms: list[AnalysisRow]) -> str:
    label = record.task.label
    both = names(record.task, " and ")
    said = [f"{begins(both)} {'are points' if both != label else 'is in points'} on the test questions."]
    if num_compared := sum(row.score_difference is not None for row in arms):
        tiers = ", ".join(f"{tier} {points(gain, '+').removesuffix('.0')}" for tier, gain in record.thresholds.items())
        said.append(
            f"To the baseline: difference in {label}, with its {record.confidence:.0%} interval, simultaneous over all "
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
        but = f", but {alone}{first_seed(record)}" if record.task.has_texts else ""
        said.append(f"Metrics are means over an arm's seeds{but}.")
    said.append(
        f"Selection {label}, on held-out training articles, chose each arm's epoch and the arm in bold; its questions "
        f"are others, so it is not to be compared with {label}. Trained: parameters."
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
    if row.input == "blocks":
        size = row.prompt_costs.block_size if row.prompt_costs else None
        return f"blocks of {size or 'several'} token{'' if size == 1 else 's'}"
    if row.input == "text":
        return "the question alone" if row.name == "no_context" else "text"
    codec = next((codec for codec in record.codecs if row.name in codec.arms), None)
    codes = f"{codec.label if codec else 'codec'} codes"
    if codec and keeps_all_numbers(codec, record.sweep.model):
        codes += " of full width (uncompressed)"
    return codes if row.input == "adapter" else f"{codes} without adapter"


def _lora(row: AnalysisRow) -> str:
    if row.rank:
        layers = "all layers" if row.layers == "all" else f"{row.position} {row.layers} layers"
        return f"LoRA r{row.rank}, {layers}"
    return "no LoRA" if row.input in ("adapter", "blocks") else "untrained"


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
_CODE_BITS = MarkdownColumn("bits a token", lambda row: "" if row.code_bits is None else bits(row.code_bits))


def _selection(task: Task) -> MarkdownColumn:
    return MarkdownColumn(f"selection {task.label}", lambda row: points(row.selection_score))


_CEILING = MarkdownColumn("of the ceiling", _of_ceiling, numeric=False)


# Reconstruction and answers


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _distinct(row: AnalysisRow) -> str:
    return percent(row.degeneration.metrics.distinct_share) if row.degeneration else ""


def _first_word(row: AnalysisRow) -> str:
    if row.degeneration is None or row.degeneration.metrics.top_first_word is None:
        return ""
    return f"{row.degeneration.metrics.top_first_word}, {percent(row.degeneration.metrics.top_first_word_share)}"


def _cut(row: AnalysisRow) -> str:
    return percent(row.degeneration.metrics.run_on_share) if row.degeneration else ""


def _reconstruction_and_answers(record: Analysis, rows: list[AnalysisRow]) -> list[str]:
    rebuilt = _said(_RECONSTRUCTION, rows)
    legend = [_RECONSTRUCTION_LEGEND[column] for column in rebuilt if column in _RECONSTRUCTION_LEGEND]
    if not record.task.has_texts:
        said = f"Reconstruction ({'; '.join(legend)}):" if legend else "Reconstruction:"
        return [said, table(rows, [CONFIGURATION, *rebuilt])] if rebuilt else []
    raw = MarkdownColumn(f"raw {record.task.label}", lambda row: points(row.raw_score))
    columns = [CONFIGURATION, *rebuilt, raw, *_ANSWERS, *finding_columns(record.task)]
    what = "Reconstruction, and degeneration" if rebuilt else "Degeneration"
    legend.append("cut: those that the length limit cut short")
    return [f"{what} of the answers{first_seed(record)} ({'; '.join(legend)}):", table(rows, columns)]


def _said(columns: Iterable[MarkdownColumn], rows: Sequence[AnalysisRow]) -> list[MarkdownColumn]:
    """Return the columns that say something of a row: some hold for some inputs, or are missing in earlier records."""
    done = [row for row in rows if row.score is not None]
    return [column for column in columns if any(column.cell(row) for row in done)]


_RARE = MarkdownColumn("rare cosine", lambda row: _decimal(row.rare_cosine))
_WRITTEN = MarkdownColumn("written", lambda row: percent(row.written))
_RECONSTRUCTION = (
    MarkdownColumn("cosine at start", lambda row: _decimal(row.cosine_at_start)),
    MarkdownColumn("cosine", lambda row: _decimal(row.cosine)),
    _RARE,
    MarkdownColumn("relative MSE", lambda row: _decimal(row.relative_mse)),
    MarkdownColumn("nearest row", lambda row: percent(row.nearest_row_accuracy)),
    _WRITTEN,
)
_RECONSTRUCTION_LEGEND = {
    _RARE: "rare: the mean over rows that occur 1 to 9 times in the training prompts",
    _WRITTEN: "written: the share of the tokens of held-out texts that are written rightly out of their blocks, before "
    "the questions",
}
_ANSWERS = (
    MarkdownColumn("different answers", _distinct),
    MarkdownColumn("first word", _first_word, numeric=False),
    MarkdownColumn("cut", _cut),
)


# Codecs


def _codecs(codecs: Sequence[CodecSummary]) -> str:
    """A line for each codec, where there is more to say than the origin does; warnings are among the notes."""
    if len(codecs) < 2 and not any(codec.warnings for codec in codecs):
        return ""
    shown = shown_metrics(codecs)
    lines = [line(["codec", "used by", "code", *(metric.label for metric in shown)])]
    lines.append(line(["---", "---", "---", *("---:" for _ in shown)]))
    for codec in codecs:
        values = {metric.name: codec_metric(metric) for metric in codec.metrics}
        cells = (values.get(metric.name, "") for metric in shown)
        lines.append(line([codec.label, ", ".join(codec.arms), codec.code_size, *cells]))
    return "\n".join(["Codecs:", "", *lines])
