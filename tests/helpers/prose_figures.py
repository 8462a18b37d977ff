"""Hold the figures that people write in Markdown to the records that they come from.

A comment at the end of a paragraph, list item or table, which a reader of the page does not see, names a record and
says what each figure is there, in the expressions of ``record_fields``:

    <!-- figures tradeoff: 38.5 = ratio4; 16.5 = ratio4_lora - ratio4; 16.5 (12.5 to 20.4) =
    ratio4_lora.score_difference; 21.5 = ratio4.matrix_bytes; as given (a setting): 0.01 -->

The record is a file of ``docs/results/records`` or ``docs/performance/records``. ``as given`` exempts figures that are
in no record, and says why. Of a table whose rows are the elements of a list, in their order, it says what the numbers
of each row are; a row may be made from several elements, and leaves out what its elements lack:

    <!-- figures calibration, rows of cells: questions; share.helped -->
    <!-- figures coverage, rows of 8 of cells.cells: 0.paragraphs; 0.covered; 1.covered -->
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from record_fields import SourceError, evaluate, field

NUMBER = r"(?<![\w.,])(?<![A-Za-z]-)[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?!\w|[.,]\d)"
"""A number in prose; those in names are none (``v1.1``, ``Llama-3.1-8B``)."""

NAMED = r"\b(?:Section|Python|BY-SA) \d+\.\d+"
"""Decimals that are names."""

Load = Callable[[str], Any]
"""Reads the record of a name; raises ``SourceError`` where there is none."""

_COMMENT = re.compile(r"<!-- figures (.*?)\s-->", re.DOTALL)
_GENERATED = re.compile(r"<!-- thinwire: begin (.*?) -->.*?<!-- thinwire: end \1 -->", re.DOTALL)
_CODE = re.compile(r"^( *)```.*?^\1```|(?<=\n\n)(?: {4}[^\n]*\n)+", re.DOTALL | re.MULTILINE)
_UNSHOWN = re.compile(r"`[^`]*`|(?<=\])\([^)\s]*\)|<!--.*?-->", re.DOTALL)
_HEAD = re.compile(r"(?P<record>\w+)(?:, rows of (?:(?P<size>\d+) of )?(?P<elements>[\w.]+))?: (?P<statements>.*)")
_FIGURE = re.compile(
    rf"(?P<figure>{NUMBER})(?P<percent> ?%)?(?: \((?P<low>{NUMBER}) to (?P<high>{NUMBER})(?: ?%)?\))? = (?P<source>.*)"
)
_AS_GIVEN = re.compile(rf"as given \([^()]+\): (?P<figures>{NUMBER}(?:, {NUMBER})*)")


@dataclass(frozen=True)
class Statements:
    """What one comment says."""

    record: str | None
    """None where it has only ``as given``."""
    elements: str | None
    """The list whose elements are the rows of the table; None where the statements are of single figures."""
    size: int
    """How many elements make a row."""
    each: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A paragraph, list item or table, with the headings before it."""

    text: str
    """As people wrote it, without comments, code and the targets of links."""
    comments: tuple[str, ...]
    """What its comments hold after the word ``figures``."""

    @property
    def opening(self) -> str:
        """Its first words, which tell a person where it is."""
        return " ".join(self.text.split()[:8])

    @property
    def rows(self) -> list[str]:
        """The rows of its table below the head."""
        lines = [line for line in self.text.splitlines() if line.startswith("|")]
        return lines[2:]


def plain(number: str) -> str:
    """Leave out of a written number what does not change its value: a plus sign and thousands separators."""
    return number.removeprefix("+").replace(",", "")


def numbers_in(text: str) -> list[str]:
    """Return every number of a text, in the form of ``plain``."""
    return [plain(found) for found in re.findall(NUMBER, text)]


def blocks(page: str) -> Iterator[Block]:
    """Split a page into the blocks that people wrote; code and generated sections are left out."""
    page = _CODE.sub("", _GENERATED.sub("", page))
    comments = [" ".join(comment.split()) for comment in _COMMENT.findall(page)]
    number = iter(range(len(comments)))
    page = _COMMENT.sub(lambda _: f"<{next(number)}>", page)  # a comment may hold what would begin a list item
    page = re.sub(r"^(#+ .*)\n\s*", r"\1\n", page, flags=re.MULTILINE)  # a heading belongs to what follows it
    for text in re.split(r"\n\s*\n|\n(?=\s*(?:-|\d\.) )", page):
        shown = _UNSHOWN.sub("", text)
        own = tuple(comments[int(found)] for found in re.findall(r"<(\d+)>", shown))
        yield Block(re.sub(r"<\d+>", "", shown), own)


