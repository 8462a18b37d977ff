"""Convert GGUF files to bf16 checkpoints, once: reading a quantised file takes many times longer than a checkpoint."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from gguf import GGUFReader
from tokenizers.models import Unigram

from thinwire.cache import cache_dir, locked
from thinwire.data.prompts import end_of_turn_id
from thinwire.errors import UsageError, summary
from thinwire.files import content_hash, file_hash, replacing_folder, write_json
from thinwire.model.quiet import quiet_transformers
from thinwire.reading import read_json

logger = logging.getLogger(__name__)

_UNQUANTISED = frozenset({"F64", "F32", "F16", "BF16"})
"""Tensor types of a GGUF file that hold plain floats."""


def dequantized(gguf: Path) -> Path:
    """Return the cached bf16 checkpoint folder of ``gguf``; make it if it is not there.

    Raises:
        UsageError: the file is no GGUF model, or this release of transformers reads its tokenizer wrongly.
    """
    made_by = {"gguf": file_hash(gguf), "transformers": transformers.__version__, "format": 2}
    folder = cache_dir() / "models" / f"{gguf.stem}-{content_hash(made_by)[:12]}"
    if folder.exists():  # without the lock, so that a cache need not be writable to be read
        return folder
    with locked(folder.with_name(f".{folder.name}")):
        if not folder.exists():
            logger.info("dequantising %s to bfloat16, once", gguf.name)
            with replacing_folder(folder) as temporary, quiet_transformers():
                _dequantize(gguf, temporary)
    return folder


def quantisation(gguf: Path, checkpoint: Path) -> str | None:
    """Return how ``gguf`` stores most of its weights, such as ``Q4_1``; None if they are plain floats.

    Reading the header takes seconds, because it holds the vocabulary, so the answer is kept in ``checkpoint``, the
    folder that ``dequantized`` returned.

    Raises:
        UsageError: the file is no GGUF model.
    """
    kept = checkpoint / "gguf_quantisation.json"
    if not kept.exists():
        write_json(kept, _main_tensor_type(gguf))
    found: str = read_json(kept)
    return None if found in _UNQUANTISED else found


def _main_tensor_type(gguf: Path) -> str:
    """Return the name of the type that holds the most numbers."""
    with _reading(gguf):
        numbers: Counter[str] = Counter()
        for tensor in GGUFReader(gguf).tensors:
            numbers[tensor.tensor_type.name] += int(tensor.n_elements)
    return max(numbers, key=lambda name: numbers[name], default="F32")


def _dequantize(gguf: Path, target: Path) -> None:
    """Write model and tokenizer of ``gguf`` to the folder ``target``, in bfloat16."""
    # Newer releases keep GGUF weights packed unless told otherwise; older ones lack the class and always unpack.
    gguf_config = getattr(transformers, "GgufConfig", None)
    unpack = {"quantization_config": gguf_config(dequantize=True)} if gguf_config else {}
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    with _reading(gguf):
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
    hold_to_header(tokenizer, gguf)
    with _reading(gguf):
        model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16, **unpack)
    if tokenizer.chat_template:
        # The end token from a GGUF header can be wrong (transformers 5.17 reads id 1 for SmolLM2's 2).
        end_id = end_of_turn_id(tokenizer)
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end_id)
        model.config.eos_token_id = model.generation_config.eos_token_id = end_id
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


@contextmanager
def _reading(gguf: Path) -> Iterator[None]:
    """Turn the library's errors on an unreadable file into ``UsageError``."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(f"{gguf} cannot be read as a GGUF model ({summary(error)})") from error


def hold_to_header(tokenizer: Any, gguf: Path) -> None:
    """Set ``add_bos_token`` of ``tokenizer`` as the file's header says, which some releases of transformers do not.

    Raises:
        UsageError: transformers read the tokenizer as another kind, so that it splits words wrongly.
    """
    fields = GGUFReader(gguf).fields
    kind, begins = (
        fields[key].contents() if key in fields else None
        for key in ("tokenizer.ggml.model", "tokenizer.ggml.add_bos_token")
    )
    if kind == "llama" and isinstance(tokenizer.backend_tokenizer.model, Unigram):
        # "llama" means byte-pair encoding; 5.17 takes the ranks of Gemma's merges for unigram probabilities.
        raise UsageError(
            f"transformers {transformers.__version__} reads the tokenizer of {gguf.name} wrongly; install 5.18 or newer"
        )
    beginning = tokenizer.bos_token_id
    if begins and beginning is not None and tokenizer("a")["input_ids"][0] != beginning:
        tokenizer.add_bos_token = True  # transformers 5.18 to 5.22 do not set it for Gemma
