"""Write an arm as an ordinary checkpoint folder of transformers, without extra cost at inference.

An arm's input embedding depends only on the token, so it is written as the model's embedding matrix; LoRA factors are
added to the weights. Codec and adapter are not needed any more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thinwire.export.prepared import PreparedArm, folded, generation_config
from thinwire.model.quiet import quiet_transformers

_OF_THIS_MACHINE = ("is_local", "local_files_only", "name_or_path")
"""Entries that transformers adds to a tokenizer's settings and that say how it was loaded."""


def write_transformers(prepared: PreparedArm, folder: Path) -> None:
    """Write model, tokenizer, chat template and settings of generation into ``folder``."""
    model = folded(prepared)
    settings = generation_config(prepared)
    model.generation_config = settings
    # Other programs take the end tokens from here.
    model.config.get_text_config().eos_token_id = model.config.eos_token_id = settings.eos_token_id
    with quiet_transformers():
        model.save_pretrained(folder)
    write_tokenizer(prepared.lm.tokenizer, folder)


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer and its chat template into ``folder``."""
    for name in _OF_THIS_MACHINE:
        tokenizer.init_kwargs.pop(name, None)
    with quiet_transformers():
        tokenizer.save_pretrained(folder)
