"""The Dockerfile: what it copies exists and is in the build context."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_everything_that_is_copied_exists_and_is_sent_to_the_build():
    copies = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    copied = {name for line in copies for name in line.split()}
    assert {"constraints.txt", "src", "experiments"} <= copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in rules
    assert copied == {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
