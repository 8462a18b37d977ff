"""Compressions of the embedding table, one a file."""

from thinwire.codecs.base import Codec
from thinwire.codecs.pca import PCACodec
from thinwire.errors import UsageError

__all__ = ["CODECS", "Codec", "PCACodec", "codec_class"]

CODECS: dict[str, type[Codec]] = {"pca": PCACodec}


def codec_class(kind: str) -> type[Codec]:
    """The codec called ``kind``; the error for an unknown name lists the valid ones."""
    if kind not in CODECS:
        raise UsageError(f"codec.kind={kind!r} is no codec; there are: {', '.join(CODECS)}")
    return CODECS[kind]
