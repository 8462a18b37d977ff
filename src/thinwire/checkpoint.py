"""What an arm learned, on disk: the adapter and LoRA factors, never the frozen model."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file

from thinwire.adapter import Adapter
from thinwire.codecs import codec_class
from thinwire.config import ArmConfig
from thinwire.determinism import generator
from thinwire.errors import ThinwireError
from thinwire.lora import StackedLora
from thinwire.model import LanguageModel
from thinwire.reader import AdapterReader, CodecReader, Reader

ADAPTER_FILE = "adapter.safetensors"
LORA_FOLDER = "lora"


def save_checkpoint(folder: Path, reader: Reader, lora: StackedLora | None, arm: int) -> None:
    """Write what arm number ``arm`` of ``lora`` trained. The codec, which arms share, is saved beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(reader, AdapterReader):
        save_file({name: p.detach().cpu() for name, p in reader.adapter.named_parameters()}, folder / ADAPTER_FILE)
    if lora is not None and lora.factors(arm):
        lora.save(arm, folder / LORA_FOLDER)


def load_reader(lm: LanguageModel, arm: ArmConfig, folder: Path, codec_file: Path) -> Reader:
    """The reader that ``save_checkpoint`` saved, on the model's device."""
    if arm.reads == "text":
        return Reader(lm.table)
    if not codec_file.exists():
        raise ThinwireError(f"the arm reads codes, but its codec {codec_file} is missing; copy the whole run folder")
    codec = codec_class(arm.codec).load(codec_file).to(lm.device)
    codes = codec.encode(lm.table)
    if arm.reads == "codec":
        return CodecReader(codes, codec)
    adapter = Adapter(codec, arm.adapter, generator("cpu", 0))  # every initial value is replaced by the next line
    adapter.load_state_dict(load_file(folder / ADAPTER_FILE))
    return AdapterReader(codes, codec, adapter.to(lm.device))


def trainable_parameters(reader: Reader, lora: StackedLora | None, arm: int) -> dict[str, int]:
    """Numbers of trained parameters, by part."""
    return {
        "adapter": sum(p.numel() for p in reader.parameters()),
        "lora": lora.num_parameters(arm) if lora else 0,
    }
