"""Measure how often the statistics report an effect that is not there, and how often they find one that is.

Simulates sweeps of a baseline and eleven arms whose true differences are known (see lib/latent_scores.py), one seed
each, five questions a paragraph.

    python benchmarks/calibration.py --out docs/results/records/calibration.json
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lib.latent_scores import F1, draw_latent
from scipy.special import ndtr
from scipy.stats import binom

from thinwire.stats.bootstrap import ArmComparison, Comparison, compare_to_baseline
from thinwire.stats.pairing import Run
from thinwire.stats.power import questions_needed
from thinwire.stats.verdict import sweep_verdict

NUM_ARMS = 11
PER_PARAGRAPH = 5


def simulate(rng: np.random.Generator, num_questions: int, effect: float) -> tuple[list[Run], dict[str, list[Run]]]:
    """Simulate one sweep, whose first arm has the effect."""
    paragraphs = np.arange(num_questions) // PER_PARAGRAPH
    latent = draw_latent(rng, 1, paragraphs, NUM_ARMS)[0]
    latent[:, 1] += F1.shift_for(effect)
    ids = tuple(f"q{i}" for i in range(num_questions))
    of = tuple(f"p{p}" for p in paragraphs)
    runs = [Run(ids=ids, paragraph_ids=of, scores=tuple(column)) for column in F1.of(latent).T.tolist()]
    return [runs[0]], {f"arm{k}": [run] for k, run in enumerate(runs[1:])}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The size and effect of a group of simulated sweeps."""

    num_questions: int
    effect: float


def run_cell(cell: Cell, num_sweeps: int, num_resamples: int, seed: int) -> dict[str, object]:
    """Simulate the sweeps of a cell and count what they declare."""
    rng = np.random.default_rng([seed, cell.num_questions, round(1000 * cell.effect)])
    hits: list[dict[str, bool]] = []
    variances, criticals = [], []
    for _ in range(num_sweeps):
        arms = simulate(rng, cell.num_questions, cell.effect)
        comparison = compare_to_baseline(*arms, num_resamples=num_resamples, rng=rng)
        hits.append(declared(comparison, cell.effect))
        first = comparison.arms["arm0"]
        if first.outcome == "compared":
            variances.append(first.question_variance)
            criticals.append(first.critical)
    variance, critical = float(np.mean(variances)), float(np.mean(criticals))
    predicted = {
        f"found_above_{points}": float(ndtr((cell.effect - points / 100) / math.sqrt(variance) - critical))
        for points in (0, 2, 5)
    }
    return {
        "questions": cell.num_questions,
        "effect_points": 100 * cell.effect,
        "sweeps": num_sweeps,
        "share": shares(hits),
        "share_of_first_500": shares(hits[:500]),
        "limit_of_a_true_5_percent": int(binom.ppf(0.975, num_sweeps, 0.05)) / num_sweeps,
        "predicted": predicted if cell.effect else None,
        "mean_standard_error": math.sqrt(variance),
        "mean_critical": critical,
    }


def shares(hits: list[dict[str, bool]]) -> dict[str, float]:
    """Return how often each thing was declared."""
    return {name: sum(hit[name] for hit in hits) / len(hits) for name in hits[0]}


def declared(comparison: Comparison, effect: float) -> dict[str, bool]:
    """Return what one sweep declares; its best arm is chosen on the same questions, which is the worst case."""
    arms = comparison.arms
    best = max(arms, key=lambda name: arms[name].difference)
    verdict = sweep_verdict(comparison, best)
    truth = {name: effect if name == "arm0" else 0.0 for name in arms}
    low = arms["arm0"].simultaneous.low
    return {
        "helped": verdict.helped,
        "any_simultaneous_excludes_0": any(not a.simultaneous.low <= 0 <= a.simultaneous.high for a in arms.values()),
        "any_simultaneous_misses_truth": any(
            not a.simultaneous.low <= truth[name] <= a.simultaneous.high for name, a in arms.items()
        ),
        "any_holm_below_0.05": any(a.adjusted_p_value <= 0.05 for a in arms.values()),
        "arm0_percentile_misses_truth": not arms["arm0"].percentile.low <= effect <= arms["arm0"].percentile.high,
        "arm0_bca_misses_truth": not arms["arm0"].bca.low <= effect <= arms["arm0"].bca.high,
        "naive_best_observed_at_least_2": arms[best].difference >= 0.02,
        "naive_best_own_interval_excludes_0": arms[best].percentile.low > 0,
        **{f"found_above_{points}": low >= points / 100 for points in (0, 2, 5)},
    }


