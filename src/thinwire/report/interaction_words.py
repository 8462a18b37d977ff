"""An interaction in words: what may be said of LoRA's gain on compressed input, and no more."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.report.analysis_record import Gain, InteractionSummary
from thinwire.report.markdown.tables import points

NOT_MEASURED = "gain on uncompressed input not measured"
"""After a headline on LoRA, where no interaction says how much of its gain is the task that it learns."""


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
    return f"{whose}{gains} points on compressed, {references} on uncompressed input; {relations}"


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
    whose = "LoRA's gain on compressed input" if all(one.of_compression for one in found) else "The gain of an arm"
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
    if relation:
        where = f"on compressed ({gain} points) than on uncompressed input ({reference})"
        return f"{whose}a {relation} gain {where}{of_arm}"
    return f"{whose}{gain} points on compressed, {reference} on uncompressed input, no difference shown{of_arm}"


def sentence(found: InteractionSummary, judged: tuple[str, str] | None = None) -> str:
    """Write an interaction as a sentence with its numbers, all in points.

    Args:
        judged: the arm and baseline whose gain was said before, which is not said again.
    """
    difference, bound = found.difference, f"; {found.reason}" if found.reason else ""
    arms = f"{found.arm} over {found.baseline}", f"{found.reference_arm} over {found.reference_baseline}"
    relation = _relation(difference)
    if relation:
        size = difference if difference.sign > 0 else _negated(difference)
        numbers = f"{100 * size.estimate:.1f} points {relation}"
        ends = f"{points(size.low)} to {points(size.high)}{bound}"
        against = f"{points(found.gain.estimate, '+')} against {points(found.reference_gain.estimate, '+')}"
        if found.of_compression:
            return (
                f"LoRA's gain is {numbers} on compressed input than on uncompressed input ({ends}): {against} "
                f"({arms[0]}, {arms[1]})."
            )
        return f"The gain of {arms[0]} is {numbers} than that of {arms[1]} ({ends}): {against}."
    gain, reference = measured(found.gain, " points"), measured(found.reference_gain, " points")
    if not found.of_compression:
        gains = f"The gain of {arms[0]} is {gain}, that of {arms[1]} {reference}"
    elif found.pairs[0] == judged:
        gains = f"LoRA's gain on uncompressed input ({arms[1]}) is {reference}"
    else:
        gains = f"LoRA's gain on compressed input ({arms[0]}) is {gain}, on uncompressed input ({arms[1]}) {reference}"
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
        said += f": at most {points(high)} points of the gain are specific to compressed input"
    return said


def _negated(found: Gain) -> Gain:
    assert found.low is not None
    assert found.high is not None
    return Gain(estimate=-found.estimate, low=-found.high, high=-found.low)


def measured(found: Gain, unit: str = "") -> str:
    """Write a gain in points with its interval, if it has one."""
    ends = "" if found.low is None else f" ({points(found.low, '+')} to {points(found.high, '+')})"
    return f"{points(found.estimate, '+')}{unit}{ends}"
