"""What an arm learned, on disk: the adapter and LoRA factors, never the frozen model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from thinwire import lora as lora_module
from thinwire.adapter import Adapter
from thinwire.codecs import codec_class
from thinwire.config import ArmConfig
from thinwire.determinism import generator
from thinwire.errors import ThinwireError
from thinwire.lora import AttachedLora
from thinwire.model import LanguageModel
from thinwire.reader import AdapterReader, CodecReader, Reader

ADAPTER_FILE = "adapter.safetensors"
CODEC_FILE = "codec.safetensors"
LORA_FOLDER = "lora"


def save_checkpoint(folder: Path, reader: Reader, lora: AttachedLora | None) -> None:
    """Write what was trained. The codec is shared by all arms of a sweep and saved beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(reader, AdapterReader):
        save_file({name: p.detach().cpu() for name, p in reader.adapter.named_parameters()}, folder / ADAPTER_FILE)
    if lora is not None:
        lora.save(folder / LORA_FOLDER)


def load_reader(lm: LanguageModel, arm: ArmConfig, folder: Path, codec_file: Path) -> Reader:
    """The reader that ``save_checkpoint`` saved, on the model's device."""
    if arm.reads == "text":
        return Reader(lm.table)
    if not codec_file.exists():
        raise ThinwireError(f"the arm reads codes, but its codec {codec_file} is missing; copy the whole run folder")
    codec = codec_class(arm.codec.kind).load(codec_file).to(lm.device)
    codes = codec.encode(lm.table)
    if arm.reads == "codec":
        return CodecReader(codes, codec)
    adapter = Adapter(codec, arm.adapter, generator("cpu", 0))  # every initial value is replaced by the next line
    adapter.load_state_dict(load_file(folder / ADAPTER_FILE))
    return AdapterReader(codes, adapter.to(lm.device))


@contextmanager
def loaded_lora(lm: LanguageModel, folder: Path) -> Iterator[AttachedLora | None]:
    """The checkpoint's LoRA factors, attached for the length of the block; None where the arm has none."""
    if not (folder / LORA_FOLDER).exists():
        yield None
        return
    with lora_module.loaded(lm.model, folder / LORA_FOLDER) as lora:
        yield lora


@torch.no_grad()
def trainable_parameters(reader: Reader, lora: AttachedLora | None) -> dict[str, int]:
    """Numbers of trained parameters, by part."""
    return {
        "adapter": sum(p.numel() for p in reader.parameters()),
        "lora": sum(p.numel() for p in lora.parameters()) if lora else 0,
    }
