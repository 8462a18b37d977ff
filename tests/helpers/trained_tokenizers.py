"""Tokenizers of several kinds, trained on a few sentences, as fast tokenizers with the tiny chat template."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tiny_models import CHAT_TEMPLATE, SPECIAL

SENTENCES = [
    "Paris is the capital of France and Oslo is the capital of Norway.",
    "Question: What is the capital of France?",
    "Text: The mill has twelve wheels and stands in Paris.",
    "Answer: Paris",
    "The answer: Oslo",
] * 5


def trained_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Train a tokenizer.

    Args:
        kind: ``byte-level`` (GPT-2's), ``metaspace-first`` or ``metaspace-always`` (SentencePiece's, with a space
            before the first word of a text or of every part between special tokens), ``word-level`` (words and
            punctuation, without white space), or ``unsplit`` (byte-level without splitting, so that tokens may reach
            across words and punctuation).
    """
    make = {
        "byte-level": lambda: _byte_level(use_regex=True),
        "unsplit": lambda: _byte_level(use_regex=False),
        "metaspace-first": lambda: _metaspace("first"),
        "metaspace-always": lambda: _metaspace("always"),
        "word-level": _word_level,
    }[kind]
    tokenizer, trainer = make()
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|eos|>",
        pad_token="<|pad|>",
        extra_special_tokens=["<|user|>", "<|assistant|>", "<|end|>"],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _byte_level(*, use_regex: bool):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )


def _metaspace(prepend_scheme: str):
    tokenizer = Tokenizer(models.BPE(unk_token="<|pad|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend_scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=prepend_scheme)
    return tokenizer, trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=["\n"], show_progress=False
    )


def _word_level():
    tokenizer = Tokenizer(models.WordLevel(unk_token="<|pad|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False)
