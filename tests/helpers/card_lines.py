"""The lines of Python in a model card, run in a process of their own."""

import json
import re
import subprocess
import sys

from thinwire.export.usage import CONTEXT, PLACE, QUESTION

ASK = """
import contextlib, io, json, sys
for code in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, {})
    print(json.dumps(said.getvalue()))
assert "thinwire" not in sys.modules
"""


def code_of(folder, example, base=""):
    """The lines of an export's model card, about one question."""
    (code,) = re.findall(r"^```python\n(.*?)^```", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    for place, text in (
        (PLACE, folder),
        ("BASE_MODEL", base),
        (CONTEXT, example.context),
        (QUESTION, example.question),
    ):
        code = code.replace(place, json.dumps(str(text))[1:-1])
    return code


def said_by(codes):
    """What each piece of code prints, all run in one fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(codes), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line).strip() for line in done.stdout.splitlines()]
