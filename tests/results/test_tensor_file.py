"""Files of tensors: equal content has equal bytes, and what is read is what was written."""

import pytest
import torch
from safetensors import safe_open

from thinwire.errors import ThinwireError
from thinwire.results.tensor_file import layout_of, read_layout, read_tensors, write_tensors

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2, 3]), "empty": torch.zeros(0)}


def test_equal_content_has_equal_bytes(tmp_path):
    # The library writes the entries of metadata in any order, of which three have six.
    written = set()
    for number in range(20):
        write_tensors(tmp_path / f"{number}", TENSORS, {"format": "pt", "key": "ä"})
        written.add((tmp_path / f"{number}").read_bytes())
    assert len(written) == 1


def test_what_is_read_is_what_was_written(tmp_path):
    path = tmp_path / "file"
    write_tensors(path, TENSORS, {"format": "pt", "key": "ä"})
    assert read_layout(path) == layout_of(TENSORS)
    read = read_tensors(path, layout_of(TENSORS), needs_hash=True)
    assert all(torch.equal(read[name], tensor) for name, tensor in TENSORS.items())
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["key"]) == ("pt", "ä")


def test_a_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "file"
    write_tensors(path, TENSORS)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ThinwireError, match="its tensors do not have the hash"):
        read_tensors(path, layout_of(TENSORS))
