"""The registry of codecs. To add a codec, write its module and add one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, create_model

from thinwire.codecs.autoencoder import AutoencoderCodec
from thinwire.codecs.base import Codec
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.quantized_embeddings import QuantizedEmbeddingsCodec
from thinwire.codecs.quantized_pca import QuantizedPCACodec
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.vq import VQCodec
from thinwire.errors import UsageError
from thinwire.schema import nearest

CODECS: dict[str, type[Codec]] = {
    "pca": PCACodec,
    "quantized_pca": QuantizedPCACodec,
    "quantized_embeddings": QuantizedEmbeddingsCodec,
    "vq": VQCodec,
    "autoencoder": AutoencoderCodec,
}
"""Codec classes by ``codec.kind``."""


def _known_kind(kind: str) -> str:
    if kind not in CODECS:
        raise UsageError(f"{kind!r} is no codec{nearest(kind, CODECS)}; there are: {', '.join(CODECS)}")
    return kind


if TYPE_CHECKING:
    AnyCodecConfig = CodecConfig
else:
    # ``codec`` has a group for each kind with settings of its own: ``codec.vq.codebook_size``.
    AnyCodecConfig = create_model(
        "AnyCodecConfig",
        __base__=CodecConfig,
        __doc__=CodecConfig.__doc__,
        kind=(
            Annotated[str, AfterValidator(_known_kind)],
            Field(default="pca", description=f"One of {', '.join(f'``{kind}``' for kind in CODECS)}."),
        ),
        **{kind: (codec.Settings, codec.Settings()) for kind, codec in CODECS.items() if codec.Settings},
    )


def codec_class(config: CodecConfig) -> type[Codec]:
    """Return the codec class that ``config`` selects.

    Raises:
        UsageError: there is no such kind; the message lists the valid ones.
    """
    if config.kind not in CODECS:
        raise UsageError(f"codec.kind={config.kind!r} is no codec; there are: {', '.join(CODECS)}")
    return CODECS[config.kind]
