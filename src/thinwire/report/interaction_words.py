"""An interaction in words: what may be said of LoRA's gain on compressed input or fewer positions, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from thinwire.report.analysis_record import Gain, InteractionSummary
from thinwire.report.markdown.tables import points


class _Inputs(NamedTuple):
    """What two gains of an interaction are on, in words that follow a gain."""

    compressed: str
    uncompressed: str
    beside: str
    """The first again, with the second behind it."""
    specific: str
    """What a part of the gain may be specific to."""
    alone: str
    """The second, where the first has not been said."""


_COMPRESSED = _Inputs(
    compressed="on compressed input",
    uncompressed="on uncompressed input",
    beside="on compressed",
    specific="compressed input",
    alone="on uncompressed input",
)
_SHARES = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 8: "an eighth"}


def in_positions(block_size: int) -> str:
    """Name the share of the positions that contexts take in blocks of so many tokens: ``half of the positions``."""
    return f"{_SHARES.get(block_size, f'1/{block_size}')} of the positions"


def _inputs(found: Sequence[InteractionSummary]) -> _Inputs:
    """The words for interactions of compression: of codes, or of blocks of one size or of several."""
    sizes = {one.block_size for one in found}
    if None in sizes:
        return _COMPRESSED
    share = in_positions(next(filter(None, sizes))) if len(sizes) == 1 else "fewer positions"
    return _Inputs(
        compressed=f"on contexts in {share}",
        uncompressed="where every token has its own",
        beside=f"on contexts in {share}",
        specific="fewer positions",
        alone=_OWN_POSITIONS,
    )


_OWN_POSITIONS = "where every token has its own position"


def not_measured(*, in_blocks: bool) -> tuple[str, str]:
    """Say after a headline, and in a sentence, that no interaction tells how much of LoRA's gain is the task that it
    learns.

    Args:
        in_blocks: whether the arm reads several tokens in a position.
    """
    where = _OWN_POSITIONS if in_blocks else _COMPRESSED.alone
    return f"gain {where} not measured", f"LoRA's gain {where} was not measured."


def judged_interactions(found: Sequence[InteractionSummary], judged_by: str) -> Sequence[InteractionSummary]:
    """Return the interactions that a verdict speaks of: that of the judged arm if there is one, else all."""
    return [one for one in found if one.arm == judged_by][:1] or found


def headline_of_all(found: Sequence[InteractionSummary], judged_by: str, *, about_lora: bool) -> str:
    """Write the interactions that a verdict speaks of in a few words; empty where there is nothing to say.

    Of several, it gives the range of the gains, and names those whose gain is shown to be larger or smaller.
    """
    if len(found) <= 1:
        return "".join(headline(one, judged_by, about_lora=about_lora) for one in found)
    shown = [
        f"{relation} for {', '.join(names)}"
        for relation in ("larger", "smaller")
        if (names := [one.arm for one in found if _relation(one.difference) == relation])
    ]
    if not shown and all(one.gain.sign <= 0 for one in found):
        return ""
    rest = f"no difference shown for {'the others' if shown else f'any of {len(found)} arms'}"
    unresolved = any(_relation(one.difference) is None for one in found)
    relations = "; ".join([*shown, *([rest] if unresolved else [])])
    gains, references = (_range([one.gain for one in found]), _range([one.reference_gain for one in found]))
    if not all(one.of_compression for one in found):
        return f"gains of {gains} points, of their references {references}; {relations}"
    whose = "" if about_lora else "LoRA: "
    inputs = _inputs(found)
    return f"{whose}{gains} points {inputs.beside}, {references} {inputs.uncompressed}; {relations}"


def _range(gains: Sequence[Gain]) -> str:
    """Write the smallest and the largest of gains, in points: ``+12.4 to +15.3``."""
    ends = dict.fromkeys(points(end(one.estimate for one in gains), "+") for end in (min, max))
    return " to ".join(ends)


def sentences_of_all(found: Sequence[InteractionSummary], judged: tuple[str, str]) -> str:
    """Write the interactions that a verdict speaks of, with their numbers, in points.

    Args:
        judged: the arm and baseline whose gain was said before, which is not said again.
    """
    if len(found) <= 1:
        return "".join(sentence(one, judged) for one in found)
    of_compression = all(one.of_compression for one in found)
    whose = f"LoRA's gain {_inputs(found).compressed}" if of_compression else "The gain of an arm"
    references = dict.fromkeys((one.pairs[1], one.reference_gain) for one in found)
    named = ", ".join(f"{arm} over {base}: {measured(gain, ' points')}" for (arm, base), gain in references)
    each = "; ".join(
        f"{one.arm} {measured(one.difference)}{'' if one.reason is None else f', {one.reason}'}" for one in found
    )
    return f"{whose} less that of its reference ({named}) is: {each}."


def headline(found: InteractionSummary, judged_by: str, *, about_lora: bool) -> str:
    """Write an interaction in a few words, to follow a headline; empty where neither it nor its gain is resolved.

    It gives both gains, so that who reads nothing else does not take one of them for both.

    Args:
        about_lora: whether the headline is about LoRA, so that gains without a name are LoRA's.
    """
    of_arm, whose = "" if found.arm == judged_by else f" ({found.arm})", "" if about_lora else "LoRA: "
    gain, reference = points(found.gain.estimate, "+"), points(found.reference_gain.estimate, "+")
    relation = _relation(found.difference)
    if relation is None and found.gain.sign <= 0:
        return ""
    if not found.of_compression:
        compared = f"{relation} than" if relation else "not shown to differ from"
        return f"the gain of {found.arm} ({gain} points) is {compared} that of {found.reference_arm} ({reference})"
    inputs = _inputs([found])
    if relation:
        where = f"{inputs.beside} ({gain} points) than {inputs.uncompressed} ({reference})"
        return f"{whose}a {relation} gain {where}{of_arm}"
    return f"{whose}{gain} points {inputs.beside}, {reference} {inputs.uncompressed}, no difference shown{of_arm}"


def sentence(found: InteractionSummary, judged: tuple[str, str] | None = None) -> str:
    """Write an interaction as a sentence with its numbers, all in points.

    Args:
        judged: the arm and baseline whose gain was said before, which is not said again.
    """
    difference, bound = found.difference, f"; {found.reason}" if found.reason else ""
    inputs = _inputs([found])
    arms = f"{found.arm} over {found.baseline}", f"{found.reference_arm} over {found.reference_baseline}"
    relation = _relation(difference)
    if relation:
        size = difference if difference.sign > 0 else _negated(difference)
        numbers = f"{100 * size.estimate:.1f} points {relation}"
        ends = f"{points(size.low)} to {points(size.high)}{bound}"
        against = f"{points(found.gain.estimate, '+')} against {points(found.reference_gain.estimate, '+')}"
        if found.of_compression:
            return (
                f"LoRA's gain is {numbers} {inputs.compressed} than {inputs.uncompressed} ({ends}): {against} "
                f"({arms[0]}, {arms[1]})."
            )
        return f"The gain of {arms[0]} is {numbers} than that of {arms[1]} ({ends}): {against}."
    gain, reference = measured(found.gain, " points"), measured(found.reference_gain, " points")
    if not found.of_compression:
        gains = f"The gain of {arms[0]} is {gain}, that of {arms[1]} {reference}"
    elif found.pairs[0] == judged:
        gains = f"LoRA's gain {inputs.alone} ({arms[1]}) is {reference}"
    else:
        gains = f"LoRA's gain {inputs.compressed} ({arms[0]}) is {gain}, {inputs.uncompressed} ({arms[1]}) {reference}"
    return f"{gains}; the difference of the two is {measured(difference)}{_doubt(found)}{bound}."


def _relation(difference: Gain) -> str | None:
    return {1: "larger", -1: "smaller", 0: None}[difference.sign]


def _doubt(found: InteractionSummary) -> str:
    """Say what the interval of a difference that is not resolved leaves open."""
    high = found.difference.high
    if high is None:
        return ", without an interval"
    said = ", an interval that includes 0"
    if found.of_compression and found.gain.sign > 0 and 0 < high < found.gain.estimate:
        said += f": at most {points(high)} points of the gain are specific to {_inputs([found]).specific}"
    return said


def _negated(found: Gain) -> Gain:
    assert found.low is not None
    assert found.high is not None
    return Gain(estimate=-found.estimate, low=-found.high, high=-found.low)


def measured(found: Gain, unit: str = "") -> str:
    """Write a gain in points with its interval, if it has one."""
    ends = "" if found.low is None else f" ({points(found.low, '+')} to {points(found.high, '+')})"
    return f"{points(found.estimate, '+')}{unit}{ends}"
