"""llama.cpp's own server, which the package xllamacpp holds, asked about a GGUF file in a process without Thinwire."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_SERVE = """
import json, sys, urllib.request
import xllamacpp

file, requests = json.load(sys.stdin)
settings = xllamacpp.CommonParams()
settings.model.path = file
settings.n_ctx, settings.n_parallel, settings.warmup = 1024, 1, False
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
# Attention is computed, and keys and values are cached, in float16 by default.
settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(settings)
for path, body in requests:
    data = None if body is None else json.dumps(body).encode()
    address = server.listening_address + path
    with urllib.request.urlopen(urllib.request.Request(address, data, {"Content-Type": "application/json"})) as answer:
        print(json.dumps(json.load(answer)), flush=True)
"""


def ask_llama_cpp(file: Path, requests: list[tuple[str, dict[str, Any] | None]]) -> list[dict[str, Any]]:
    """Return the answers of llama.cpp's server to requests: path and JSON body, none for GET.

    The test skips where xllamacpp is not installed.
    """
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")
    done = subprocess.run(
        [sys.executable, "-c", _SERVE],
        input=json.dumps([str(file), requests]),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
