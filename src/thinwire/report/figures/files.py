"""The figures of a sweep as files: SVG, and PNG and PDF converted from it.

The conversion needs the optional package ``vl-convert-python``, which brings its fonts along: a figure looks the same
on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thinwire.errors import UsageError
from thinwire.files import write_bytes
from thinwire.report.analysis_record import Analysis
from thinwire.report.figures import (
    curves,
    forest,
    frequency,
    gains,
    grid,
    ladder,
    savings,
    sensitivity,
    standing,
    tradeoff,
    wire,
)
from thinwire.report.figures.svg.figure import Figure

FORMATS = ("svg", "png", "pdf")

_SCALE = 2
"""Pixels of a PNG for one of the page: 1,888 for a wide figure."""


def every_figure(analysis: Analysis, series: Mapping[str, Any]) -> list[Figure]:
    """List every figure that an analysis and its series have data for."""
    found = [
        standing.figure(analysis),
        forest.figure(analysis),
        gains.figure(analysis),
        ladder.figure(analysis),
        *savings.figures(analysis),
        *tradeoff.figures(analysis),
        grid.figure(analysis),
        *sensitivity.figures(analysis),
        *curves.figures(analysis, series),
        frequency.figure(series),
        wire.figure(analysis),
    ]
    return [figure for figure in found if figure is not None]


def write_figures(
    analysis: Analysis, series: Mapping[str, Any], folder: Path, formats: Sequence[str] = ("svg", "png")
) -> list[Path]:
    """Write every figure that has data to ``folder``, in each format, and return the files.

    Raises:
        UsageError: a format is unknown, or needs the package that is not installed.
        StorageError: a file cannot be written.
    """
    if unknown := [suffix for suffix in formats if suffix not in FORMATS]:
        raise UsageError(f"--format takes one of {', '.join(FORMATS)}, got {unknown[0]!r}")
    converters = {suffix: _converter(suffix) for suffix in formats}
    written = []
    for figure in every_figure(analysis, series):
        svg = figure.file()
        for suffix, convert in converters.items():
            path = folder / f"{figure.name}.{suffix}"
            write_bytes(path, convert(svg))
            written.append(path)
    return written


def _converter(suffix: str) -> Callable[[str], bytes]:
    """Return what makes the content of a file from an SVG."""
    if suffix == "svg":
        return str.encode
    try:
        import vl_convert
    except ImportError:
        raise UsageError(
            f"--format {suffix} needs vl-convert-python, which is not installed: pip install 'thinwire[plots]'"
        ) from None
    if suffix == "pdf":
        return vl_convert.svg_to_pdf
    return lambda svg: vl_convert.svg_to_png(svg, scale=_SCALE)
