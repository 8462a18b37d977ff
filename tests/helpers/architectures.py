"""Tiny random models of many architectures: those that Thinwire packs, those that it pads, those that it refuses."""

import torch
import transformers

from thinwire.model.language_model import LanguageModel
from tiny_models import EOS_ID, SPECIAL, tiny_tokenizer

_VOCABULARY = {"vocab_size": len(SPECIAL) + 256, "eos_token_id": EOS_ID, "bos_token_id": None, "pad_token_id": 0}
_SIZES = {**_VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_LLAMA = {**_SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 256}

SUPPORTED = {
    "Cohere": _LLAMA,
    "GPT2": {**_VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "GPTNeoX": {**_SIZES, "intermediate_size": 48, "max_position_embeddings": 256},
    "Gemma3Text": {**_LLAMA, "head_dim": 8},
    "Glm4": {**_LLAMA, "head_dim": 8},
    "Granite": {**_LLAMA, "logits_scaling": 3.0, "embedding_multiplier": 2.0, "residual_multiplier": 0.5},
    "Llama": _LLAMA,
    "Mistral": _LLAMA,
    "Mixtral": {**_LLAMA, "num_local_experts": 2},
    "OPT": {**_SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 256},
    "Olmo2": _LLAMA,
    "Phi": _LLAMA,
    "Phi3": _LLAMA,
    "Qwen2": _LLAMA,
    "Qwen3": {**_LLAMA, "head_dim": 8},
    "SmolLM3": _LLAMA,
    "Starcoder2": _LLAMA,
}
"""Sizes of those that are packed, by the name that transformers gives to the configuration."""

PADDED = {
    "Bloom": ({**_VOCABULARY, "hidden_size": 32, "n_layer": 2, "n_head": 4}, "does not let its attention be replaced"),
    "Falcon": (_SIZES, "does not let its attention be replaced"),
    "Gemma2": (
        {**_LLAMA, "head_dim": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
        "caps its attention scores",
    ),
    "GptOss": ({**_LLAMA, "head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}, "attention sinks"),
    "Lfm2": ({**_LLAMA, "full_attn_idxs": [1]}, "layers of the kind conv"),
    "Mamba": ({**_VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}, "linear_attention|recurrent state"),
    "MiniMax": (
        {**_LLAMA, "num_local_experts": 2, "layer_types": ["linear_attention", "full_attention"]},
        "layers of the kind linear_attention.*only prompts of equal length together",
    ),
    "StableLm": (_LLAMA, "does not pass a model's extra arguments on to attention"),
}
"""Sizes of those that run in padded batches, and a part of what the log says of the reason."""

WITHOUT_ATTENTION = frozenset({"Mamba"})

REFUSED = {
    "Bert": (_SIZES, "looks at later tokens"),
    "RecurrentGemma": (
        {**_LLAMA, "lru_width": 32, "block_types": ["recurrent", "attention"], "attention_window_size": 64},
        "logits are not output head x last hidden state",
    ),
    "Rwkv": (
        {**_VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "rescale_every": 1},
        "changes its weights when it runs",
    ),
}
"""Sizes of each, and a part of the reason."""


def tiny_model_of(architecture: str, sizes: dict) -> LanguageModel:
    """Make a random model of an architecture, with the byte tokenizer."""
    config = getattr(transformers, f"{architecture}Config")(**sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data *= 5  # large enough that different inputs give different answers
    return LanguageModel(model=model, tokenizer=tiny_tokenizer(), name=architecture, revision="test")
