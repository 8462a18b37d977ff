"""Save the trained parameters of an arm: adapter and LoRA factors, never the frozen model."""

from __future__ import annotations

from pathlib import Path

from thinwire.adapter.input_embeddings import AdapterEmbeddings, InputEmbeddings
from thinwire.files import make_folder
from thinwire.model.lora import StackedLora
from thinwire.results.arm_record import TrainableParameters
from thinwire.tensor_files import save_tensors

ADAPTER_FILE = "adapter.safetensors"
LORA_FOLDER = "lora"


def save_checkpoint(folder: Path, inputs: InputEmbeddings, lora: StackedLora | None, arm: int) -> None:
    """Save the trained parameters of arm number ``arm`` of ``lora``. The codec, shared by arms, is saved with the
    sweep."""
    make_folder(folder)
    if isinstance(inputs, AdapterEmbeddings):
        save_tensors(folder / ADAPTER_FILE, dict(inputs.adapter.named_parameters()))
    if lora is not None and lora.factors(arm):
        lora.save(arm, folder / LORA_FOLDER)


def trainable_parameters(inputs: InputEmbeddings, lora: StackedLora | None, arm: int) -> TrainableParameters:
    """Count the trainable parameters by part."""
    return TrainableParameters(
        adapter=sum(p.numel() for p in inputs.parameters()),
        lora=lora.num_parameters(arm) if lora else 0,
    )
