"""The child process of ``confined``: try a template, a tokenizer or a table within limits, and answer in JSON.

``python -m thinwire.data.confined_tasks CPU_SECONDS MEMORY_BYTES``, with the request on standard input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

FIXED_DATE = datetime(2024, 7, 26)
"""The day that templates get when they ask for today's, so that prompts do not depend on it."""


def render(template: str, special_tokens: dict[str, str], chats: list[dict[str, Any]], longest: int) -> list[str]:
    """Render conversations with a chat template, as transformers does, except for the date.

    Args:
        chats: the template's variables of each conversation: ``messages`` and ``add_generation_prompt``.
        longest: most characters of a text.
    """
    from jinja2 import TemplateError, ext, nodes
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` blocks mark what an assistant writes; they are rendered as they are."""

        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, **_: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = FIXED_DATE.strftime
    compiled = environment.from_string(template)
    texts = []
    for chat in chats:
        # A copy, as a template may change lists; the same for each chat.
        own = json.loads(json.dumps(chat))
        text = compiled.render(
            **{
                "tools": None,
                "documents": None,
                "date_string": FIXED_DATE.strftime("%d %b %Y"),
                **special_tokens,
                **own,
            }
        )
        if len(text) > longest:
            raise ValueError(f"it writes {len(text):,} characters for a message of {len(str(own)):,}")
        texts.append(text)
    return texts


def render_prompts(
    template: str, variables: list[str], contents: list[dict[str, str]], longest: int
) -> dict[str, list[str]]:
    """Render a user's prompt template with each of ``contents``, which have all ``variables``.

    Args:
        longest: most characters of a text.

    Returns:
        ``unknown``, the names of other variables that it uses; where there are none, ``texts``.
    """
    from jinja2 import meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    del environment.filters["random"], environment.globals["lipsum"]  # prompts are the same each time
    used = meta.find_undeclared_variables(environment.parse(template))
    if unknown := sorted(used - {*variables, *environment.globals}):
        return {"unknown": unknown, "texts": []}
    compiled = environment.from_string(template)
    texts = []
    for one in contents:
        text = compiled.render(one)
        if len(text) > longest:
            raise ValueError(f"it writes {len(text):,} characters for {sum(map(len, one.values())):,}")
        texts.append(text)
    return {"unknown": [], "texts": texts}


def tokenize(path: str, texts: list[str]) -> int:
    """Read a tokenizer's file, encode and decode each text, and return the largest id of the vocabulary."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    for text in texts:
        tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids)
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)


def read_parquet(path: str, columns: list[str], most_bytes: int, version: list[int]) -> list[str]:
    """Read the columns of these names in a Parquet file, as far as they are there; returns the names of all.

    Args:
        most_bytes: of these columns in a row group, unpacked.
        version: of the file, so that another one is another request.
    """
    from pyarrow.parquet import ParquetFile

    table = ParquetFile(path)
    names = list(table.schema_arrow.names)
    used = [name for name in names if name in columns]
    for number in range(table.metadata.num_row_groups):
        group = table.metadata.row_group(number)
        parts = (group.column(at) for at in range(group.num_columns))
        size = sum(
            part.total_uncompressed_size
            for part in parts
            if any(part.path_in_schema == name or part.path_in_schema.startswith(f"{name}.") for name in used)
        )
        if size > most_bytes:
            raise ValueError(
                f"its row group {number} takes {size:,} bytes, expected {most_bytes:,} at most; write it with smaller "
                "row groups"
            )
    for _ in table.iter_batches(columns=used, use_threads=False) if used else ():
        pass
    return names


def _limit(cpu_seconds: int, memory_bytes: int) -> None:
    """Limit this process, where the system can; it may write no file."""
    with suppress(ImportError):
        import resource

        limits = ((resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_FSIZE, 0))
        for kind, most in limits:
            with suppress(ValueError, OSError):  # a lower limit is set already
                resource.setrlimit(kind, (most, most))


TASKS: dict[str, Callable[..., Any]] = {
    "render": render,
    "prompts": render_prompts,
    "tokenize": tokenize,
    "parquet": read_parquet,
}


def main() -> None:
    """Answer the request on standard input."""
    cpu_seconds, memory_bytes = map(int, sys.argv[1:])
    request = json.load(sys.stdin)
    _limit(cpu_seconds, memory_bytes)
    task = request.pop("task")
    try:
        result = TASKS[task](**request)
        answer = json.dumps({"result": result})
    except BaseException as error:  # noqa: BLE001 - a template's and a compiled library's code may raise anything
        spent = "more memory than it may take" if isinstance(error, MemoryError) else "no reason given"
        lines = str(error).strip().splitlines() or [spent]
        line = getattr(error, "lineno", None)  # of a template's syntax error
        place = f", line {line}" if isinstance(line, int) else ""
        answer = json.dumps({"error": f"{type(error).__name__}{place}: {lines[0][:300].rstrip('.')}"})
    sys.stdout.write(answer)


if __name__ == "__main__":
    main()
