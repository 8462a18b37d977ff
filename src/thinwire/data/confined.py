"""Run what a model's files ask a template engine or tokenizer to do in a child process of limited time and memory.

A chat template is a program, and so, in effect, is a tokenizer: either can loop without end or fill the memory, which
no exception ends. The child imports neither torch nor transformers, so that it costs a fraction of a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from typing import Any

from thinwire.errors import UsageError

CPU_SECONDS = 10
"""Processor time that a child may take; the slowest tokenizer in use takes 2."""
MEMORY_BYTES = 6 << 30
"""Address space that a child may take; libraries reserve much more than they use."""
LONGEST_TEXT = 1 << 20
"""Most characters that a template may write for one of the short messages that it is tried with."""
_PATIENCE = 120
"""Seconds after which a child is ended that neither works nor ends."""


def run_confined(what: str, task: str, **request: Any) -> Any:
    """Run ``task`` of ``thinwire.data.confined_tasks`` with ``request``, which JSON can hold, and return its result.

    The same request runs once in a process.

    Args:
        what: the beginning of the message if it fails: ``the chat template of MODEL cannot be used``.

    Raises:
        UsageError: it failed, or exceeded its time or memory.
    """
    reply = json.loads(_reply(json.dumps({"task": task, **request}, sort_keys=True)))
    if "error" in reply:
        raise UsageError(f"{what} ({reply['error']})")
    return reply["result"]


@lru_cache(maxsize=64)
def _reply(request: str) -> str:
    """Return the child's answer to ``request``, both as JSON; an answer in its name if it ended without."""
    limits = [str(CPU_SECONDS), str(MEMORY_BYTES), str(LONGEST_TEXT)]
    command = [sys.executable, "-m", "thinwire.data.confined_tasks", *limits]
    try:
        child = subprocess.run(command, input=request.encode(), capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return json.dumps({"error": f"it did not end within {_PATIENCE} seconds"})
    if child.returncode == 0:
        return child.stdout.decode()
    spent = f"{CPU_SECONDS} seconds of processor time or {MEMORY_BYTES >> 30} GB of memory"
    return json.dumps({"error": f"it was ended after more than {spent}, or broke down: exit code {child.returncode}"})
