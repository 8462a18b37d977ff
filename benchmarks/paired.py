"""Two ways of doing the same work, timed in alternating pairs, so that a drifting machine slows both alike.

A pair runs each way once, and every second pair in the other order: what heats up, is cached or throttled in between
favours neither. What counts is the rate, in units of work a second: medians with their spread, the ratio of the
medians, and the ratios within the pairs. As a module it measures; as a program it shows what was measured:

    timings = measure({"plain": plain, "thinwire": thinwire}, device=device)
    record = summarize(timings, unit="real tokens", floor=None) | {"environment": environment(device)}

    python benchmarks/paired.py RECORD.json
"""

# ruff: noqa: T201 (the table is what it is for)

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One run of one way."""

    seconds: float
    units: float

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / self.seconds


Work = Callable[[], float | Timing]
"""Does the work once and returns how many units of it that was, or a timing of its own that leaves preparation out."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The middle of a few values, and how far they lie apart."""

    median: float
    low: float
    high: float
    lower_quartile: float
    upper_quartile: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Quartiles are interpolated linearly, as numpy does."""
        lower, upper = np.quantile(values, [0.25, 0.75])
        return cls(
            median=statistics.median(values),
            low=min(values),
            high=max(values),
            lower_quartile=float(lower),
            upper_quartile=float(upper),
        )


def measure(
    works: Mapping[str, Work],
    *,
    device: torch.device,
    pairs: int = 5,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[Timing]]:
    """Time two ways, the reference first in ``works``; the results of each are in the order of the pairs.

    Args:
        device: where the works run; a CUDA device is waited for before the clock is read.
        warm_up: runs of each way that are not counted: kernels are chosen and memory is taken in them.

    Raises:
        ValueError: not two ways, or fewer than 5 pairs, whose spread would say little.
    """
    if len(works) != 2 or pairs < 5:
        raise ValueError(f"two ways and at least 5 pairs make a comparison, not {len(works)} and {pairs}")

    def run(work: Work) -> Timing:
        _wait_for(device)
        start = clock()
        done = work()
        _wait_for(device)
        return done if isinstance(done, Timing) else Timing(seconds=clock() - start, units=done)

    for _ in range(warm_up):
        for work in works.values():
            run(work)
    timings: dict[str, list[Timing]] = {name: [] for name in works}
    for pair in range(pairs):
        for name in works if pair % 2 == 0 else reversed(list(works)):
            timings[name].append(run(works[name]))
            # As it comes: a machine that is lent by the minute may be gone before the last pair.
            print(f"pair {pair + 1} of {pairs}, {name}: {timings[name][-1].rate:,.0f} a second", flush=True)
    return timings


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summarize(timings: Mapping[str, Sequence[Timing]], *, unit: str, floor: float | None = None) -> dict[str, Any]:
    """What ``measure`` found, as JSON values.

    Args:
        timings: the reference's first.
        floor: units a second of the least that any way has to do (the bare model's passes, say). Each way's median
            is also given as a share of it; null means that none is known.
    """
    reference, subject = timings
    rates = {name: [timing.rate for timing in runs] for name, runs in timings.items()}
    spreads = {name: Spread.of(values) for name, values in rates.items()}
    ratios = [ours / theirs for theirs, ours in zip(rates[reference], rates[subject], strict=True)]
    return {
        "unit": unit,
        "pairs": len(ratios),
        "floor": floor,
        "ways": {
            name: {
                "rate": asdict(spreads[name]),
                "share_of_floor": spreads[name].median / floor if floor else None,
                "runs": [asdict(timing) for timing in runs],
            }
            for name, runs in timings.items()
        },
        "ratio_of_medians": spreads[subject].median / spreads[reference].median,
        "ratio_within_pairs": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
    }


def table(summary: Mapping[str, Any]) -> str:
    """A summary as text."""
    has_floor = summary["floor"] is not None
    rows = [[f"{summary['unit']}/s", "median", "range", "quartiles", *(["of the floor"] if has_floor else [])]]
    for name, way in summary["ways"].items():
        rate = way["rate"]
        row = [name, number(rate["median"])]
        bounds = (("low", "high"), ("lower_quartile", "upper_quartile"))
        row += [f"{number(rate[low])} to {number(rate[high])}" for low, high in bounds]
        rows.append(row + ([f"{way['share_of_floor']:.0%}"] if has_floor else []))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    lines = ["  ".join(row) for row in aligned]
    reference, subject = summary["ways"]
    within = summary["ratio_within_pairs"]
    lines.append(
        f"{subject} / {reference}: {summary['ratio_of_medians']:.2f}; within {summary['pairs']} pairs "
        f"{within['median']:.2f} ({within['low']:.2f} to {within['high']:.2f})"
    )
    return "\n".join(lines)


def number(value: float) -> str:
    """Three digits, or all before the point where there are more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+", metavar="RECORD.json", help="what `summarize` returned")
    for path in parser.parse_args().records:
        record = json.loads(path.read_text(encoding="utf-8"))
        print(path.stem)
        if environment := record.get("environment"):
            packages = environment["packages"]
            versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "transformers", "peft"))
            print(f"{environment['device']}, {versions}, commit {environment['git_commit']}")
        print(table(record), end="\n\n")


if __name__ == "__main__":
    main()
