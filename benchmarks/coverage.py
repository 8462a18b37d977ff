"""Measure how often simultaneous intervals hold the truth, in samples from tiny to ordinary.

Five parts, each of simulated sweeps whose true differences are known (see lib/latent_scores.py):

- cells: one seed; from 2 to 50 paragraphs, of one question each, of five, or very unequal (40 / rank questions); scores
  of four kinds; one arm or ten. Every second arm is truly 3 points better (0.09 where arms nearly equal the baseline).
- interactions: one seed; four groups, whose two gains differ truly or do not, through the function that judges a
  sweep's interactions; or four interactions with one reference.
- rare: an arm with a true gain of 3 points where the baseline gets 1 % right; "no help" must not be said.
- seeds: one arm or ten without effect, several seeds each, whose luck has a known standard deviation, the same in all
  groups or larger in the baseline.
- ceiling: the share of the ceiling, with luck of the same kind.

Coverage is counted among the sweeps that yield an interval; the share that is refused is stated beside it.

    python benchmarks/coverage.py --out docs/results/records/coverage.json
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from lib.latent_scores import F1, Scores, draw_latent
from scipy.special import roots_hermitenorm

from thinwire.stats.ceiling import paired_ceiling_shares
from thinwire.stats.contrasts import compare_contrasts
from thinwire.stats.inference import Uncertainty, infer
from thinwire.stats.pairing import Panel, Run
from thinwire.stats.resampling import Design
from thinwire.stats.small_samples import LEAST_PARAGRAPHS

EFFECT, MARGINAL = 0.03, 0.02
KEPT = 0.97
"""Share of questions in which an arm of the kind "nearly equal" has the baseline's very score."""
SCORES = {
    "0/1": Scores(zeros=0.7, ones=0.3, between=()),
    "95 % zeros": Scores(zeros=0.95, ones=0.02, between=F1.between),
    "nearly equal": F1,
    "F1": F1,
}
RARE = Scores(zeros=0.99, ones=0.01, between=())
PARAGRAPHS = (2, 3, 4, 6, 8, 12, 20, 50)
SIZES = ("one", "five", "unequal")
ROUNDING = 1e-12


def paragraph_sizes(kind: str, num: int) -> np.ndarray:
    """Return the number of questions of each paragraph."""
    if kind == "unequal":
        return np.maximum(1, np.round(40 / np.arange(1, num + 1))).astype(int)
    return np.full(num, {"one": 1, "five": 5}[kind])


