"""Hashes of values and files."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json_values import JSON
from thinwire.hashes import content_hash, file_hash


def shuffled(value, rng):
    """Return the same JSON value with the keys of every object in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(inner, rng)) for key, inner in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [shuffled(inner, rng) for inner in value] if isinstance(value, list) else value


@given(JSON, st.integers(0, 99))
@settings(derandomize=True, deadline=None)
def test_equal_content_has_an_equal_hash_whatever_the_order_of_keys(value, seed):
    assert content_hash(shuffled(value, random.Random(seed))) == content_hash(value)  # noqa: S311


@given(JSON, JSON)
@settings(derandomize=True, deadline=None)
def test_different_content_has_a_different_hash(a, b):
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (content_hash(a) == content_hash(b)) is same


def test_a_content_hash_is_sha256_of_compact_sorted_json():
    # printf '{"a":[1,null],"b":"é"}' | sha256sum
    assert content_hash({"b": "é", "a": [1, None]}) == (
        "e03c3c1ebb5fccd76e3bd35b9a86169f35e6f1b069645d48ac278175f54c4208"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_have_no_hash(value):
    with pytest.raises(ValueError, match="JSON compliant"):
        content_hash({"loss": value})


def test_a_file_hash_is_sha256_of_its_bytes(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, the SHA-256 example for "abc".
    assert file_hash(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_larger_than_one_block_is_hashed_whole(tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"\0" * (1 << 20) + b"a")
    before = file_hash(path)
    path.write_bytes(b"\0" * (1 << 20) + b"b")
    assert file_hash(path) != before
