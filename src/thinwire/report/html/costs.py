"""What the compression saves and what it does not, and where the results come from."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.report.analysis_record import Analysis, CodecSummary, CompressionSizes
from thinwire.report.caveats import described, model_name
from thinwire.report.code_sizes import shown_metrics
from thinwire.report.figures import wire
from thinwire.report.formatting import percent, whole
from thinwire.report.html.markup import HtmlCell, HtmlColumn, figure, pairs, paragraph, section, table, text
from thinwire.stats.words import count

_TABLE = (
    ("matrix_bytes_original", "original matrix"),
    ("matrix_bytes_codes", "codes"),
    ("matrix_bytes_adapter", "adapter"),
    ("matrix_bytes_codec", "codec"),
    ("matrix_bytes_total", "codes, adapter and codec"),
)


def bytes_(analysis: Analysis) -> str:
    """Bytes of the embedding matrix before and after, and bits of a token on a wire."""
    found = analysis.bytes
    if not found and any(row.prompt_costs for row in analysis.rows):
        return ""  # fewer positions save nothing of the matrix: what they save has a section of its own
    if not found:
        return section("bytes", "Bytes", paragraph("Not accounted for in this run.", "empty"))
    drawn = figure(found_wire) if (found_wire := wire.figure(analysis)) else ""
    halves = f'<div class="halves">{_table(found, several_codecs=len(analysis.codecs) > 1)}{drawn}</div>'
    return section("bytes", "Bytes", halves + _codecs(analysis.codecs))


def _table(found: CompressionSizes, *, several_codecs: bool) -> str:
    whose = f"The codec of {found.arm}: " if several_codecs else ""
    rows = []
    for key, name in _TABLE:
        taken: int = getattr(found, key)
        size = HtmlCell(markup=whole(taken), value=taken, key=key)
        cells = [HtmlCell(markup=text(name)), size, HtmlCell(markup=percent(taken / found.matrix_bytes_original))]
        rows.append(("total" if key == "matrix_bytes_total" else "", cells))
    shape = (
        f"{whose}{whole(found.vocabulary)} tokens, embeddings of {whole(found.embedding_width)} values, "
        f"codes of {whole(found.code_width)}"
    )
    columns = [HtmlColumn(name="part", numeric=False), HtmlColumn(name="bytes"), HtmlColumn(name="of original")]
    drawn = table(columns, rows, "Bytes of the embedding matrix")
    return f"<div><h3>Embedding matrix</h3>{paragraph(shape)}{drawn}</div>"


def _codecs(found: Sequence[CodecSummary]) -> str:
    """The codecs' own metrics, a row each; those that none of them has are left out."""
    shown = shown_metrics(found)
    if not shown:
        return ""
    columns = [HtmlColumn(name=name, numeric=False) for name in ("codec", "used by")] + [HtmlColumn(name="code")]
    rows = []
    for codec in found:
        cells = [HtmlCell(markup=text(words)) for words in (codec.label, ", ".join(codec.arms), codec.code_size)]
        values = {metric.name: metric.value for metric in codec.metrics}
        for metric in shown:
            write = whole if metric.unit == "entries" else percent
            cells.append(HtmlCell(markup=write(values.get(metric.name))))
        rows.append(("", cells))
    drawn = table([*columns, *(HtmlColumn(name=metric.label) for metric in shown)], rows, "Metrics of the codecs")
    return f"<h3>Codecs</h3>{drawn}"


def provenance(analysis: Analysis) -> str:
    """Model, data, code and machine."""
    sweep = analysis.sweep
    environment = sweep.environment
    commit = environment.git_commit
    dirty = {True: ", with uncommitted changes", False: "", None: ""}[environment.git_dirty]
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    items = [
        ("sweep", described(sweep.name, sweep.description)),
        ("baseline arm", sweep.baseline),
        ("model", model_name(sweep.model)),
        ("model revision", sweep.model.revision),
        ("embedding matrix, SHA-256", sweep.model.matrix_sha256),
        ("training", f"{whole(sweep.training_questions or sweep.samples)} questions, {count(sweep.epochs, 'epoch')}"),
        ("thinwire", environment.thinwire),
        ("commit", f"{commit}{dirty}" if commit else None),
        ("python", environment.python),
        ("packages", packages),
        ("device", environment.device),
        ("platform", f"{environment.platform}, {environment.cpu_threads} threads of {environment.cpus} CPUs"),
        ("started", sweep.started_at),
        ("finished", sweep.finished_at),
    ]
    return section("provenance", "Where this comes from", pairs(items))
