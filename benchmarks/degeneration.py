"""Measure how often healthy answers pass for collapsed, and which share of degenerate answers is found.

Draws answers to SQuAD's dev questions. Healthy sets are gold answers, wrong answers of the same form and right answers
in sentences. In a collapsed set, an exact share of the answers is replaced by degenerate ones of one kind; the others
are gold answers or all wrong. Each draw takes other questions (except where all are taken), replaces other answers and
is judged by ``thinwire.evaluation.degeneration``, and for comparison by fixed limits on the same metrics.

Answers of real models are judged too where their files are given; no more are drawn than half of those in a file.

    python benchmarks/degeneration.py --out docs/results/records/degeneration.json
    python benchmarks/degeneration.py --predictions no_context=runs/background/controls/no_context/predictions.jsonl
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lib.answer_sets import Row, collapses, healthy_sets, prediction
from lib.examined_answers import Answers, Vocabulary

from thinwire.data.sources import load_questions
from thinwire.data.squad import Example
from thinwire.evaluation.answer_metrics import AnswerMetrics, gold_row
from thinwire.evaluation.degeneration import Limits, finding_of, judge

SIZES = (100, 500, 1_000, 10_570)
STRENGTHS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Shares of the answers that are replaced."""
BASES = ("gold", "any words of the paragraph")
"""Healthy sets whose answers a collapse replaces."""


