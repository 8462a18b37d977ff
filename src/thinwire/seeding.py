"""Named random streams: adding one consumer never changes the numbers of another."""

import hashlib
import random


def derive_seed(seed: int, *names: object) -> int:
    """Derive a 63-bit seed for the stream ``names``, a pure function of both arguments."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: object) -> random.Random:
    """Return a new generator for the stream ``names``."""
    return random.Random(derive_seed(seed, *names))  # noqa: S311 - science, not cryptography
