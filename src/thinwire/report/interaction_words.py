"""An interaction in words: what may be said of LoRA's gain on compressed input, and no more."""

from __future__ import annotations

from collections.abc import Sequence

from thinwire.report.analysis_record import Gain, InteractionSummary
from thinwire.report.markdown.tables import points

NOT_MEASURED = "its gain on uncompressed input was not measured"
"""Of LoRA, where no interaction says how much of its gain is the task that it learns."""


def judged_interaction(found: Sequence[InteractionSummary], judged_by: str) -> InteractionSummary | None:
    """Return the interaction that a verdict speaks of: that of the judged arm, else the first; None without any."""
    return next((one for one in found if one.arm == judged_by), found[0] if found else None)


def headline(found: InteractionSummary, judged_by: str, *, about_lora: bool) -> str:
    """Write an interaction in a few words, to follow a headline; empty where neither it nor its gain is resolved.

    Args:
        about_lora: whether the headline is about LoRA, so that "its" is LoRA's.
    """
    whose = "its" if about_lora else "LoRA's"
    of_arm = "" if found.arm == judged_by else f" ({found.arm})"
    relation = {1: "larger", -1: "smaller", 0: None}[found.difference.sign]
    if relation is None and found.gain.sign <= 0:
        return ""
    if not found.of_compression:
        compared = f"{relation} than" if relation else "not shown to differ from"
        return f"the gain of {found.arm} is {compared} that of {found.reference_arm}"
    if relation:
        return f"{whose} gain is {relation} on compressed than on uncompressed input{of_arm}"
    if about_lora and found.reference_gain.sign > 0:
        return f"on uncompressed input too{of_arm}"
    return f"{whose} gain on compressed input is not shown to differ from that on uncompressed input{of_arm}"


def sentence(found: InteractionSummary) -> str:
    """Write an interaction as a sentence with its numbers, all in F1 points."""
    difference, sign = found.difference, found.difference.sign
    bound = f"; {found.reason}" if found.reason else ""
    arms = f"{found.arm} over {found.baseline}", f"{found.reference_arm} over {found.reference_baseline}"
    if not sign:
        doubt = ", without an interval" if difference.low is None else ", an interval that includes 0"
        gains = measured(found.gain, " points"), measured(found.reference_gain)
        if found.of_compression:
            both = f"LoRA gains {gains[0]} on compressed input, {gains[1]} on uncompressed input ({', '.join(arms)})"
        else:
            both = f"{found.arm} gains {gains[0]} over {found.baseline}, {found.reference_arm} {gains[1]} over "
            both += found.reference_baseline
        return f"{both}; the difference of the two is {measured(difference)}{doubt}{bound}."
    relation = "larger" if sign > 0 else "smaller"
    size = difference if sign > 0 else _negated(difference)
    numbers = f"{100 * size.estimate:.1f} points {relation}"
    ends = f"{points(size.low)} to {points(size.high)}{bound}"
    against = f"{points(found.gain.estimate, '+')} against {points(found.reference_gain.estimate, '+')}"
    if found.of_compression:
        return (
            f"LoRA's gain is {numbers} on compressed input than on uncompressed input ({ends}): {against} "
            f"({arms[0]}, {arms[1]})."
        )
    return f"The gain of {arms[0]} is {numbers} than that of {arms[1]} ({ends}): {against}."


def _negated(found: Gain) -> Gain:
    assert found.low is not None
    assert found.high is not None
    return Gain(estimate=-found.estimate, low=-found.high, high=-found.low)


def measured(found: Gain, unit: str = "") -> str:
    """Write a gain in F1 points with its interval, if it has one."""
    ends = "" if found.low is None else f" ({points(found.low, '+')} to {points(found.high, '+')})"
    return f"{points(found.estimate, '+')}{unit}{ends}"
