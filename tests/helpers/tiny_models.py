"""Tiny real models and data: random two-layer Llama and Gemma models, a byte tokenizer, made-up questions."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from thinwire.data.squad import Example
from thinwire.model.language_model import LanguageModel

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>", "<|eos|>"]
END_ID = SPECIAL.index("<|end|>")
EOS_ID = SPECIAL.index("<|eos|>")


def tiny_tokenizer(*, chat: bool = True, pad_is_eos: bool = False) -> PreTrainedTokenizerFast:
    """Make a tokenizer with one token per byte and five special tokens.

    Its ``eos_token`` is deliberately not the token that ends a turn in the template.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|eos|>",
        pad_token="<|eos|>" if pad_is_eos else "<|pad|>",
        extra_special_tokens=["<|user|>", "<|assistant|>", "<|end|>"],
    )
    fast.chat_template = CHAT_TEMPLATE if chat else None
    return fast


def tiny_llama(*, tied: bool = True, layers: int = 2, dtype: torch.dtype = torch.float32, seed: int = 0):
    """Make a random Llama: vocabulary 261, width 32, 4 heads, 2 key-value heads."""
    config = LlamaConfig(
        vocab_size=len(SPECIAL) + 256,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=tied,
        eos_token_id=EOS_ID,
        pad_token_id=0,
        bos_token_id=None,
        initializer_range=0.3,  # large enough that different inputs give different answers
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model.to(dtype).requires_grad_(False).eval()


def tiny_gemma(*, window: int = 512, seed: int = 0):
    """Make a random Gemma 3 of the same size.

    It has scaled embeddings, normalised queries and keys, one layer with attention to the last ``window`` tokens and
    one with full attention.
    """
    config = Gemma3TextConfig(
        vocab_size=len(SPECIAL) + 256,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=window,
        layer_types=["sliding_attention", "full_attention"],
        max_position_embeddings=2048,
        eos_token_id=EOS_ID,
        pad_token_id=0,
        bos_token_id=None,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Gemma3ForCausalLM(config)
    return model.requires_grad_(False).eval()


def tiny_gemma_lm(**options) -> LanguageModel:
    """Make a ``LanguageModel`` of the random Gemma and the byte tokenizer."""
    return LanguageModel(model=tiny_gemma(**options), tokenizer=tiny_tokenizer(), name="tiny", revision="test")


def tiny_lm(**options) -> LanguageModel:
    """Make a ``LanguageModel`` of the random Llama and the byte tokenizer."""
    tokenizer = tiny_tokenizer()
    return LanguageModel(model=tiny_llama(**options), tokenizer=tokenizer, name="tiny", revision="test")


def save_tiny(folder: Path, **options) -> Path:
    """Save the random Llama and its tokenizer as a checkpoint folder."""
    tiny_llama(**options).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def example(number: int = 0, *, context: str = "Ada wrote the first program in 1843.", answer: str = "1843") -> Example:
    return Example(
        id=f"q{number}",
        article=f"article {number}",
        paragraph_id=f"p{number}",
        context=context,
        question=f"When was program {number} written?",
        answers=(answer,),
        answer_start=context.find(answer),
    )


def squad_document(num_articles: int = 6, questions: int = 4, first: int = 0, paragraphs: int = 1) -> dict:
    """Make SQuAD v1.1 JSON about made-up towns: articles numbered from ``first``, and the questions of a paragraph."""
    articles = []
    for a in range(first, first + num_articles):
        found = [_paragraph(a, range(p * questions, (p + 1) * questions)) for p in range(paragraphs)]
        articles.append({"title": f"Towns {a}", "paragraphs": found})
    return {"version": "1.1", "data": articles}


def _paragraph(a: int, numbers: range) -> dict:
    context = " ".join(f"Town {a}-{q} has {10 * a + q} mills." for q in numbers)
    qas = [
        {
            "id": f"{a}-{q}",
            "question": f"How many mills has town {a}-{q}?",
            "answers": [{"text": str(10 * a + q), "answer_start": context.index(f"has {10 * a + q} mills") + 4}],
        }
        for q in numbers
    ]
    return {"context": context, "qas": qas}


def write_squad(path: Path, **options) -> Path:
    path.write_text(json.dumps(squad_document(**options)))
    return path


def save_sweep_inputs(folder: Path) -> Path:
    """Write the inputs of a tiny sweep to ``folder``: a model, training questions and test questions."""
    save_tiny(folder / "model")
    write_squad(folder / "train.json")
    write_squad(folder / "test.json", num_articles=2, first=6)
    return folder


def uses_of_each_row(inverse_index) -> list[list[int]]:
    """Return, for each row, the list of positions in an inverse index (``ops.gather.InverseIndex``)."""
    singles, slots, ends = (
        inverse_index.single.tolist(),
        inverse_index.slots.tolist(),
        inverse_index.shared_ends.tolist(),
    )
    shared = inverse_index.shared.tolist()
    assert len(shared) == ends[-1], "all shared positions belong to a row"
    return [
        [single] if slot < 0 else shared[ends[slot] : ends[slot + 1]]
        for single, slot in zip(singles, slots, strict=True)
    ]
