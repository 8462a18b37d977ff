"""The codecs of a sweep, and what their codes take: in the place of the embedding matrix, and on a wire.

Integer codes are counted packed, at the bits that they need; float codes at the size of the model's own numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from thinwire.report import compare
from thinwire.report.analysis_record import TOKEN_ID, CodecSummary, CompressionSizes, WireSize
from thinwire.results.arm_record import ArmRecord, CodecMetric, CodecRecord
from thinwire.results.read import Results
from thinwire.results.sweep_header import SweepModel


def shown_metrics(codecs: Sequence[CodecSummary]) -> list[CodecMetric]:
    """Return each metric that any of the codecs has, once, in the order of a table."""
    found: dict[str, CodecMetric] = {}
    for metric in (metric for codec in codecs for metric in codec.metrics):
        found.setdefault(metric.name, metric)
    return list(found.values())


def keeps_all_numbers(codec: CodecRecord | CodecSummary, model: SweepModel) -> bool:
    """Return whether codes are as wide as embeddings and not rounded, so that nothing is compressed."""
    return codec.code_bits is None and codec.code_width >= model.embedding_width


def codecs(results: Results) -> tuple[CodecSummary, ...]:
    """Return each codec of the sweep once, with the arms and controls that use it; none where the input is text."""
    used_by: dict[CodecRecord, list[str]] = {}
    for name, runs in results.groups.items():
        for codec in (run.record.done.codec for run in runs):
            if codec is not None:
                # Arms with the same codec keep more of it, or less, and older records lack its hash.
                names = used_by.setdefault(codec.model_copy(update={"num_bytes": 0, "sha256": None}), [])
                names += [] if name in names else [name]
    return tuple(
        CodecSummary(
            arms=tuple(names),
            label=codec.label,
            code_width=codec.code_width,
            code_bits=codec.code_bits,
            metrics=codec.metrics,
            warnings=codec.warnings,
        )
        for codec, names in used_by.items()
    )


def sizes(results: Results, best: str) -> CompressionSizes | None:
    """Return what the compression takes, for the best arm's codec; None where no arm has one."""
    arms = [results.arms[name][0].record for name in (best, *results.arms)]
    record = next((record for record in arms if record.done.codec), None)  # the first that has one
    if record is None or record.done.codec is None:
        return None
    model, codec = results.sweep.model, record.done.codec
    id_bits = math.ceil(math.log2(model.vocabulary))
    forms: dict[str, int | float] = {
        **_forms(codec.code_width, codec.code_bits),
        TOKEN_ID: id_bits,
        "UTF-8 text": model.text_bits_per_token,
    }
    parts = _matrix_parts(model, record)
    return CompressionSizes(
        arm=record.arm,
        vocabulary=model.vocabulary,
        embedding_width=model.embedding_width,
        code_width=codec.code_width,
        matrix_bytes_original=model.vocabulary * model.embedding_width * model.bytes_per_number,
        **{f"matrix_bytes_{part}": taken for part, taken in parts.items()},
        matrix_bytes_total=sum(parts.values()),
        wire_bits=tuple(WireSize(form=name, bits=bits, larger_than_id=bits > id_bits) for name, bits in forms.items()),
    )


def matrix_bytes(model: SweepModel, record: ArmRecord) -> int | None:
    """Bytes in the place of an arm's or control's embedding matrix; None where the input is text, so the matrix."""
    return sum(_matrix_parts(model, record).values()) or None


def bits_of_code(model: SweepModel, codec: CodecRecord) -> int:
    """Bits that the code of one token takes."""
    return compare.code_bits(model.bytes_per_number, codec.code_width, codec.code_bits)


def _matrix_parts(model: SweepModel, record: ArmRecord) -> dict[str, int]:
    codec = record.done.codec
    if codec is None:
        return {}
    return {
        "codes": math.ceil(model.vocabulary * bits_of_code(model, codec) / 8),
        "adapter": record.done.trainable_parameters.adapter * 4,
        "codec": codec.num_bytes,
    }


def _forms(code_width: int, code_bits: int | None) -> dict[str, int]:
    """Ways of sending a code and their bits: floats might be rounded, integers are what they are."""
    if code_bits is None:
        types = {"float32": 32, "bf16": 16, "int8": 8, "int4": 4}
        return {f"{name} code": bits * code_width for name, bits in types.items()}
    return {f"code, {code_width} x {code_bits / code_width:.4g} bits": code_bits}
