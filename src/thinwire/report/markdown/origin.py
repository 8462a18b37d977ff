"""Where a sweep's results come from, in Markdown: model, data, software, codec and time."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.report.analysis_record import Analysis
from thinwire.report.caveats import described, model_name
from thinwire.report.markdown.tables import line, percent
from thinwire.report.summary import commit
from thinwire.results.arm_record import CodecMetric
from thinwire.stats.words import count


def origin(record: Analysis) -> str:
    """Write where the results come from as a table: sweep, device, software, model, data, codec, bytes and time."""
    environment = record.sweep.environment
    packages = environment.packages
    versions = [f"{name} {packages[name]}" for name in ("torch", "transformers", "peft") if name in packages]
    versions.append(f"Python {environment.python}")
    pairs = {
        "sweep": described(f"`{record.sweep.name}`", record.sweep.description),
        "device": environment.device,
        "software": f"thinwire {environment.thinwire}, commit {commit(environment)}; {', '.join(versions)}",
        "model": model_in_words(record),
        "data": data_in_words(record),
        **_compression(record),
        "time": date(record) + _duration(record.sweep.seconds),
    }
    return "\n".join(["| | |", line(["---", "---"]), *map(line, pairs.items())])


def model_in_words(record: Analysis) -> str:
    """Name the model and the beginning of its revision."""
    return f"{model_name(record.sweep.model)}, revision `{record.sweep.model.revision[:12]}`"


def data_in_words(record: Analysis) -> str:
    """Write the numbers of questions, epochs and seeds."""
    sweep = record.sweep
    seeds = _numbers([row.num_seeds for row in record.rows if row.params != 0])  # what trains nothing has one
    return (
        f"{sweep.samples:,} training questions x {count(sweep.epochs, 'epoch')}; "
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
        metrics = [f"{metric.label} {codec_metric(metric)}" for metric in codec.metrics]
        found["codec"] = ", ".join([codec.label, f"{codec.code_size} a token", *metrics])
    if sizes := record.bytes:
        whose = f" ({sizes.arm})" if len(record.codecs) > 1 else ""
        found[f"bytes{whose}"] = (
            f"codes {_megabytes(sizes.matrix_bytes_codes)}, adapter {_megabytes(sizes.matrix_bytes_adapter)}, codec "
            f"{_megabytes(sizes.matrix_bytes_codec)}; the embedding matrix took "
            f"{_megabytes(sizes.matrix_bytes_original)}"
        )
        found[f"bits a token{whose}"] = ", ".join(f"{one.form} {bits(one.bits)}" for one in sizes.wire_bits)
    return found


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def bits(number: float) -> str:
    """Write a number of bits; a mean has one decimal."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.1f}"


def date(record: Analysis) -> str:
    """Write the day on which the sweep began: ``2026-01-31``."""
    return record.sweep.started_at.split("T")[0]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f", {f'{hours} h {minutes} min' if hours else f'{minutes} min {rest} s'} from start to end"


def codec_metric(metric: CodecMetric) -> str:
    """Write a codec's metric in its unit."""
    return f"{metric.value:,.0f}" if metric.unit == "entries" else percent(metric.value)