def paragraph_sums(scores: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Sum ``[..., questions, columns]`` by paragraph."""
    return np.add.reduceat(scores, np.cumsum(sizes) - sizes, axis=-2)


def effects(num_arms: int) -> np.ndarray:
    """Return every arm's true gain: every second one, from the first, has it."""
    return np.where(np.arange(num_arms) % 2 == 0, EFFECT, 0.0)


def simulate(
    rng: np.random.Generator, num_sweeps: int, sizes: np.ndarray, kind: str, num_arms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``[sweeps, paragraphs, 1 + arms]`` sums of scores, and each arm's true gain."""
    scores = RARE if kind == "rare" else SCORES[kind]
    latent = draw_latent(rng, num_sweeps, np.repeat(np.arange(len(sizes)), sizes), num_arms)
    latent[..., 1:] += [scores.shift_for(effect) for effect in effects(num_arms)]
    found, truth = scores.of(latent), effects(num_arms)
    if kind == "nearly equal":
        kept = rng.random((*found.shape[:2], num_arms)) < KEPT
        found[..., 1:] = np.where(kept, found[..., :1], found[..., 1:])
        truth = truth * (1 - KEPT)
    return paragraph_sums(found, sizes), truth


def against_first(sums: np.ndarray, sizes: np.ndarray, num_runs: list[int]) -> Design:
    """Return the design of all groups against the first."""
    groups = len(num_runs)
    weights = np.vstack([-np.ones(groups - 1), np.eye(groups - 1)])
    return Design.of(Panel(sums=sums, sizes=sizes.astype(float)), num_runs, weights, [False] * groups)


def in_chunks(num_sweeps: int, chunk: int) -> Iterator[int]:
    """Yield sizes of chunks that make up the sweeps."""
    for start in range(0, num_sweeps, chunk):
        yield min(chunk, num_sweeps - start)


def measure_cell(
    num_paragraphs: int, size: str, kind: str, num_arms: int, num_sweeps: int, num_resamples: int, seed: int
) -> dict[str, object]:
    """Simulate one cell and count what its intervals hold."""
    sizes = paragraph_sizes(size, num_paragraphs)
    key = [seed, num_paragraphs, SIZES.index(size), [*SCORES, "rare"].index(kind), num_arms]
    rng = np.random.default_rng(key)
    found: list[tuple[list[Uncertainty], np.ndarray]] = []
    for num in in_chunks(num_sweeps, 200):
        sums, truth = simulate(rng, num, sizes, kind, num_arms)
        for one in sums:
            design = against_first(one, sizes, [1] * (num_arms + 1))
            inferred = infer(design, confidence=0.95, num_resamples=num_resamples, rng=rng, pointwise=False)
            found.append((inferred, truth))
    return {
        "paragraphs": num_paragraphs,
        "sizes": size,
        "questions": int(sizes.sum()),
        "scores": kind,
        "arms": num_arms,
        **count(found),
    }


def count(found: list[tuple[list[Uncertainty], np.ndarray]]) -> dict[str, object]:
    """Count refusals, bounds, misses and false claims of no help among sweeps."""
    kept = [(arms, truth) for arms, truth in found if arms[0].simultaneous is not None]
    ends = np.array([[(a.simultaneous.low, a.simultaneous.high) for a in arms] for arms, _ in kept])
    counted = {"sweeps": len(found), "refused": 1 - len(kept) / len(found)}
    if not kept:
        return counted
    truths = np.array([truth for _, truth in kept])
    holds = (ends[..., 0] <= truths + ROUNDING) & (ends[..., 1] >= truths - ROUNDING)
    return {
        **counted,
        "covered": float(holds.all(1).mean()),
        "bounded": float(np.mean([a.outcome != "compared" for arms, _ in kept for a in arms])),
        "false_no_help": float((ends[:, 0, 1] < MARGINAL).mean()) if truths[0, 0] > MARGINAL else None,
        "median_half_width": float(np.median(ends[..., 1] - ends[..., 0]) / 2),
        "widest_half_width": float((ends[..., 1] - ends[..., 0]).max() / 2),
        "narrowest_half_width": float((ends[..., 1] - ends[..., 0]).min() / 2),
    }


# Interactions


@dataclass(frozen=True, kw_only=True)
class Gains:
    """True gains of simulated arms, in fractions."""

    scores: Scores
    """Of the baselines."""
    reference_level: float
    """Of the reference's baseline above the others."""
    gain: float
    """Of every arm over its own baseline; an arm whose interaction is not zero gains ``EFFECT`` more."""


GAINS = {
    "0/1": Gains(scores=SCORES["0/1"], reference_level=0.13, gain=0.16),
    "continuous": Gains(
        # The squares of uniform numbers, in 100 steps: most scores are low, and few are equal.
        scores=Scores(zeros=0.0, ones=0.0, between=tuple(((i + 0.5) / 100) ** 2 for i in range(100))),
        reference_level=0.13,
        gain=0.16,
    ),
    "95 % zeros": Gains(scores=SCORES["95 % zeros"], reference_level=0.01, gain=0.02),
}
"""Levels and gains as in the plan's sweep (docs/results/main_sweep.md), smaller where hardly any score is above 0."""


def true_interactions(num: int, effect: float) -> np.ndarray:
    """Return each interaction's true value: of several, every second one, from the first, is not zero."""
    return np.where(np.arange(num) % 2 == 0, effect, 0.0)


def simulate_interactions(
    rng: np.random.Generator, num_sweeps: int, sizes: np.ndarray, gains: Gains, truth: np.ndarray
) -> np.ndarray:
    """Return ``[sweeps, questions, groups]`` scores: the baselines of the reference and of each arm, then the arms."""
    baselines = [gains.reference_level, *[0.0] * len(truth)]
    levels = [*baselines, *(np.array(baselines) + gains.gain + [0.0, *truth])]
    paragraphs = np.repeat(np.arange(len(sizes)), sizes)
    latent = draw_latent(rng, num_sweeps, paragraphs, len(baselines), num_baselines=len(baselines))
    return gains.scores.of(latent + [gains.scores.shift_for(level) for level in levels])


def measure_interactions(
    num_paragraphs: int, size: str, kind: str, num: int, effect: float, num_sweeps: int, num_resamples: int, seed: int
) -> dict[str, object]:
    """Simulate one cell of sweeps with ``num`` interactions, which have the same reference."""
    sizes, truth = paragraph_sizes(size, num_paragraphs), true_interactions(num, effect)
    rng = np.random.default_rng(
        [seed, num_paragraphs, SIZES.index(size), list(GAINS).index(kind), num, round(1e4 * effect)]
    )
    ids = tuple(f"q{i}" for i in range(sizes.sum()))
    of = tuple(f"p{p}" for p in np.repeat(np.arange(len(sizes)), sizes))
    names = [f"baseline{k}" for k in range(num + 1)] + [f"arm{k}" for k in range(num + 1)]  # 0 is the reference
    weights = {
        str(k): {f"arm{k}": 1.0, f"baseline{k}": -1.0, "arm0": -1.0, "baseline0": 1.0} for k in range(1, num + 1)
    }
    found: list[tuple[list[Uncertainty], np.ndarray]] = []
    for chunk in in_chunks(num_sweeps, 200):
        for scores in simulate_interactions(rng, chunk, sizes, GAINS[kind], truth):
            columns = zip(names, scores.T.tolist(), strict=True)
            runs = {name: [Run(ids=ids, paragraph_ids=of, scores=tuple(column))] for name, column in columns}
            compared = compare_contrasts(runs, weights, num_resamples=num_resamples, rng=rng)
            found.append((list(compared.contrasts.values()), truth))
    counted = count(found)
    counted.pop("false_no_help", None)  # a tier of arms; interactions have none
    described = {"paragraphs": num_paragraphs, "sizes": size, "questions": int(sizes.sum()), "scores": kind}
    return {**described, "interactions": num, "effect": effect, **counted, "false_claims": false_claims(found)}


def false_claims(found: list[tuple[list[Uncertainty], np.ndarray]]) -> float | None:
    """Return the share of sweeps, of all, that claim of an interaction which is truly zero that it is not."""
    if not (found[0][1] == 0).any():
        return None
    ends = ([one.simultaneous for one, true in zip(ones, truth, strict=True) if not true] for ones, truth in found)
    return float(np.mean([any(e is not None and (e.low > 0 or e.high < 0) for e in each) for each in ends]))


# Several seeds


def luck_in_latent(points: float) -> float:
    """Return the standard deviation of a latent shift that makes mean F1 vary by about ``points``."""
    return points / 100 / ((F1.mean(0.01) - F1.mean(-0.01)) / 0.02)


def lucky_sums(
    rng: np.random.Generator, sizes: np.ndarray, num_runs: list[int], shifts: list[float], lucks: list[float]
) -> np.ndarray:
    """Return ``[paragraphs, runs]`` sums of one sweep whose runs are each shifted by their own luck, of its group's."""
    latent = draw_latent(rng, 1, np.repeat(np.arange(len(sizes)), sizes), sum(num_runs) - 1)[0]
    spread = np.repeat([luck_in_latent(luck) for luck in lucks], num_runs)
    each = np.repeat(shifts, num_runs) + spread * rng.standard_normal(sum(num_runs))
    return paragraph_sums(F1.of(latent + each), sizes)


def measure_seeds(
    num_arms: int, num_seeds: int, luck: float, baseline_luck: float, num_sweeps: int, num_resamples: int, seed: int
) -> dict[str, object]:
    """Simulate arms without effect and the baseline, all with several seeds: 200 paragraphs of five questions.

    Luck moves the mean of F1 a little, as scores end at 0 and 1; where arms and baseline differ in luck, that is a
    true difference.
    """
    rng = np.random.default_rng([seed, num_arms, num_seeds, round(100 * luck), round(100 * baseline_luck)])
    sizes, num_runs = np.full(200, 5), [num_seeds] * (num_arms + 1)
    truth = np.full(num_arms, expected_mean(0.0, luck) - expected_mean(0.0, baseline_luck))
    lucks = [baseline_luck, *[luck] * num_arms]
    found = []
    for _ in range(num_sweeps):
        design = against_first(lucky_sums(rng, sizes, num_runs, [0.0] * len(num_runs), lucks), sizes, num_runs)
        inferred = infer(design, confidence=0.95, num_resamples=num_resamples, rng=rng, pointwise=False)
        found.append((inferred, truth))
    described = {"arms": num_arms, "seeds": num_seeds, "luck_points": luck, "baseline_luck_points": baseline_luck}
    return {**described, **count(found)}


def expected_mean(shift: float, luck: float) -> float:
    """Return the expected mean score over the luck of training."""
    at, weights = roots_hermitenorm(41)
    means = [F1.mean(shift + luck_in_latent(luck) * one) for one in at]
    return float(np.dot(means, weights) / weights.sum())


def measure_ceiling(num_seeds: int, luck: float, num_sweeps: int, seed: int) -> dict[str, object]:
    """Simulate an arm 10 and a ceiling 20 points above the codec, which trains nothing; 200 paragraphs of five."""
    rng, sizes = np.random.default_rng([seed, num_seeds, round(100 * luck), 1]), np.full(200, 5)
    shifts = [0.0, F1.shift_for(0.1), F1.shift_for(0.2)]
    arm_mean, ceiling_mean = (expected_mean(shift, luck) for shift in shifts[1:])
    truth = (arm_mean - F1.mean()) / (ceiling_mean - F1.mean())
    ids = tuple(f"q{i}" for i in range(sizes.sum()))
    of = tuple(f"p{p}" for p in np.repeat(np.arange(len(sizes)), sizes))
    paragraphs = np.repeat(np.arange(len(sizes)), sizes)
    intervals = []
    for _ in range(num_sweeps):
        latent = draw_latent(rng, 1, paragraphs, 2 * num_seeds)[0]
        lucky = luck_in_latent(luck) * rng.standard_normal(2 * num_seeds)
        latent[:, 1:] += np.repeat(shifts[1:], num_seeds) + lucky
        runs = [Run(ids=ids, paragraph_ids=of, scores=tuple(column)) for column in F1.of(latent).T.tolist()]
        (share,) = paired_ceiling_shares([runs[1 : num_seeds + 1]], runs[:1], runs[num_seeds + 1 :])
        intervals.append(share.interval)
    kept = [one for one in intervals if one is not None]
    counted = {"seeds": num_seeds, "luck_points": luck, "sweeps": num_sweeps, "refused": 1 - len(kept) / num_sweeps}
    if not kept:
        return counted
    return {
        **counted,
        "covered": float(np.mean([one.low <= truth <= one.high for one in kept])),
        "median_half_width": float(np.median([one.high - one.low for one in kept]) / 2),
    }


PARTS = {
    "cells": lambda a: (
        measure_cell(num, size, kind, arms, a.sweeps, a.resamples, a.seed)
        for size, num, kind, arms in product(SIZES, PARAGRAPHS, SCORES, (1, 10))
    ),
    "rare": lambda a: (measure_cell(num, "one", "rare", 1, a.sweeps, a.resamples, a.seed) for num in (8, 20, 50)),
    "interactions": lambda a: (
        measure_interactions(num, size, kind, interactions, effect, a.interaction_sweeps, a.resamples, a.seed)
        for size, num, kind, interactions, effect in product(
            SIZES, [num for num in PARAGRAPHS if num >= LEAST_PARAGRAPHS], GAINS, (1, 4), (0.0, EFFECT)
        )
    ),
    "seeds": lambda a: (
        measure_seeds(arms, num_seeds, *lucks, a.seed_sweeps, a.resamples, a.seed)
        for arms, num_seeds, lucks in product((1, 10), (2, 3, 5), ((1.7, 1.7), (4.4, 4.4), (1.7, 4.4)))
    ),
    "ceiling": lambda a: (
        measure_ceiling(num_seeds, luck, a.seed_sweeps, a.seed) for num_seeds, luck in product((1, 2, 3, 5), (1.7, 4.4))
    ),
}


def rounded(cell: dict[str, object]) -> dict[str, object]:
    """Return the figures of a cell with three decimals: tenths of a point."""
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in cell.items()}


def run_part(name: str, args: argparse.Namespace) -> dict[str, object]:
    """Measure one part, and print each of its cells in a line."""
    start, cells = time.perf_counter(), []
    for cell in PARTS[name](args):
        cells.append(rounded(cell))
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in cells[-1].items())}", flush=True)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python", *sys.argv]),
        "seconds": round(time.perf_counter() - start),
        "resamples": args.resamples,
        "seed": args.seed,
        "cells": cells,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="others stay in the file")
    parser.add_argument("--sweeps", type=int, default=1_000, help="of each cell with one seed")
    parser.add_argument("--interaction-sweeps", type=int, default=2_000, help="of each cell with interactions")
    parser.add_argument("--seed-sweeps", type=int, default=300, help="of each cell with several seeds")
    parser.add_argument("--resamples", type=int, default=499)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    for name in args.parts:
        found = run_part(name, args)
        if args.out:
            before = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {}
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps({**before, name: found}, indent=2, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
