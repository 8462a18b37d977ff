"""Tiny models on disk, and ways to change their files: settings, weights, tokenizers, GGUF headers."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFWriter, TokenType
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers

from thinwire.model.quiet import quiet_transformers
from tiny_models import CHAT_TEMPLATE, EOS_ID, SPECIAL, save_tiny, tiny_llama, tiny_tokenizer

CONFIG, WEIGHTS, INDEX, TOKENIZER = "config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 3\n"


def settings(file, **changes):
    """Return a change that sets keys of a JSON file; None as a value removes the key."""

    def change(folder):
        found = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
        found = {**found, **changes}
        kept = {key: value for key, value in found.items() if value is not None}
        (folder / file).write_text(json.dumps(kept))

    return change


def written(file, content):
    """Return a change that replaces a file's content: text, or bytes."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / file).write_bytes(data)


def removed(*files):
    """Return a change that removes files."""
    return lambda folder: [(folder / file).unlink() for file in files]


def replaced(file, make):
    """Return a change that puts what ``make(path)`` makes in the place of a file."""

    def change(folder):
        (folder / file).unlink()
        make(folder / file)

    return change


def both(*changes):
    """Return a change that makes several, one after the other."""
    return lambda folder: [change(folder) for change in changes]


def tensors(change):
    """Return a change of the weights: ``change(tensors)`` returns the new ones."""

    def change_file(folder):
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})

    return change_file


def sharded(index=None, **shard):
    """Return a change that moves the weights into a shard with an index; ``index`` changes its ``weight_map``."""

    def change(folder):
        (folder / WEIGHTS).rename(folder / "model-00001.safetensors")
        names = dict.fromkeys(load_file(folder / "model-00001.safetensors"), "model-00001.safetensors")
        made = {"metadata": {}, "weight_map": index(names) if index else names, **shard}
        (folder / INDEX).write_text(json.dumps(made))

    return change


def tokenizer(change):
    """Return a change of ``tokenizer.json``: ``change(content)`` changes it in place."""

    def change_file(folder):
        found = json.loads((folder / TOKENIZER).read_text())
        change(found)
        (folder / TOKENIZER).write_text(json.dumps(found))

    return change_file


def template(source):
    """Return a change of the chat template."""
    return written("chat_template.jinja", source)


class _Runs:
    """Unpickled, it writes the marker."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def code(marker, *names):
    """Return a change that adds Python files, which write the marker when they are imported."""
    source = f"open({str(marker)!r}, 'w').write('ran')\nclass Model: pass\nclass Config: pass\nclass Tokenizer: pass\n"
    return lambda folder: [(folder / name).write_text(source) for name in names]


def pickled(marker, *names):
    """Return a change that adds pickles, which write the marker when they are read."""

    def change(folder):
        for name in names:
            (folder / name).write_bytes(pickle.dumps(_Runs(marker)))

    return change


def other_model(make):
    """Return a change that replaces the model by another class; the tokenizer stays."""

    def change(folder):
        (folder / WEIGHTS).unlink()
        with torch.random.fork_rng(), quiet_transformers():
            torch.manual_seed(0)
            make().save_pretrained(folder)

    return change


_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    path: Path, *, entries=None, added=None, left_out=(), template=CHAT_TEMPLATE, architecture="llama", merge="t h"
):
    """Write the tiny Llama as a GGUF file, with one more token.

    Args:
        entries: further entries of the header, as name to kind and value: ``{"llama.logit_scale": ("float32", 2.0)}``.
        added: further tensors by name.
        left_out: names of tensors that are not written.
        merge: the one merge of the tokenizer, whose result is the token more.
    """
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(2048)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(8)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*SPECIAL, *alphabet, merge.replace(" ", "")])
    writer.add_token_types([TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * 257)
    writer.add_token_merges([merge])
    writer.add_eos_token_id(EOS_ID)
    writer.add_pad_token_id(0)
    writer.add_chat_template(template)
    for name, (kind, value) in (entries or {}).items():
        getattr(writer, f"add_{kind}")(name, value)
    for name, tensor in _gguf_tensors().items():
        if name not in left_out:
            writer.add_tensor(name, tensor)
    for name, tensor in (added or {}).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_tensors() -> dict[str, np.ndarray]:
    found = {}
    for name, tensor in tiny_llama().state_dict().items():
        if name != "lm_head.weight":
            parts = name.removesuffix(".weight").split(".", 3)
            within = f"blk.{parts[2]}.{_GGUF_NAMES[parts[3]]}" if parts[1] == "layers" else _GGUF_NAMES[".".join(parts)]
            # The vocabulary has one token more, as a GGUF file needs a merge.
            more = torch.cat([tensor, tensor[-1:]]) if within == "token_embd" else tensor
            found[f"{within}.weight"] = more.float().numpy()
    return found


def save_model(folder: Path) -> Path:
    """Save the tiny Llama with its tokenizer, its output head untied."""
    save_tiny(folder, tied=False)
    tiny_tokenizer().save_pretrained(folder)
    return folder
