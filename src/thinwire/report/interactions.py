"""Interactions from a sweep's results: the gain of one arm over its baseline, less that of a reference over its own."""

from __future__ import annotations

from collections.abc import Mapping

from thinwire.config.settings import VerdictConfig
from thinwire.report.analysis_record import Gain, InteractionSummary
from thinwire.report.code_sizes import keeps_all_numbers
from thinwire.report.setting_differences import differ_in_lora_alone
from thinwire.results.arm_record import ArmResults
from thinwire.results.interactions import Interaction
from thinwire.results.read import Results
from thinwire.stats.bootstrap import Comparison
from thinwire.stats.contrasts import Contrast, compare_contrasts
from thinwire.stats.inference import Interval


def summarize_interactions(
    results: Results, settings: VerdictConfig, comparison: Comparison | None
) -> tuple[InteractionSummary, ...]:
    """Compute all interactions that the sweep declares and whose four members are done, as one family.

    Args:
        comparison: of all arms with the sweep's baseline; a gain over that has the same interval everywhere.
    """
    asked = {
        name: one
        for name, one in results.sweep.interactions.items()
        if all(member in results.groups for member in (*one.gain, *one.reference_gain))
    }
    if not asked:
        return ()
    gains = {
        (name, results.sweep.baseline): _gain(arm.difference, arm.simultaneous)
        for name, arm in (comparison.arms if comparison else {}).items()
    }
    missing = dict.fromkeys(pair for one in asked.values() for pair in (one.gain, one.reference_gain))
    terms = {" - ".join(pair): {pair[0]: 1.0, pair[1]: -1.0} for pair in missing if pair not in gains}
    found = _contrasts(results, settings, terms) if terms else {}
    gains |= {(arm, base): _of(found[f"{arm} - {base}"]) for arm, base in missing if (arm, base) not in gains}
    differences = _contrasts(results, settings, {name: one.weights for name, one in asked.items()})
    return tuple(
        InteractionSummary(
            name=name,
            **one.model_dump(),
            of_compression=_of_compression(results, one),
            **_block_size(results, one),
            gain=gains[one.gain],
            reference_gain=gains[one.reference_gain],
            difference=_of(differences[name]),
            p_adjusted=differences[name].adjusted_p_value,
            reason=differences[name].reason,
            covers=differences[name].covers,
        )
        for name, one in asked.items()
    )


def is_uncompressed(results: Results, name: str) -> bool:
    """Return whether an arm or control reads the text itself, codes that keep every number of an embedding, or blocks
    of one token."""
    record = results.groups[name][0].record
    if record.config["input"] == "blocks":
        return bool(record.config["blocks"]["size"] == 1)
    codec = record.done.codec
    return codec is None or keeps_all_numbers(codec, results.sweep.model)


def adds_lora_alone(results: Results, name: str, baseline: str) -> bool:
    """Return whether LoRA is all that an arm or control has over another."""
    # Seeds of a repeated arm are the experiment's, and the first that is done is not the same for every arm.
    repeated = any(run.record.name != run.record.arm for runs in results.groups.values() for run in runs)
    one, other = (results.groups[member][0].record.config for member in (name, baseline))
    return differ_in_lora_alone(one, other, free={*results.searched, *(["seed"] if repeated else [])})


def _of_compression(results: Results, one: Interaction) -> bool:
    arm, reference = (results.groups[name][0].record.config for name in (one.arm, one.reference_arm))
    return (
        all(adds_lora_alone(results, *pair) for pair in (one.gain, one.reference_gain))
        and (arm["lora"], arm["input"]) == (reference["lora"], reference["input"])
        and not is_uncompressed(results, one.arm)
        and is_uncompressed(results, one.reference_arm)
    )


def reads_blocks(results: Results, name: str) -> bool:
    """Return whether several tokens of an arm's or control's contexts share a position."""
    return results.groups[name][0].record.config["input"] == "blocks" and not is_uncompressed(results, name)


def _block_size(results: Results, one: Interaction) -> dict[str, int]:
    """``block_size`` of an interaction where it is known to be one of fewer positions; records of others lack it."""
    if not (_of_compression(results, one) and reads_blocks(results, one.arm)):
        return {}
    return {"block_size": results.groups[one.arm][0].record.config["blocks"]["size"]}


def _contrasts(
    results: Results, settings: VerdictConfig, weights: Mapping[str, Mapping[str, float]]
) -> dict[str, Contrast]:
    """Compare sums of group means; the arms that are in none of them help to estimate the spread over seeds."""
    named = {member for one in weights.values() for member in one}
    groups = {name: runs for name, runs in results.groups.items() if name in results.arms or name in named}
    return compare_contrasts(
        {name: [one.score for one in runs] for name, runs in groups.items()},
        weights,
        untrained=[name for name, runs in groups.items() if not _learned(runs[0].record.done)],
        confidence=settings.confidence,
        num_resamples=settings.resamples,
        rng=0,
    ).contrasts


def _learned(done: ArmResults) -> bool:
    return done.training is not None or done.text_reconstruction is not None


def _of(contrast: Contrast) -> Gain:
    return _gain(contrast.estimate, contrast.simultaneous)


def _gain(estimate: float, interval: Interval | None) -> Gain:
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Gain(estimate=estimate, low=low, high=high)
