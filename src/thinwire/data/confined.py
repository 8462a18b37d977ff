"""Run what files ask a template engine, tokenizer or reader to do in a child process of limited time and memory.

A chat template is a program, and so, in effect, is a tokenizer: either can loop without end or fill the memory, which
no exception ends. pyarrow ends its process at some damaged Parquet files. The child imports neither torch nor
transformers, so that it costs a fraction of a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from thinwire.errors import UsageError

_PATIENCE = 120
"""Seconds after which a child is ended that neither works nor ends."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a child may take."""

    cpu_seconds: int
    """Processor time."""
    memory_bytes: int
    """Address space; libraries reserve more than they use."""


def run_confined(what: str, task: str, limits: Limits, **request: Any) -> Any:
    """Run ``task`` of ``thinwire.data.confined_tasks`` with ``request``, which JSON can hold, and return its result.

    The same request runs once in a process.

    Args:
        what: the beginning of the message if it fails: ``the chat template of MODEL cannot be used``.

    Raises:
        UsageError: it failed, or exceeded its time or memory.
    """
    reply = json.loads(_reply(json.dumps({"task": task, **request}, sort_keys=True), limits))
    if "error" in reply:
        raise UsageError(f"{what} ({reply['error']})")
    return reply["result"]


@lru_cache(maxsize=64)
def _reply(request: str, limits: Limits) -> str:
    """Return the child's answer to ``request``, both as JSON; an answer in its name if it ended without."""
    command = [sys.executable, "-m", "thinwire.data.confined_tasks", str(limits.cpu_seconds), str(limits.memory_bytes)]
    # One thread: each reserves address space, and takes processor time.
    alone = dict.fromkeys(("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    try:
        child = subprocess.run(
            command,
            input=request.encode(),
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
            env={**os.environ, **alone, "TOKENIZERS_PARALLELISM": "false"},
        )
    except subprocess.TimeoutExpired:
        return json.dumps({"error": f"it did not end within {_PATIENCE} seconds"})
    if child.returncode == 0:
        return child.stdout.decode()
    spent = f"{limits.cpu_seconds} seconds of processor time or {limits.memory_bytes >> 30} GB of memory"
    return json.dumps({"error": f"it takes more than {spent}, or breaks down: exit code {child.returncode}"})
