"""What fewer positions save: the costs of a test prompt for each arm and control of a sweep with blocks or
shortened contexts."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from thinwire.evaluation.prompt_costs import cache_bytes, prefill_flops
from thinwire.report.rows import PromptCosts
from thinwire.results.arm_record import ArmRecord, ArmResults
from thinwire.results.read import Finished, Results


def prompt_costs(results: Results) -> dict[str, PromptCosts]:
    """Return the costs by name of arm or control; none in a sweep in which every prompt is made of all tokens."""
    if not any(map(_saves_positions, (runs[0].record for runs in results.groups.values()))):
        return {}
    found = {name: _costs(runs) for name, runs in results.groups.items()}
    return {name: costs for name, costs in found.items() if costs is not None}


def _saves_positions(record: ArmRecord) -> bool:
    config, sizes = record.config, record.done.prompts
    is_cut = config.get("context", True) and config.get("prompt", {}).get("context_share", 1) < 1
    return config["input"] == "blocks" or is_cut or (sizes is not None and sizes.positions < sizes.tokens)


def _costs(runs: Sequence[Finished]) -> PromptCosts | None:
    """The costs of one arm, of which only the seconds differ between seeds; None where its prompts were not
    measured."""
    record, done = runs[0].record, runs[0].record.done
    sizes, shape = done.prompts, done.model_shape
    if sizes is None:
        return None
    in_blocks = record.config["input"] == "blocks"
    seconds = [_seconds(run.record.done, in_blocks=in_blocks) for run in runs]
    known = [one for one in seconds if one is not None]
    mean = fmean(known) if len(known) == len(seconds) else None
    squared = sizes.squared_positions
    return PromptCosts(
        tokens=sizes.tokens,
        positions=sizes.positions,
        prefill_flops=None if shape is None or squared is None else prefill_flops(shape, sizes.positions, squared),
        encoder_flops=sizes.encoder_flops,
        cache_bytes=None if shape is None else cache_bytes(shape, sizes.positions),
        seconds=mean,
        questions_per_second=done.test.n / mean if mean else None,
        block_size=record.config["blocks"]["size"] if in_blocks else None,
        encoder=record.config["blocks"]["encoder"] if in_blocks else None,
    )


def _seconds(done: ArmResults, *, in_blocks: bool) -> float | None:
    """Seconds of the test with the embeddings of its blocks; None where an earlier version may have left those out."""
    if not in_blocks:
        return done.seconds_test
    return None if done.seconds_embeddings is None else done.seconds_test + done.seconds_embeddings
