"""Time two ways of doing the same work in alternating pairs, so that a drifting machine slows both alike.

Each pair runs both ways once, and every second pair runs them in the other order, so that caching, heat and throttling
favour neither. The metric is the rate in units of work a second: the median and range of each way, the ratio of the
medians, and the ratios within the pairs. Import the module to measure; run it as a script to print a record:

    timings = measure({"plain": plain, "thinwire": thinwire}, device=device)
    record = summarize(timings, unit="real tokens", floor=None)
    record["environment"] = environment(device).model_dump(mode="json")

    python benchmarks/lib/paired_timing.py RECORD.json
"""

# ruff: noqa: T201 (it prints its result)

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
    """The time and the work of one run."""

    seconds: float
    units: float

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / self.seconds


Work = Callable[[], float | Timing]
"""Does the work once and returns its number of units, or its own timing that excludes preparation."""


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """The median, range and quartiles of a few values."""

    median: float
    low: float
    high: float
    lower_quartile: float
    upper_quartile: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quantiles":
        """Summarise values; quartiles are interpolated linearly, as in numpy."""
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
    """Time two ways, the reference first in ``works``, and return each one's timings in the order of the pairs.

    Args:
        device: where the work runs; a CUDA device is synchronised before the clock is read.
        warm_up: uncounted runs of each way, in which kernels are chosen and memory is allocated.

    Raises:
        ValueError: not two ways, or fewer than 5 pairs, too few for a range.
    """
    if len(works) != 2 or pairs < 5:
        raise ValueError(f"two ways and at least 5 pairs make a comparison, not {len(works)} and {pairs}")

    def run(work: Work) -> Timing:
        wait_for(device)
        start = clock()
        done = work()
        wait_for(device)
        return done if isinstance(done, Timing) else Timing(seconds=clock() - start, units=done)

    for _ in range(warm_up):
        for work in works.values():
            run(work)
    timings: dict[str, list[Timing]] = {name: [] for name in works}
    for pair in range(pairs):
        for name in works if pair % 2 == 0 else reversed(list(works)):
            timings[name].append(run(works[name]))
            # Printed at once: a borrowed machine may be gone before the last pair.
            print(f"pair {pair + 1} of {pairs}, {name}: {timings[name][-1].rate:,.0f} a second", flush=True)
    return timings


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summarize(timings: Mapping[str, Sequence[Timing]], *, unit: str, floor: float | None = None) -> dict[str, Any]:
    """Summarise the result of ``measure`` as JSON values.

    Args:
        timings: the result of ``measure``, the reference first.
        floor: units a second if only the unavoidable work were done (the bare model's matrix products, say). Each
            median is also given as a share of it; None where it is unknown.
    """
    reference, subject = timings
    rates = {name: [timing.rate for timing in runs] for name, runs in timings.items()}
    quantiles = {name: Quantiles.of(values) for name, values in rates.items()}
    ratios = [ours / theirs for theirs, ours in zip(rates[reference], rates[subject], strict=True)]
    return {
        "unit": unit,
        "pairs": len(ratios),
        "floor": floor,
        "ways": {
            name: {
                "rate": asdict(quantiles[name]),
                "share_of_floor": quantiles[name].median / floor if floor else None,
                "runs": [asdict(timing) for timing in runs],
            }
            for name, runs in timings.items()
        },
        "ratio_of_medians": quantiles[subject].median / quantiles[reference].median,
        "ratio_within_pairs": {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)},
    }


def format_table(summary: Mapping[str, Any]) -> str:
    """Format a summary as text."""
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
    """Format with three significant digits, or all digits before the point where there are more."""
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
        print(format_table(record), end="\n\n")


if __name__ == "__main__":
    main()