def statements(comment: str) -> Statements:
    """Read a comment.

    Raises:
        SourceError: It names no record, and has more than figures as given.
    """
    if comment.startswith("as given"):
        return Statements(None, None, 1, tuple(comment.split("; ")))
    head = _HEAD.fullmatch(comment)
    if head is None:
        raise SourceError(f"{comment!r} is expected to begin with 'RECORD: ' or 'RECORD, rows of LIST: '")
    return Statements(head["record"], head["elements"], int(head["size"] or 1), tuple(head["statements"].split("; ")))


def wrong_figures(block: Block, load: Load) -> list[str]:
    """Say what is wrong with a block's statements: figures that differ from the record, or that do not occur."""
    wrong = []
    for comment in block.comments:
        try:
            said = statements(comment)
            record = load(said.record) if said.record else None
            if said.elements:
                wrong += wrong_rows(block.rows, said, record)
                continue
        except SourceError as error:
            wrong.append(str(error))
            continue
        for statement in said.each:
            try:
                wrong += wrong_statement(block, statement, record)
            except SourceError as error:
                wrong.append(f"{statement!r}: {error}")
    return wrong


def wrong_statement(block: Block, statement: str, record: Any) -> list[str]:
    """Say what is wrong with a statement of single figures.

    Raises:
        SourceError: It cannot be read, or the record lacks what it names.
    """
    given = _AS_GIVEN.fullmatch(statement)
    stated = _FIGURE.fullmatch(statement)
    if given:
        found = [(one, None) for one in re.findall(NUMBER, given["figures"])]
    elif stated and record is not None:
        found = [(stated[part], value) for part, value in values(record, stated).items()]
    else:
        raise SourceError("expected 'FIGURE = FIELD' of a record, or 'as given (REASON): FIGURE, FIGURE'")
    there = numbers_in(block.text)
    wrong = [f"{one} is stated, and does not occur there" for one, _ in found if plain(one) not in there]
    return wrong + [
        f"{one} is stated for {statement.partition(' = ')[2]}, the record has {as_written(one, value)}"
        for one, value in found
        if value is not None and not rounds_to(one, value)
    ]


def values(record: Any, stated: re.Match[str]) -> dict[str, float]:
    """Compute what a statement's figure should be, and the ends of its interval if it has one."""
    source = stated["source"]
    value = {"figure": evaluate(record, source, percent=bool(stated["percent"]))}
    if stated["low"] is None:
        return value
    ends = ("high", "low") if source.startswith("-") else ("low", "high")
    return value | {part: evaluate(record, f"{source}.{end}") for part, end in zip(("low", "high"), ends, strict=True)}


def wrong_rows(rows: list[str], said: Statements, record: Any) -> list[str]:
    """Say which rows of a table differ from the elements of their list.

    Raises:
        SourceError: There is no such list, it makes another number of rows, or no element has what a column names.
    """
    elements = field(record, str(said.elements))
    groups = [elements[start : start + said.size] for start in range(0, len(elements), said.size)]
    if len(groups) != len(rows):
        raise SourceError(f"the table has {len(rows)} rows, {said.elements} makes {len(groups)}")
    wrong, unseen = [], set(said.each)
    for row, group in zip(rows, groups, strict=True):
        expected = {}
        for source in said.each:
            try:
                expected[source] = evaluate(group if said.size > 1 else group[0], source)
            except SourceError:
                continue
        unseen -= set(expected)
        written = numbers_in(row)
        if len(written) != len(expected):
            wrong.append(f"{row} has {len(written)} numbers, the record {len(expected)}: {', '.join(expected)}")
            continue
        wrong += [
            f"{row} states {one} for {source}, the record has {as_written(one, value)}"
            for one, (source, value) in zip(written, expected.items(), strict=True)
            if not rounds_to(one, value)
        ]
    if unseen:
        raise SourceError(f"no element of {said.elements} has {', '.join(sorted(unseen))}")
    return wrong


def figures_without_source(block: Block) -> list[str]:
    """Return the decimals of a block that none of its comments covers."""
    covered = {number for comment in block.comments for number in covered_by(comment)}
    text = re.sub(NAMED, "", block.text)
    if any(re.match(r"\w+, rows of ", comment) for comment in block.comments):
        text = text.replace("\n".join(block.rows), "")
    return [found for found in re.findall(NUMBER, text) if "." in found and plain(found) not in covered]


def covered_by(comment: str) -> list[str]:
    """Return the figures that a comment states for a source, or as given."""
    return [
        number
        for statement in comment.split("; ")
        for number in numbers_in(re.sub(r"as given \(.*?\): | = .*", "", statement))
    ]


def rounds_to(written: str, value: float) -> bool:
    """Whether a written number is the value rounded to the number's decimals; half a step may go either way."""
    return abs(float(plain(written)) - value) <= 0.5 * 10.0 ** -decimals(written) + 1e-9


def as_written(written: str, value: float) -> str:
    """Write a value with the decimals that a written number has."""
    return f"{value:.{decimals(written)}f}"


def decimals(written: str) -> int:
    """Count the decimals of a written number."""
    return len(written.partition(".")[2])
