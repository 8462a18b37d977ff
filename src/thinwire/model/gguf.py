"""Convert GGUF files to bf16 checkpoints, once: reading a quantised file takes many times longer than a checkpoint."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import AbstractContextManager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import transformers
from gguf import GGUFReader
from tokenizers.models import Unigram

from thinwire.cache import cache_dir, make_alone
from thinwire.data.prompts import end_of_turn_id
from thinwire.errors import UsageError, foreign
from thinwire.files import replacing_folder, write_json
from thinwire.hashes import content_hash, file_hash
from thinwire.model.checkpoint_files import TOKENIZER, listed
from thinwire.model.gguf_header import check_converted, checked_header
from thinwire.model.gguf_splitting import check_splitting
from thinwire.model.quiet import quiet_transformers
from thinwire.model.safe_json import check_regular
from thinwire.model.weights import OWN_FILES_ALONE
from thinwire.reading import read_json

logger = logging.getLogger(__name__)

_UNQUANTISED = frozenset({"F64", "F32", "F16", "BF16"})
"""Tensor types of a GGUF file that hold plain floats."""


def dequantized(gguf: Path) -> Path:
    """Return the cached bf16 checkpoint folder of ``gguf``; make it if it is not there.

    A cache that has it need not be writable.

    Raises:
        UsageError: the file is no GGUF model, has what transformers passes over, or this release of transformers reads
            its tokenizer wrongly.
    """
    check_regular(gguf, str(gguf))
    made_by = {"gguf": file_hash(gguf), "transformers": transformers.__version__, "format": 4}
    folder = cache_dir() / "models" / f"{gguf.stem}-{content_hash(made_by)[:12]}"
    if folder.exists():
        return folder

    def make() -> None:
        if not folder.exists():
            logger.info("dequantising %s to bfloat16, once", gguf.name)
            with replacing_folder(folder) as temporary, quiet_transformers():
                _dequantize(gguf, temporary)
                quantisation(gguf, temporary)

    make_alone(folder.with_name(f".{folder.name}"), make)
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
    header = checked_header(gguf)
    # Newer releases keep GGUF weights packed unless told otherwise; older ones lack the class and always unpack.
    gguf_config = getattr(transformers, "GgufConfig", None)
    unpack = {"quantization_config": gguf_config(dequantize=True)} if gguf_config else {}
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name, **OWN_FILES_ALONE}
    with _reading(gguf):
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
    tokenizer.name_or_path = gguf.name
    hold_to_header(tokenizer, gguf)
    with _reading(gguf), redirect_stderr(StringIO()):  # a progress bar that nothing else hides
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            **source, dtype=torch.bfloat16, output_loading_info=True, ignore_mismatched_sizes=True, **unpack
        )
        missing = {str(key) for key in info["missing_keys"]} | {str(key[0]) for key in info["mismatched_keys"]}
    if missing:
        raise UsageError(
            f"{gguf.name} lacks tensors, or has them with another shape: {listed(missing)}; download it again"
        )
    check_converted(header, model, gguf)
    if tokenizer.chat_template:
        # The end token from a GGUF header can be wrong (transformers 5.17 reads id 1 for SmolLM2's 2).
        end_id = end_of_turn_id(tokenizer)
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end_id)
        model.config.eos_token_id = model.generation_config.eos_token_id = end_id
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    _leave_out_tokens(target / TOKENIZER, len(model.get_input_embeddings().weight))


def _leave_out_tokens(file: Path, rows: int) -> None:
    """Leave out tokens that a class of transformers added to those of the GGUF file, which has no embeddings for
    them."""
    tokenizer = read_json(file)
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] < rows]
    write_json(file, tokenizer)


def _reading(gguf: Path) -> AbstractContextManager[None]:
    """Turn the libraries' errors on an unreadable file into ``UsageError``."""
    return foreign(f"{gguf} cannot be read as a GGUF model")


def hold_to_header(tokenizer: Any, gguf: Path) -> None:
    """Set ``add_bos_token`` of ``tokenizer`` as the file's header says, which some releases of transformers do not.

    Raises:
        UsageError: transformers read the tokenizer as another kind, so that it splits words wrongly, with another
            pattern of splitting, or with a space before a text where the header says none.
    """
    fields = GGUFReader(gguf).fields
    kind, pattern, begins, spaced = (
        fields[key].contents() if key in fields else None
        for key in (
            "tokenizer.ggml.model",
            "tokenizer.ggml.pre",
            "tokenizer.ggml.add_bos_token",
            "tokenizer.ggml.add_space_prefix",
        )
    )
    if kind == "llama" and isinstance(tokenizer.backend_tokenizer.model, Unigram):
        # "llama" means byte-pair encoding; 5.17 takes the ranks of Gemma's merges for unigram probabilities.
        raise UsageError(
            f"transformers {transformers.__version__} reads the tokenizer of {gguf.name} wrongly; install 5.18 or newer"
        )
    if kind == "gpt2":  # byte-level; in other kinds the entry says nothing
        check_splitting(tokenizer, pattern, gguf.name)
    if spaced is not None and spaced != _adds_a_space(tokenizer):
        raise UsageError(
            f"{gguf.name} says that its tokenizer {'puts a' if spaced else 'puts no'} space before a text "
            "(tokenizer.ggml.add_space_prefix), but transformers reads it otherwise; use the checkpoint from which the "
            "file was made"
        )
    beginning = tokenizer.bos_token_id
    if begins and beginning is not None and tokenizer("a")["input_ids"][0] != beginning:
        tokenizer.add_bos_token = True  # transformers 5.18 to 5.22 do not set it for Gemma


def _adds_a_space(tokenizer: Any) -> bool:
    """Return whether ``tokenizer`` puts a space before a text."""
    first = tokenizer.convert_ids_to_tokens(tokenizer("a", add_special_tokens=False)["input_ids"])[0]
    return str(first).startswith(("\u2581", "\u0120"))  # SentencePiece's and byte-level tokenizers' space
