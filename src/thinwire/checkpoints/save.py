"""Save the trained parameters of an arm: adapter and LoRA factors, never the frozen model."""

from __future__ import annotations

from pathlib import Path

from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.input_embeddings import AdapterEmbeddings, InputEmbeddings
from thinwire.config.experiment import ArmConfig
from thinwire.files import make_folder
from thinwire.model.lora import StackedLora
from thinwire.model.lora_peft import CONFIG_FILE, FACTORS_FILE
from thinwire.results.arm_record import TrainableParameters
from thinwire.results.tensor_file import write_tensors

ADAPTER_FILE = "adapter.safetensors"
ENCODER_FILE = "block_encoder.safetensors"
LORA_FOLDER = "lora"


def save_checkpoint(folder: Path, inputs: InputEmbeddings, lora: StackedLora | None, arm: int) -> None:
    """Save the trained parameters of arm number ``arm`` of ``lora``. The codec, shared by arms, is saved with the
    sweep."""
    make_folder(folder)
    if isinstance(inputs, AdapterEmbeddings):
        write_tensors(folder / ADAPTER_FILE, dict(inputs.adapter.named_parameters()))
    elif isinstance(inputs, BlockEmbeddings) and (encoder := inputs.encoder.saved()):
        write_tensors(folder / ENCODER_FILE, encoder)
    if lora is not None and lora.factors(arm):
        lora.save(arm, folder / LORA_FOLDER)


def is_saved(config: ArmConfig) -> bool:
    """Whether an arm of these settings leaves a checkpoint: it learns, or has an adapter or LoRA from its start."""
    starts_from = config.lora.rank > 0 and config.lora.start_from is not None
    return config.learns or config.has_trained_input or starts_from


def checkpoint_files(config: ArmConfig) -> frozenset[str]:
    """Return the files that an arm of these settings leaves, by path in its checkpoint."""
    if not is_saved(config):
        return frozenset()
    file = ENCODER_FILE if config.input == "blocks" else ADAPTER_FILE
    trained = {file} if config.has_trained_input else set()
    lora = {f"{LORA_FOLDER}/{name}" for name in (CONFIG_FILE, FACTORS_FILE)} if config.lora.rank > 0 else set()
    return frozenset(trained | lora)


def trainable_parameters(inputs: InputEmbeddings, lora: StackedLora | None, arm: int) -> TrainableParameters:
    """Count the trainable parameters by part."""
    return TrainableParameters(
        adapter=sum(p.numel() for p in inputs.parameters()),
        lora=lora.num_parameters(arm) if lora else 0,
    )
