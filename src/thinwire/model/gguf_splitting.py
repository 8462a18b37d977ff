"""Check that a GGUF file's tokenizer splits a text, before it merges bytes, as the file says.

``tokenizer.ggml.pre`` names a pattern of llama.cpp. transformers takes the pattern of the architecture's usual
tokenizer where it does not know the name, older releases always. Numbers, for example, are then merged otherwise than
in the model's training, which no error shows.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import transformers
from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as InTurn

from thinwire.errors import UsageError

logger = logging.getLogger(__name__)

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_SINGLE_DIGITS = (r"\p{N}", _GPT2)

_PATTERNS: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais"), (_GPT2,)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), _SINGLE_DIGITS),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe"), (_LLAMA3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), (_QWEN2,)),
}
"""Patterns by their names in llama.cpp (``src/llama-vocab.cpp``), each applied to what those before it left.

transformers has some of them too; they stand here because it is transformers that they check.
"""

_PROBE = (
    "In 1969, Apollo 11's crew (3 people) travelled 384400 km; they'LL say it cost $25.4bn!\n\n"
    "  def run(x1):\n\treturn x1**10 # na\u00efve \u00dcnicode \u4e2d\u6587 1234567\r\n"
)


def check_splitting(tokenizer: Any, name: str | None, file_name: str) -> None:
    """Refuse a byte-level ``tokenizer`` that splits a text otherwise than the pattern ``name``.

    A pattern that is not known here cannot be checked, which is logged as a warning.

    Args:
        tokenizer: as transformers made it.
        name: ``tokenizer.ggml.pre``; None, and llama.cpp's ``default``, name no pattern.

    Raises:
        UsageError: a text has other tokens than it should have.
    """
    if name in (None, "default"):
        return
    if name not in _PATTERNS:
        logger.warning("%s splits texts by %r (tokenizer.ggml.pre), which cannot be checked", file_name, name)
        return
    backend: Tokenizer = tokenizer.backend_tokenizer
    if backend.encode(_PROBE, add_special_tokens=False).ids != _expected(backend, _PATTERNS[name]):
        raise UsageError(
            f"{file_name} says that its tokenizer splits texts by {name!r} (tokenizer.ggml.pre), but transformers "
            f"{transformers.__version__} reads it otherwise; install a newer release, or use the checkpoint from which "
            "the file was made"
        )


def _expected(backend: Tokenizer, patterns: Sequence[str]) -> list[int]:
    """Return the ids of the probe, split by ``patterns``."""
    splits = [Split(Regex(pattern), behavior="isolated") for pattern in patterns]
    pieces = InTurn([*splits, ByteLevel(add_prefix_space=False, use_regex=False)]).pre_tokenize_str(_PROBE)
    return [token.id for piece, _ in pieces for token in backend.model.tokenize(piece)]