def fixed_finding(answers: AnswerMetrics, gold: AnswerMetrics) -> str:
    """Judge by fixed limits, without a sampling allowance, of which only the first word's depends on right answers:
    it counts where fewer than a tenth of the answers contain a gold one."""
    stuck = answers.top_first_word_share >= gold.top_first_word_share + 0.5 and answers.found_share < 0.1
    collapsed = (
        answers.empty_share >= 0.5
        or answers.distinct_share < 0.5 * gold.distinct_share
        or answers.repeated_share >= gold.repeated_share + 0.1
        or answers.copied_question_share >= gold.copied_question_share + 0.5
        or stuck
    )
    if collapsed:
        return "collapsed"
    lost = answers.present_not_exact_share >= max(0.1, answers.exact_share)
    return "format only" if lost else "healthy"


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Questions with their gold answers and any number of sets of other answers."""

    gold: Answers
    sets: dict[str, Answers]
    f1: dict[str, float]
    """Mean F1 of each set; a fraction."""

    @classmethod
    def of(cls, rows_of: Mapping[str, Sequence[Row]]) -> "Pool":
        """Examine sets of answers to the same questions."""
        texts, words, paragraphs = Vocabulary(), Vocabulary(), Vocabulary()
        golds = [gold_row(row) for row in next(iter(rows_of.values()))]
        return cls(
            gold=Answers.of(golds, texts, words, paragraphs),
            sets={name: Answers.of(rows, texts, words, paragraphs) for name, rows in rows_of.items()},
            f1={name: float(np.mean([row["f1"] for row in rows])) for name, rows in rows_of.items()},
        )


def squad_pool(examples: Sequence[Example], seed: int) -> Pool:
    """Make the synthetic answers to ``examples``."""
    rng = random.Random(seed)  # noqa: S311 (not cryptographic)
    kinds = healthy_sets(examples) | collapses(examples)
    return Pool.of({name: [prediction(e, answer(e, rng)) for e in examples] for name, answer in kinds.items()})


@dataclass(frozen=True, kw_only=True)
class Tally:
    """How often each finding was made, each by fixed limits, and each criterion was beyond its limit."""

    made: Counter[str]
    made_by_fixed_limits: Counter[str]
    beyond: Counter[str]

    def add(self, answers: AnswerMetrics, gold: AnswerMetrics) -> None:
        evidence = judge(answers, gold, Limits())
        self.made[finding_of(evidence)] += 1
        self.made_by_fixed_limits[fixed_finding(answers, gold)] += 1
        self.beyond.update(one.metric for one in evidence if one.beyond)


def findings(
    pool: Pool, base: str, degenerate: Mapping[float, str], size: int, draws: int, rng: np.random.Generator
) -> dict[float, Tally]:
    """Judge ``draws`` sets of ``size`` answers of ``base``.

    Args:
        degenerate: shares of the answers that are replaced, and by which set of answers.

    Returns:
        the findings at each share.
    """
    tallies = {share: Tally(made=Counter(), made_by_fixed_limits=Counter(), beyond=Counter()) for share in degenerate}
    for _ in range(draws):
        places = rng.choice(len(pool.gold.text), size, replace=False)
        gold, answers = pool.gold.take(places).metrics(), pool.sets[base].take(places)
        for share, kind in degenerate.items():
            replaced = rng.choice(size, round(share * size), replace=False)
            tallies[share].add(answers.replaced(replaced, pool.sets[kind].take(places[replaced])).metrics(), gold)
    return tallies


def threshold(strengths: Sequence[float], found: Sequence[float]) -> float | None:
    """Return the strength at which half of the draws are found, interpolated; None where fewer are at any strength."""
    before = (0.0, 0.0)
    for strength, share in zip(strengths, found, strict=True):
        if share >= 0.5:
            return before[0] + (strength - before[0]) * (0.5 - before[1]) / (share - before[1])
        before = (strength, share)
    return None


def draws_of(size: int, num_draws: int) -> int:
    """Return how many draws are made; large sets, which vary little, are drawn a quarter as often."""
    return num_draws if size <= 1_000 else -(-num_draws // 4)


def judge_healthy(name: str, pool: Pool, sizes: Sequence[int], num_draws: int, rng: np.random.Generator) -> list[dict]:
    """Judge draws of one set that is no collapse."""
    cells = []
    for size in sizes:
        draws = draws_of(size, num_draws)
        tally = findings(pool, name, {0.0: name}, size, draws, rng)[0.0]
        cells.append(
            {
                "answers": name,
                "f1": pool.f1[name],
                "n": size,
                "draws": draws,
                "collapsed": tally.made["collapsed"] / draws,
                "format_only": tally.made["format only"] / draws,
                "collapsed_by_fixed_limits": tally.made_by_fixed_limits["collapsed"] / draws,
                "beyond": {metric: count / draws for metric, count in tally.beyond.items()},
            }
        )
        show_healthy(cells[-1])
    return cells


def judge_collapse(kind: str, pool: Pool, sizes: Sequence[int], num_draws: int, rng: np.random.Generator) -> list[dict]:
    """Judge draws of every strength of one kind of collapse."""
    cells = []
    for base in BASES:
        for size in sizes:
            draws = draws_of(size, num_draws)
            tallies = findings(pool, base, dict.fromkeys(STRENGTHS, kind), size, draws, rng).values()
            found = [tally.made["collapsed"] / draws for tally in tallies]
            fixed = [tally.made_by_fixed_limits["collapsed"] / draws for tally in tallies]
            cells.append(
                {
                    "collapse": kind,
                    "others": base,
                    "n": size,
                    "draws": draws,
                    "found": dict(zip(map(str, STRENGTHS), found, strict=True)),
                    "found_by_fixed_limits": dict(zip(map(str, STRENGTHS), fixed, strict=True)),
                    "threshold": threshold(STRENGTHS, found),
                    "threshold_of_fixed_limits": threshold(STRENGTHS, fixed),
                }
            )
            show_collapse(cells[-1])
    return cells


def show_healthy(cell: dict) -> None:
    print(
        f"{cell['answers']:28} F1 {100 * cell['f1']:5.1f}  n {cell['n']:6,}  collapsed {cell['collapsed']:6.1%}  "
        f"format only {cell['format_only']:6.1%}  by fixed limits {cell['collapsed_by_fixed_limits']:6.1%}",
        flush=True,
    )


def show_collapse(cell: dict) -> None:
    found = " ".join(f"{share:4.0%}" for share in cell["found"].values())
    print(
        f"{cell['collapse']:36} others {cell['others'][:9]:9} n {cell['n']:6,}  found {found}  half at "
        f"{percent(cell['threshold'])}, by fixed limits {percent(cell['threshold_of_fixed_limits'])}",
        flush=True,
    )


def percent(share: float | None) -> str:
    return "never" if share is None else f"{share:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200, help="of each kind and size; a quarter above 1,000")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--predictions", nargs="*", default=[], metavar="NAME=FILE", help="predictions.jsonl of real models"
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    start = time.perf_counter()
    examples = load_questions("squad", "test")
    pool, rng = squad_pool(examples, args.seed), np.random.default_rng(args.seed)
    print(f"strengths: {', '.join(f'{strength:.0%}' for strength in STRENGTHS)}")
    healthy = [
        cell for name in healthy_sets(examples) for cell in judge_healthy(name, pool, args.sizes, args.draws, rng)
    ]
    for given in args.predictions:
        name, _, file = given.partition("=")
        rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
        sizes = [size for size in args.sizes if size <= len(rows) // 2] + [len(rows)]
        healthy += judge_healthy(name, Pool.of({name: rows}), sizes, args.draws, rng)
    collapsed = [
        cell for kind in collapses(examples) for cell in judge_collapse(kind, pool, args.sizes, args.draws, rng)
    ]
    if args.out:
        result = {
            "date": time.strftime("%Y-%m-%d"),
            "command": " ".join(["python", *sys.argv]),
            "seconds": round(time.perf_counter() - start, 1),
            "seed": args.seed,
            "limits": vars(Limits()),
            "healthy": healthy,
            "collapsed": collapsed,
        }
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
