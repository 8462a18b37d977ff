"""What an experiment itself says in its reports, and of which models and data it may be said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, field_validator

from thinwire.config.settings import DataConfig
from thinwire.errors import shown
from thinwire.schema import Section, Weight
from thinwire.stats.tiers import ROUNDING, Tier


class ExpectedBaseline(Section):
    """The expected F1 of the baseline arm with one model; reports say whether it was reached."""

    model: str
    """Part of the model's name for which the expectation applies, ignoring case: ``Llama-3.1-8B``."""
    f1: Annotated[float, Field(ge=0, le=100)]
    """Expected F1, in points."""
    tolerance: Weight = 2.0
    """Maximum difference in points that still counts as a match."""

    def applies_to(self, model: str) -> bool:
        """Return whether the expectation applies to the model of this name."""
        return self.model.lower() in model.lower()

    def is_met_by(self, f1: float) -> bool:
        """Return whether an F1 (a fraction) is within the tolerance."""
        return abs(100 * f1 - self.f1) <= self.tolerance + ROUNDING


class ReportSubject(Section):
    """The models and data that an experiment's words are about. Reports of other models or data leave out what
    ``report`` says, and in place of the experiment's description they name model and data. Without this group, the
    words are said of all."""

    models: tuple[str, ...]
    """Parts of the names of models, ignoring case: ``[Llama-3.1-8B]``. One must be in the name of the sweep's model."""
    data: tuple[str, ...]
    """Sources of questions, as they stand in ``data.train`` and ``data.test``: ``[squad]``. Those of the sweep must be
    among them."""

    @field_validator("models", "data")
    @classmethod
    def _at_least_one(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or not all(name.strip() for name in names):
            raise ValueError(f"takes a list of names, at least one, got {shown(list(names))}")
        return names

    def includes(self, model: str, data: DataConfig) -> bool:
        """Return whether the words are about a sweep with the model of this name and these questions."""
        sources = {data.train, data.test or data.train}
        return any(name.lower() in model.lower() for name in self.models) and sources.issubset(self.data)


class ReportConfig(Section):
    """Text that an experiment adds to its reports."""

    about: ReportSubject | None = None
    """The models and data that the words are about; null says them of all."""
    heading: str | None = None
    """Heading of the section in ``report.md``; by default the experiment's name."""
    motivation: str | None = None
    """Why the experiment is done, in a sentence or two; no paragraph by default."""
    expected_baseline: ExpectedBaseline | None = None
    """The expected score of the baseline arm."""
    next_steps: Mapping[Tier, tuple[str, ...]] = {}
    """What to do next, by the tier that the results support: ``no help``, ``marginal``, ``significant`` or ``strong``.
    A tier that is missing has no steps; harm and a slight gain have those of ``no help``."""
