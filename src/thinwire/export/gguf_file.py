"""Write an arm as a GGUF file for llama.cpp, from the GGUF file that its model was read from.

The base file gives the description of the architecture, the tokenizer and the chat template; the numbers are those of
the arm's model, as floats of its own type. So it is for models that were read from a GGUF file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from thinwire.errors import UsageError
from thinwire.export.gguf_layout import GgufLayout, check_layout
from thinwire.export.origin import Origin
from thinwire.export.prepared import PreparedArm, folded
from thinwire.model.loading import gguf_file

_TYPES = {
    torch.float32: (gguf.GGMLQuantizationType.F32, gguf.LlamaFileType.ALL_F32),
    torch.bfloat16: (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    torch.float16: (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
}
_REPLACED = (
    *("general.architecture", "general.name", "general.finetune", "general.file_type"),
    *("general.quantization_version", "general.description"),
)
"""Entries that are not taken over from the base file."""
_END, _END_OF_TURN = "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"


def base_gguf(model: str) -> Path:
    """Return the GGUF file of the model of this name.

    Raises:
        UsageError: the model was read from something else.
    """
    found = gguf_file(model)
    if found is None:
        raise UsageError(
            f"--format gguf takes tokenizer and header from the model's own GGUF file, and {model} is none; "
            "take --format transformers and convert that folder with llama.cpp's convert_hf_to_gguf.py"
        )
    return found


def write_gguf(prepared: PreparedArm, origin: Origin, folder: Path) -> Path:
    """Write the arm into ``folder``, as one file named after it and the type of its numbers; return the file.

    Raises:
        UsageError: the model was not read from a GGUF file, or the layout of a tensor in it is not known.
    """
    base = base_gguf(prepared.lm.name)
    reader = gguf.GGUFReader(base)
    architecture = str(reader.fields["general.architecture"].contents())
    layout = GgufLayout(prepared.lm.model, architecture)
    stored = {tensor.name: tensor for tensor in reader.tensors}
    check_layout(layout, prepared.lm.model, stored, base.name)
    kind, file_type = _TYPES[prepared.lm.dtype]
    file = folder / f"{prepared.arm.record.name}-{kind.name}.gguf"
    writer = gguf.GGUFWriter(file, architecture)
    _add_entries(writer, reader, prepared, origin)
    writer.add_file_type(int(file_type))
    tensors = {layout.name(name): tensor for name, tensor in folded(prepared).named_parameters()}
    # llama.cpp takes norms and biases in float32 only.
    types = {name: kind if tensor.ndim > 1 else gguf.GGMLQuantizationType.F32 for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        num_bytes = tensor.numel() * (4 if types[name] == gguf.GGMLQuantizationType.F32 else 2)
        writer.add_tensor_info(name, tuple(tensor.shape), np.dtype(np.float32), num_bytes, types[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, tensor in tensors.items():  # one after the other, so that one copy is held at a time
        writer.write_tensor_data(gguf.quants.quantize(layout.values(name, tensor), types[name]))
    writer.close()
    return file


def _add_entries(writer: Any, reader: Any, prepared: PreparedArm, origin: Origin) -> None:
    """Add the entries of the base file's header, with the arm's name and end tokens."""
    ends = prepared.end_ids
    # Of more than two end tokens, llama.cpp has a name for no other.
    changed = {_END: ends[0], **({_END_OF_TURN: ends[1]} if len(ends) > 1 else {})}
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in _REPLACED or name in changed:
            continue
        of_array = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type=of_array)
    for name, token in changed.items():
        writer.add_uint32(name, token)
    record = prepared.arm.record
    writer.add_name(f"{origin.name} {record.name}")
    writer.add_description(f"exported by thinwire; trained by thinwire {record.environment.thinwire}")
