"""The pattern by which a GGUF file's tokenizer splits texts."""

import logging
from types import SimpleNamespace

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as QWEN2

from thinwire.errors import UsageError
from thinwire.model.gguf_splitting import check_splitting

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
SPLITTERS = {
    "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    "smollm": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    ),
    "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), BYTES]),
    # Llama 3 differs from Qwen 2 in taking up to three digits together.
    "llama-bpe": pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")), "isolated"), BYTES]
    ),
}


def tokenizer_that_splits(how):
    """Train one that has merges of any kind, because it saw texts unsplit, and then let it split."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = BYTES
    texts = ["1969 in 1969, x1969 they'LL 384400 1234567 (3 people) run(x1):\n\treturn x1**10 # na"] * 3
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=BYTES.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = SPLITTERS[how]
    return SimpleNamespace(backend_tokenizer=tokenizer)


@pytest.mark.parametrize("how", SPLITTERS)
@pytest.mark.parametrize("name", SPLITTERS)
def test_a_tokenizer_is_accepted_only_with_the_pattern_that_the_file_names(name, how):
    if name == how:
        check_splitting(tokenizer_that_splits(how), name, "model.gguf")
    else:
        with pytest.raises(UsageError, match=rf"model.gguf says .* splits texts by '{name}' \(tokenizer.ggml.pre\)"):
            check_splitting(tokenizer_that_splits(how), name, "model.gguf")


@pytest.mark.parametrize("name", [None, "default"])
def test_a_file_that_names_no_pattern_is_not_checked(name, caplog):
    check_splitting(tokenizer_that_splits("gpt-2"), name, "model.gguf")
    assert not caplog.records


def test_a_pattern_that_is_not_known_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        check_splitting(tokenizer_that_splits("gpt-2"), "sophia", "model.gguf")
    assert "model.gguf splits texts by 'sophia' (tokenizer.ggml.pre), which cannot be checked" in caplog.text
