"""Tokenizer settings from a GGUF file's header that transformers may not read."""

import pytest
from gguf import GGUFWriter
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from thinwire.errors import UsageError
from thinwire.model.gguf import hold_to_header


def header(path, **entries):
    """Write a GGUF file with only a header."""
    writer = GGUFWriter(path, "llama")
    for key, value in entries.items():
        (writer.add_bool if isinstance(value, bool) else writer.add_string)(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


PIECES = ["<unk>", "<bos>", "one", "two"]
WORDS = models.WordLevel({piece: i for i, piece in enumerate(PIECES)}, unk_token="<unk>")
UNIGRAM = models.Unigram([(piece, -float(i)) for i, piece in enumerate(PIECES)], unk_id=0)


def tokenizer(model):
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", unk_token="<unk>")


@pytest.mark.parametrize(
    ("entries", "ids"),
    [({"add_bos_token": True}, [1, 2, 3]), ({"add_bos_token": False}, [2, 3]), ({}, [2, 3])],
    ids=["added", "not added", "no entry"],
)
def test_the_first_token_is_added_as_the_header_says(entries, ids, tmp_path):
    words = tokenizer(WORDS)
    hold_to_header(words, header(tmp_path / "some.gguf", model="llama", **entries))
    assert words("one two").input_ids == ids
    assert words("one two", add_special_tokens=False).input_ids == [2, 3]
    words.save_pretrained(tmp_path / "saved")
    assert PreTrainedTokenizerFast.from_pretrained(tmp_path / "saved")("one two").input_ids == ids


def test_a_first_token_that_is_already_added_is_not_added_again(tmp_path):
    words = tokenizer(WORDS)
    words.add_bos_token = True
    before = words.backend_tokenizer.to_str()
    hold_to_header(words, header(tmp_path / "some.gguf", model="llama", add_bos_token=True))
    assert words.backend_tokenizer.to_str() == before


def test_merges_read_as_probabilities_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"reads the tokenizer of some\.gguf wrongly; install 5\.18 or newer"):
        hold_to_header(tokenizer(UNIGRAM), header(tmp_path / "some.gguf", model="llama"))
    hold_to_header(tokenizer(UNIGRAM), header(tmp_path / "t5.gguf", model="t5"))  # a Unigram model, as its header says