def planned_cell(cells: list[dict], effect: float, threshold: float) -> Cell:
    """Return the size that the power calculation asks for, given the standard error at the largest size."""
    seen = max((c for c in cells if math.isclose(c["effect_points"], 100 * effect)), key=lambda c: c["questions"])
    arm = ArmComparison(
        outcome="compared",
        reason=None,
        covers="questions",
        num_questions=seen["questions"],
        num_paragraphs=seen["questions"] // PER_PARAGRAPH,
        num_runs=1,
        num_baseline_runs=1,
        mean=0.0,
        baseline_mean=0.0,
        difference=effect,
        question_variance=seen["mean_standard_error"] ** 2,
        seed_variance=0.0,
        effective_paragraphs=seen["questions"] / PER_PARAGRAPH,
        critical=seen["mean_critical"],
    )
    needed = questions_needed(arm, threshold, power=0.8).number
    if needed is None:
        raise ValueError(f"an effect of {effect} cannot be told from a threshold of {threshold}")
    return Cell(num_questions=-(-needed // PER_PARAGRAPH) * PER_PARAGRAPH, effect=effect)


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{fields['model name']} (family {fields['cpu family']}, model {fields['model']}), {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=500, help="of each size where an arm has an effect")
    parser.add_argument("--null-sweeps", type=int, default=4_000, help="of each size where no arm has one")
    parser.add_argument("--resamples", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    start = time.perf_counter()
    cells = []
    for cell in [Cell(num_questions=n, effect=e) for n in (100, 1000) for e in (0.0, 0.02, 0.05, 0.1)]:
        num = args.sweeps if cell.effect else args.null_sweeps
        cells.append(run_cell(cell, num, args.resamples, args.seed))
        show(cells[-1])
    for effect, threshold in ((0.05, 0.0), (0.05, 0.02), (0.1, 0.05)):
        cell = planned_cell(cells[:8], effect, threshold)
        planned = run_cell(cell, args.sweeps, args.resamples, args.seed)
        cells.append({**planned, "planned_for": {"threshold_points": 100 * threshold, "power": 0.8}})
        show(cells[-1])
    if args.out:
        result = {
            "date": time.strftime("%Y-%m-%d"),
            "command": " ".join(["python", *sys.argv]),
            "cpu": cpu(),
            "seconds": round(time.perf_counter() - start, 1),
            "arms": NUM_ARMS,
            "questions_per_paragraph": PER_PARAGRAPH,
            "resamples": args.resamples,
            "seed": args.seed,
            "numpy": np.__version__,
            "cells": cells,
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def show(cell: dict) -> None:
    """Print the results of one cell in a line."""
    share, predicted = cell["share"], cell["predicted"] or {}
    found = "  ".join(
        f">{points}: {share[f'found_above_{points}']:.1%} (predicted {predicted[f'found_above_{points}']:.1%})"
        for points in (0, 2, 5)
        if predicted
    )
    print(
        f"n {cell['questions']:5} effect {cell['effect_points']:+5.1f}  helped {share['helped']:6.1%}  "
        f"any excludes 0 {share['any_simultaneous_excludes_0']:6.1%}  misses truth "
        f"{share['any_simultaneous_misses_truth']:5.1%} (limit {cell['limit_of_a_true_5_percent']:.1%})  "
        f"naive {share['naive_best_observed_at_least_2']:6.1%}  {found}",
        flush=True,
    )


if __name__ == "__main__":
    main()
