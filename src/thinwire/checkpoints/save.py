"""Save the trained parameters of an arm: adapter and LoRA factors, never the frozen model."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from thinwire.adapter.input_embeddings import AdapterEmbeddings, InputEmbeddings
from thinwire.model.lora import StackedLora
from thinwire.results.arm_record import TrainableParameters

ADAPTER_FILE = "adapter.safetensors"
LORA_FOLDER = "lora"


def save_checkpoint(folder: Path, inputs: InputEmbeddings, lora: StackedLora | None, arm: int) -> None:
    """Save the trained parameters of arm number ``arm`` of ``lora``. The codec, shared by arms, is saved with the
    sweep."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(inputs, AdapterEmbeddings):
        save_file({name: p.detach().cpu() for name, p in inputs.adapter.named_parameters()}, folder / ADAPTER_FILE)
    if lora is not None and lora.factors(arm):
        lora.save(arm, folder / LORA_FOLDER)


def trainable_parameters(inputs: InputEmbeddings, lora: StackedLora | None, arm: int) -> TrainableParameters:
    """Count the trainable parameters by part."""
    return TrainableParameters(
        adapter=sum(p.numel() for p in inputs.parameters()),
        lora=lora.num_parameters(arm) if lora else 0,
    )
