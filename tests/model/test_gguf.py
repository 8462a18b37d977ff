"""What is read from a GGUF file's header: tokenizer settings, and how the weights are stored."""

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quants
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from thinwire.errors import UsageError
from thinwire.model.gguf import hold_to_header, quantisation


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


def weights(path, **types):
    """Write a GGUF file with a tensor of 2 x 64 numbers for each type, and more numbers in the first."""
    writer = GGUFWriter(path, "llama")
    for number, (name, kind) in enumerate(types.items()):
        values = np.ones((4 if number == 0 else 2, 64), dtype=np.float32)
        writer.add_tensor(name, quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


TYPES = GGMLQuantizationType


def test_the_quantisation_is_the_type_of_most_numbers_and_is_read_once(tmp_path):
    path = weights(tmp_path / "some.gguf", linear=TYPES.Q4_1, output=TYPES.Q8_0, norm=TYPES.F32)
    assert quantisation(path, tmp_path) == "Q4_1"
    path.unlink()
    assert quantisation(path, tmp_path) == "Q4_1"


@pytest.mark.parametrize("kind", [TYPES.F32, TYPES.F16, TYPES.BF16])
def test_plain_floats_are_no_quantisation(kind, tmp_path):
    assert quantisation(weights(tmp_path / "some.gguf", linear=kind, output=TYPES.Q8_0), tmp_path) is None


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "some.gguf").write_bytes(b"GIF89a" + bytes(64))
    with pytest.raises(UsageError, match=r"some\.gguf cannot be read as a GGUF model"):
        quantisation(tmp_path / "some.gguf", tmp_path)
