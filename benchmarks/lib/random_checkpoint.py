"""A checkpoint of the default model's kind in another size, with random weights and the default model's tokenizer."""

from pathlib import Path

import torch
from training import random_model

from thinwire.config.settings import ModelConfig
from thinwire.files import replacing_folder
from thinwire.model.hub import DEFAULT_MODEL
from thinwire.model.loading import load


def write_random_checkpoint(shape: str, folder: Path) -> None:
    """Write a checkpoint of ``shape`` (``training.SHAPES``) in bfloat16 to ``folder``, unless it is there."""
    if folder.exists():
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    like = load(ModelConfig(name=DEFAULT_MODEL, device=device, dtype="bfloat16"))
    made = random_model(shape, like)
    made.model.config.eos_token_id = made.model.generation_config.eos_token_id = like.tokenizer.eos_token_id
    with replacing_folder(folder) as temporary:
        made.model.save_pretrained(temporary)
        like.tokenizer.save_pretrained(temporary)
