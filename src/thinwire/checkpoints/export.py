"""Export an arm as an ordinary checkpoint that transformers loads, without extra cost at inference.

An arm's input embedding depends only on the token, so it is written as the model's embedding matrix; LoRA factors are
added to the weights. Codec and adapter are not needed any more.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from thinwire.checkpoints.load import FinishedArm, load_arm
from thinwire.errors import UsageError
from thinwire.files import replacing_folder
from thinwire.model.quiet import quiet_transformers


def export(arm: FinishedArm, target: Path) -> None:
    """Write ``arm`` as a checkpoint folder: embeddings replaced and untied from the output head, LoRA merged.

    An arm trained over quantised weights is merged into the original ones.

    Raises:
        UsageError: ``target`` exists.
        StorageError: it cannot be written; nothing is left.
    """
    if target.exists():
        raise UsageError(f"{target} exists, and nothing is overwritten; choose another folder")
    lm, inputs = load_arm(replace(arm, model=arm.model.model_copy(update={"base_bits": None})))
    model, matrix = lm.model, inputs.matrix(lm.dtype)
    head = model.get_output_embeddings()
    with torch.no_grad():
        # A tied head shares memory with the embeddings: copy it before they change.
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        weight = lm.embedding_weights(matrix).clone()
        model.get_input_embeddings().weight = torch.nn.Parameter(weight, requires_grad=False)
    model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = False
    with replacing_folder(target) as temporary, quiet_transformers():
        model.save_pretrained(temporary)
        lm.tokenizer.save_pretrained(temporary)
