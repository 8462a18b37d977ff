"""What limits the reading of a sweep's numbers, said alike in every rendering; all of it follows from the analysis."""

from __future__ import annotations

import re

from thinwire.report import compare
from thinwire.report.analysis_record import Analysis
from thinwire.results.sweep_header import SweepModel

ONE_SEED, FIXED = compare.ONE_SEED, compare.FIXED
BELOW_TIERS = "below the tiers, harm: the interval is below 0, slight: above 0, no help: around 0"
"""What the supported tiers mean that are no gain that counts."""
CEILING_SCALE = "0 = codec only, 100 % = text + LoRA"
"""What the ends of the scale are on which a share of the ceiling is given."""

overlap = compare.overlap


def described(name: str, description: str) -> str:
    """Write a sweep's name with its description behind a colon, where it has one."""
    return f"{name}: {description}" if description.strip() else name


def fewer_questions(split: str, setting: str, asked: int | str, drawn: int) -> str | None:
    """Say that a split has fewer questions than were asked for; None where it has not.

    Args:
        split: ``training``, ``selection`` or ``test``.
        asked: the value of ``setting``; a text, such as ``all``, asks for no number.
    """
    if isinstance(asked, str) or drawn >= asked:
        return None
    return f"{drawn:,} {split} questions, fewer than the {asked:,} asked for ({setting}): the data hold no more"


def limits(analysis: Analysis) -> list[str]:
    """Say what the intervals cover badly and not at all; nothing where there are no intervals."""
    members = {name for one in analysis.interactions for pair in one.pairs for name in pair}
    trained = [row for row in analysis.rows if row.params != 0]
    compared = [row for row in trained if row.score_difference or row.is_baseline or row.name in members]
    seeds = {row.num_seeds for row in compared if row.num_seeds}
    if not seeds or not any(row.score_difference for row in compared):
        return []
    few = compare.few_seeds(seeds)
    return [*([few] if few else []), FIXED]


def notes(analysis: Analysis) -> list[str]:
    """List the limits, then the sweep's own notes, each once: records of earlier versions hold some of the limits."""
    return list(dict.fromkeys([*limits(analysis), *analysis.notes]))


def first_seed(analysis: Analysis) -> str:
    """Say of which seed something is that is shown of one training only: " of the first seed (seed 0)".

    Empty where every arm has one seed.
    """
    if not any(row.num_seeds and row.num_seeds > 1 for row in analysis.rows):
        return ""
    seeds = {row.degeneration.seed for row in analysis.rows if row.degeneration and row.kind == "arm"} - {None}
    return f" of the first seed (seed {seeds.pop()})" if len(seeds) == 1 else " of the first seed"


def model_name(model: SweepModel) -> str:
    """Name the model, with how its file stores its weights where that is less than their full precision."""
    if model.quantisation is None:
        return model.name
    kind = model.quantisation.removesuffix("GGUF").strip()
    bits = re.match(r"I?Q(\d)", kind)
    return f"{model.name} ({f'{bits[1]}-bit ' if bits else ''}GGUF: {kind})"
