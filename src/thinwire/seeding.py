"""Random streams with names, so that adding one consumer never shifts another's numbers."""

import hashlib
import random


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed for the stream called ``names``, a pure function of both arguments."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: object) -> random.Random:
    """A generator of its own for the stream called ``names``."""
    return random.Random(derive_seed(seed, *names))  # noqa: S311 - science, not cryptography
