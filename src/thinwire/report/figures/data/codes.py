"""How well embeddings are rebuilt by token frequency, and the bits that each form of a token takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thinwire.report.analysis_record import Analysis, WireSize


@dataclass(frozen=True)
class Bucket:
    """Tokens that are about as frequent."""

    occurrences: str
    share: float | None
    """Of all tokens in the training prompts."""
    cosines: tuple[float | None, float | None]
    """Of rebuilt and true embeddings: the codec alone, and with the adapter that the arms start from."""


def buckets(series: Mapping[str, Any]) -> list[Bucket]:
    """Buckets of tokens, the rarest first; none where reconstruction was not measured."""
    return [
        Bucket(str(found["bucket"]), found["share_of_tokens"], (found["linear_cosine"], found["start_cosine"]))
        for found in series["frequency"] or []
    ]


def wire_forms(analysis: Analysis) -> list[WireSize]:
    """Forms of a token, most bits first."""
    found = analysis.bytes.wire_bits if analysis.bytes else ()
    return sorted(found, key=lambda form: -form.bits)
