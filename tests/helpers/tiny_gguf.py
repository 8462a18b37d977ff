"""A tiny GGUF model: the random Llama with a byte-level tokenizer, as llama.cpp's converter lays it out."""

from pathlib import Path

import gguf
import torch
from tokenizers import pre_tokenizers

from tiny_models import CHAT_TEMPLATE, END_ID, EOS_ID, SPECIAL, tiny_llama

NUM_TOKENS = len(SPECIAL) + 256 + 2


def tiny_gguf_llama():
    """The random Llama of the file, with two tokens more, which merges of bytes make."""
    model = tiny_llama()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model.resize_token_embeddings(NUM_TOKENS, mean_resizing=False)
    return model.requires_grad_(False).eval()


def interleaved(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Put the two halves of each head's rows in turn: rows 0, h/2, 1, h/2 + 1, ... of a head of ``h`` rows."""
    rows = []
    for head in weight.chunk(heads):
        first, second = head.chunk(2)
        rows += [row for pair in zip(first, second, strict=True) for row in pair]
    return torch.stack(rows)


_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_tiny_gguf(path: Path, **entries: str) -> Path:
    """Write the model with float32 numbers; its header names the wrong end token, which its template does not use.

    Args:
        entries: more texts of the header, by name with double underscores for dots.
    """
    model = tiny_gguf_llama()
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    for name, text in entries.items():
        writer.add_string(name.replace("__", "."), text)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(NUM_TOKENS)
    writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    space = "\u0120"
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*SPECIAL, *alphabet, f"{space}t", "he"])
    writer.add_token_types([gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * (256 + 2))
    writer.add_token_merges([f"{space} t", "h e"])
    writer.add_eos_token_id(EOS_ID)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    state = model.state_dict()
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"].numpy())
    writer.add_tensor("output_norm.weight", state["model.norm.weight"].numpy())
    for layer in range(config.num_hidden_layers):
        for theirs, ours in _NAMES.items():
            weight = state[f"model.layers.{layer}.{theirs}.weight"]
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(ours)
            values = interleaved(weight, heads) if heads else weight
            writer.add_tensor(f"blk.{layer}.{ours}.weight", values.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


assert END_ID != EOS_ID
