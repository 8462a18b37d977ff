"""Load a checkpoint's tokenizer, and hold it to the model."""

from __future__ import annotations

import logging
from typing import Any

import transformers

from thinwire.data.confined import run_confined
from thinwire.data.text_tokens import added_around
from thinwire.errors import UsageError, foreign
from thinwire.model.checkpoint_files import TOKENIZER, Checkpoint
from thinwire.model.weights import OWN_FILES_ALONE

logger = logging.getLogger(__name__)

_TRIALS = [
    "a b",
    "a" * 4_000,
    " " * 2_000 + "\n" * 500 + "\t" * 500,
    "0123456789" * 200 + "!?.,;:" * 200,
    "(" * 1_000 + "\u00e9\u6f22\U0001f600" * 200,
    'One sentence, with "quotes" & <tags>, isn\'t it? ' * 60,
]
"""Texts on which a pattern that looks back and forth takes longest."""


def load_tokenizer(checkpoint: Checkpoint, name: str, config: Any) -> Any:
    """Load the tokenizer of a checkpoint whose files have been checked.

    Args:
        config: the model's configuration.

    Raises:
        UsageError: it cannot be read, takes too long, or is of a kind that is not supported.
    """
    where = f"the tokenizer of model {name}"
    file = checkpoint.folder / TOKENIZER
    if file.exists():
        run_confined(f"{where} cannot be used", "tokenize", path=str(file.resolve()), texts=_TRIALS)
    with foreign(f"{where} cannot be loaded"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.folder, config=config, **OWN_FILES_ALONE)
    tokenizer.name_or_path = name
    if not tokenizer.is_fast:
        raise UsageError(f"{where} has no {TOKENIZER}, which prompts need; convert it with transformers")
    with foreign(f"{where} fails"):
        ended = added_around(tokenizer)[1]
    if ended:
        tokens = " ".join(map(str, tokenizer.convert_ids_to_tokens(ended)))
        logger.info("the tokenizer ends every text with %s; prompts go on, so they are written without", tokens)
    return tokenizer


def check_tokenizer(tokenizer: Any, model: Any, name: str) -> None:
    """Refuse a tokenizer or end tokens beyond the model's vocabulary.

    Raises:
        UsageError: a token's id is no row of the embedding matrix.
    """
    rows = len(model.get_input_embeddings().weight)
    with foreign(f"the tokenizer of model {name} fails"):
        largest = max(tokenizer.get_vocab().values(), default=-1)
        largest = max(largest, *tokenizer.added_tokens_decoder, -1)
        ends = model.generation_config.eos_token_id
        ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    if not 0 <= largest < rows:
        raise UsageError(
            f"the tokenizer of model {name} has tokens up to number {largest:,}, but the embedding matrix has "
            f"{rows:,} rows, from 0; take both from the same checkpoint"
        )
    for end in ends:
        if not isinstance(end, int) or not 0 <= end < rows:
            raise UsageError(
                f"model {name}: eos_token_id={end!r} is no token of its {rows:,}; correct its configuration"
            )
