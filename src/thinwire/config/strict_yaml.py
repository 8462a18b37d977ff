"""Read YAML strictly: plain mappings, lists, texts, numbers and booleans, nothing that could be read as another value.

Accepted are YAML 1.2's plain forms of numbers and booleans, and anchors and merge keys as far as what they stand for
stays small. Refused are keys that stand twice or are no texts, tags, several documents, deep nesting, and control
characters.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import yaml

from thinwire.errors import UsageError, shown

_MOST_DEPTH = 50
_MOST_NODES = 50_000
"""Values and keys in a file, what aliases stand for counted each time; a thousand arms have about ten thousand."""

_TOO_MANY = f"more than {_MOST_NODES:,} values, aliases counted each time; write fewer"

_NULL, _MERGE, _TEXT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"
_PLAIN_FORMS = (
    (_NULL, r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+"
        r"|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    (_MERGE, r"<<", "<"),
)
"""Tag, pattern and possible first characters of the values that are no texts."""


def parse_yaml(text: str, place: str) -> Any:
    """Return the value of a YAML text: dicts, lists, texts, numbers, booleans and None.

    Args:
        place: the text's origin, for messages: a file's path, or the option.

    Raises:
        UsageError: it is no YAML or not of the accepted forms; the message has the line.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"the character U+{ord(text[error.position]):04X}, which YAML does not allow"
        raise UsageError(f"{place}, line {line}: {found}; take it out") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{place}, line {line}: {error.problem or error.context}") from None
    except ValueError:  # Python's limit on the digits of integers
        raise UsageError(f"{place}: a number has thousands of digits; shorten it") from None


class _StrictLoader(yaml.SafeLoader):
    """Builds values from the accepted forms alone."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's place for a class's own

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._num_nodes = 0
        self._sizes: dict[int, int] = {}
        """Nodes that a complete node stands for, by its identity."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise _fault(event, f"the tag {shown(event.tag)} is not accepted; write the value alone")
        self._num_nodes += 1
        if self._num_nodes > _MOST_NODES:
            raise _fault(event, _TOO_MANY)
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise _fault(event, f"nested more than {_MOST_DEPTH} levels deep; settings have a few")
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                raise _fault(event, f"the alias *{event.anchor} stands inside what it stands for; take it out")
        else:
            self._sizes[id(node)] = self._checked_size(node)
        return node

    def _checked_size(self, node: yaml.Node) -> int:
        """Return the number of nodes that a new node stands for, after checks of its keys or its text."""
        if isinstance(node, yaml.ScalarNode):
            _check_characters(node)
            return 1
        children = node.value
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
            children = [one for pair in node.value for one in pair]
        size = 1 + sum(self._sizes[id(child)] for child in children)
        if size > _MOST_NODES:
            raise _fault(node, _TOO_MANY)
        return size


for _tag, _pattern, _first in _PLAIN_FORMS:
    _StrictLoader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), [one.strip("\0") for one in _first])


def _check_keys(node: yaml.MappingNode) -> None:
    keys: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (_TEXT, _MERGE):
            found = shown(key.value, 40) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
            raise _fault(key, f"the key {found} is no text; write it in quotes")
        if key.value in keys:
            raise _fault(key, f"the key {shown(key.value)} stands twice in one mapping; take one out")
        keys.add(key.value)


def _check_characters(node: yaml.ScalarNode) -> None:
    text = node.value
    if text.isprintable():
        return
    for one in text:
        if one not in "\n\t" and unicodedata.category(one) in ("Cc", "Cs"):
            raise _fault(node, f"the character U+{ord(one):04X} is no text; take it out")


def _fault(found: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=found.start_mark)
