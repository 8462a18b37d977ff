"""Folding an arm into an ordinary checkpoint that any transformers program loads, at no cost in inference.

What an arm's model reads is a function of the token alone, so it is a table of embeddings; LoRA factors add to the
weights. The codec and the adapter disappear.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from thinwire.dequantize import quiet_transformers
from thinwire.errors import UsageError
from thinwire.finished import FinishedArm, opened


def export(arm: FinishedArm, target: Path) -> None:
    """Write ``arm`` as a checkpoint folder: embeddings replaced, untied from the output head, LoRA merged. An arm that
    was trained over quantised weights is merged into those that they were made of.

    Raises:
        UsageError: ``target`` exists.
    """
    if target.exists():
        raise UsageError(f"{target} exists, and nothing is overwritten; choose another folder")
    lm, reader = opened(replace(arm, model=arm.model.model_copy(update={"base_bits": None})))
    model, table = lm.model, reader.table(lm.dtype)
    head = model.get_output_embeddings()
    with torch.no_grad():
        # A tied head shares memory with the embeddings: it keeps a copy of its own before they change.
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        weight = lm.embedding_weights(table).clone()
        model.get_input_embeddings().weight = torch.nn.Parameter(weight, requires_grad=False)
    model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = False
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary, quiet_transformers():
        model.save_pretrained(Path(temporary) / "checkpoint")
        lm.tokenizer.save_pretrained(Path(temporary) / "checkpoint")
        (Path(temporary) / "checkpoint").rename(target)
