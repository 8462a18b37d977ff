"""Compressions of the embedding table, one a file."""

from thinwire.codecs.autoencoder import AutoencoderCodec
from thinwire.codecs.base import Codec
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.quantize import QuantizedPCACodec
from thinwire.codecs.vq import VQCodec
from thinwire.config import CodecConfig
from thinwire.errors import UsageError

__all__ = ["CODECS", "AutoencoderCodec", "Codec", "PCACodec", "QuantizedPCACodec", "VQCodec", "codec_class"]

CODECS: dict[str, type[Codec]] = {"pca": PCACodec, "vq": VQCodec, "autoencoder": AutoencoderCodec}


def codec_class(config: CodecConfig) -> type[Codec]:
    """The codec that ``config`` asks for; the error for an unknown kind lists the valid ones."""
    if config.kind not in CODECS:
        raise UsageError(f"codec.kind={config.kind!r} is no codec; there are: {', '.join(CODECS)}")
    return QuantizedPCACodec if config.bits else CODECS[config.kind]
