"""Load a checkpoint's tokenizer, and hold it to the model."""

from __future__ import annotations

import logging
from typing import Any

import transformers

from thinwire.data.chat_template import template_source
from thinwire.data.confined import Limits, run_confined
from thinwire.data.text_tokens import added_around
from thinwire.errors import UsageError, foreign
from thinwire.model.checkpoint_files import TOKENIZER, Checkpoint
from thinwire.model.weights import OWN_FILES_ALONE

logger = logging.getLogger(__name__)

_LIMITS = Limits(cpu_seconds=10, memory_bytes=4 << 30)
"""The largest tokenizers in use take 2 seconds and a gigabyte."""
_TRIALS = [
    "a b",
    "a" * 4_000,
    "".join(64 * chr(code) for code in range(32, 127)),
    " " * 2_000 + "\n" * 500 + "\t" * 500,
    "0123456789" * 200 + "!?.,;:" * 200,
    "(" * 1_000 + "\u00e9\u6f22\U0001f600" * 200,
    'One sentence, with "quotes" & <tags>, isn\'t it? ' * 60,
]
"""Texts on which a pattern that looks back and forth takes longest."""


def load_tokenizer(checkpoint: Checkpoint, name: str, config: Any, rows: int) -> Any:
    """Load the tokenizer of a checkpoint whose files have been checked.

    Args:
        config: the model's configuration.
        rows: the number of rows of the model's embedding matrix.

    Raises:
        UsageError: it cannot be read, takes too long, is of a kind that is not supported, or has tokens that are no row
            of the matrix.
    """
    where = f"the tokenizer of model {name}"
    file = checkpoint.folder / TOKENIZER
    if file.exists():
        largest = run_confined(f"{where} cannot be used", "tokenize", _LIMITS, path=str(file.resolve()), texts=_TRIALS)
        _check_largest(largest, rows, where)
    with foreign(f"{where} cannot be loaded"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.folder, config=config, **OWN_FILES_ALONE)
    if not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
        raise UsageError(f"{where} names a tokenizer_class that is no tokenizer ({type(tokenizer).__name__})")
    tokenizer.name_or_path = name
    if not tokenizer.is_fast:
        raise UsageError(f"{where} has no {TOKENIZER}, which prompts need; convert it with transformers")
    with foreign(f"{where} fails"):
        before, ended = added_around(tokenizer)
        # A class of transformers may add special tokens of its own to those of the file. They do no harm as long as
        # none of them comes into a prompt or ends an answer.
        source = template_source(tokenizer)
        beyond = {id_: token for id_, token in tokenizer.added_tokens_decoder.items() if id_ >= rows}
        used = {id_ for id_, token in beyond.items() if not token.special or str(token) in source}
        used |= {id_ for id_ in (tokenizer.eos_token_id, *before) if id_ is not None}
        plain = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False).values()
    _check_largest(max([*plain, *used], default=-1), rows, where)
    if ended:
        tokens = " ".join(map(str, tokenizer.convert_ids_to_tokens(ended)))
        logger.info("the tokenizer ends every text with %s; prompts go on, so they are written without", tokens)
    return tokenizer


def _check_largest(largest: int, rows: int, where: str) -> None:
    if not 0 <= largest < rows:
        raise UsageError(
            f"{where} has tokens up to number {largest:,}, but the embedding matrix has {rows:,} rows, from 0; take "
            "both from the same checkpoint"
        )


def check_end_tokens(model: Any, name: str) -> None:
    """Refuse end tokens beyond the model's vocabulary.

    Raises:
        UsageError: a token's number is no row of the embedding matrix.
    """
    rows, ends = len(model.get_input_embeddings().weight), model.generation_config.eos_token_id
    for end in [] if ends is None else ends if isinstance(ends, list) else [ends]:
        if type(end) is not int or not 0 <= end < rows:
            raise UsageError(
                f"model {name}: eos_token_id={end!r} is no token of its {rows:,}; correct its configuration"
            )
