"""Search of settings: the candidates of each arm, a sweep of them, and the choice by the selection split.

Every arm, the baseline included, gets its own best values, so that no arm wins because the others were trained at
rates that suit it. The candidates are an ordinary sweep in the sub-folder ``search``; test questions play no part.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.config.idle import effective_settings
from thinwire.errors import UsageError
from thinwire.experiment.plan import Planned, plan
from thinwire.hashes import content_hash
from thinwire.results.arm_record import ArmRecord
from thinwire.results.search_record import ArmSearch, CandidateScore, SearchRecord
from thinwire.schema import build, leaves, merge, nested

logger = logging.getLogger(__name__)

_MOST_CANDIDATES = 10_000
"""Of an arm; each is a whole training."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One combination of values for an arm or control."""

    name: str
    """Of its training: the arm's name with the values behind it."""
    arm: str
    values: Mapping[str, Any]
    """By the setting's path."""


def candidates(experiment: Experiment, name: str) -> list[Candidate]:
    """List the combinations of the searched values that make a difference to an arm or control; none if none does.

    Settings that the arm sets itself are not searched, nor are LoRA's in an arm without LoRA: they are what the
    experiment asks about. A combination leaves out the settings that have no effect beside its other values.
    """
    config = experiment.arm(name)
    if not config.learns:
        return []
    own = dict(leaves(_changes(experiment, name)))
    grids = {
        path: grid
        for path, grid in experiment.search.items()
        if path not in own and (config.lora.rank > 0 or not path.startswith("lora."))
    }
    if (number := prod(map(len, grids.values()))) > _MOST_CANDIDATES:
        raise UsageError(
            f"search: {number:,} combinations of values for {name}, at most {_MOST_CANDIDATES:,} can be tried; search "
            "fewer settings or values"
        )
    combinations = (dict(zip(grids, values, strict=True)) for values in product(*grids.values()))
    used = dict.fromkeys(tuple(_used(config, values).items()) for values in combinations)
    return [Candidate(name=_candidate_name(name, dict(one)), arm=name, values=dict(one)) for one in used if one]


def _used(config: ArmConfig, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``values`` that have an effect on an arm, given all of them and its other settings."""
    effective = effective_settings(_with_values(config.model_dump(mode="json"), values))
    return {path: value for path, value in values.items() if path in effective}


def _candidate_name(arm: str, values: Mapping[str, Any]) -> str:
    """Join the arm's name and its values in characters that arms may have: ``r8--lora_lr-0.001``."""
    last = [path.rpartition(".")[2] for path in values]
    names = last if len(set(last)) == len(last) else list(values)
    parts = (f"{name}-{value}" for name, value in zip(names, values.values(), strict=True))
    return "--".join([arm, *(re.sub(r"[^A-Za-z0-9_.\-]", "_", part) for part in parts)])


def search_experiment(experiment: Experiment) -> Experiment:
    """Return the sweep of all candidates of all arms and controls: each is an arm, with the first seed.

    It tests on one question, whose score is not used. The caller chooses which of its arms to run.
    """
    names = dict.fromkeys((experiment.baseline, *experiment.arms, *experiment.controls))
    found = [candidate for name in names for candidate in candidates(experiment, name)]
    if not found:
        raise UsageError("search: no arm or control uses the settings that are searched; take them out (search={})")
    arms = {candidate.name: _candidate_changes(experiment, candidate) for candidate in found}
    if len(arms) < len(found):
        every = [candidate.name for candidate in found]
        twice = next(one for one in every if every.count(one) > 1)
        raise UsageError(f"search: two candidates would both be called {twice}; their values differ in signs alone")
    own = {"arms": arms, "controls": {}, "seeds": (), "search": {}, "interactions": {}, "baseline": found[0].name}
    described = {"name": f"{experiment.name}-search", "description": f"Candidate settings of {experiment.name}"}
    return build(Experiment, {**experiment.model_dump(), **own, **described}, where="")


def plan_candidates(experiment: Experiment, arms: Collection[str], known: SearchRecord) -> list[Planned]:
    """List the runs of a search, in its own sweep: all candidates of the arms and controls that have no choice yet.

    Raises:
        UsageError: a combination of values is no settings of an arm, or no arm uses the settings that are searched.
    """
    if not experiment.search:
        return []
    own = search_experiment(experiment)
    names = [one.name for found in to_search(experiment, arms, known).values() for one in found]
    return plan(own, names, "none") if names else []


def _candidate_changes(experiment: Experiment, candidate: Candidate) -> dict[str, Any]:
    changes = merge(_changes(experiment, candidate.arm), {"evaluation": {"samples": 1}})
    if experiment.seeds:
        changes = merge(changes, {"seed": experiment.seeds[0]})
    return _with_values(changes, candidate.values)


def _changes(experiment: Experiment, name: str) -> dict[str, Any]:
    return {**experiment.arms, **experiment.controls}[name]


def _with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(settings)
    for path, value in values.items():
        found = merge(found, nested(path, value))
    return found


def to_search(experiment: Experiment, names: Collection[str], known: SearchRecord) -> dict[str, list[Candidate]]:
    """Return the candidates of those of the arms and controls whose choice is not known, by name."""
    if not experiment.search:
        return {}
    found = {
        name: candidates(experiment, name) for name in dict.fromkeys(names) if not _is_known(experiment, name, known)
    }
    return {name: candidates for name, candidates in found.items() if candidates}


def _is_known(experiment: Experiment, name: str, known: SearchRecord) -> bool:
    return name in known.arms and known.arms[name].config_hash == _config_hash(experiment, name)


def _config_hash(experiment: Experiment, name: str) -> str:
    return content_hash(experiment.arm(name).identity())


def choose(
    experiment: Experiment, searched: Mapping[str, Sequence[Candidate]], records: Sequence[ArmRecord]
) -> dict[str, ArmSearch]:
    """Choose the values of each arm or control by the score of its candidates on the selection questions.

    Args:
        searched: the candidates, by arm.
        records: of all candidates.
    """
    by_name = {record.name: record for record in records}
    return {name: _choose(experiment, name, found, by_name) for name, found in searched.items()}


def _choose(
    experiment: Experiment, arm: str, found: Sequence[Candidate], records: Mapping[str, ArmRecord]
) -> ArmSearch:
    scores = [
        CandidateScore(name=one.name, values=dict(one.values), selection_score=_selection_score(records[one.name]))
        for one in found
    ]
    done = [score for score in scores if score.selection_score is not None]
    best = max(done, key=lambda score: score.selection_score or 0.0, default=None)
    told_apart = len({score.selection_score for score in done}) > 1
    return ArmSearch(
        config_hash=_config_hash(experiment, arm),
        candidates=tuple(scores),
        chosen=best.values if best else None,
        edges=tuple(path for path, value in best.values.items() if _is_edge(value, experiment.search[path]))
        if best and told_apart
        else (),
    )


def _selection_score(record: ArmRecord) -> float | None:
    return record.results.selection.score if record.results else None


def _is_edge(value: Any, grid: Sequence[Any]) -> bool:
    numbers = [one for one in grid if isinstance(one, int | float) and not isinstance(one, bool)]
    return len(numbers) == len(grid) and value in (min(numbers), max(numbers))


def log_choices(searches: Mapping[str, ArmSearch], metric: str) -> None:
    """Log what was chosen for each arm; a choice at the edge of its values, or none, is a warning.

    Args:
        metric: name of the score.
    """
    for name, search in searches.items():
        if search.chosen is None:
            logger.warning(
                "%s: all its %d candidates failed; it runs with its own settings", name, len(search.candidates)
            )
            continue
        values = ", ".join(f"{path} {value}" for path, value in search.chosen.items())
        best = max(candidate.selection_score or 0.0 for candidate in search.candidates)
        said = "%s: %s, selection %s %.1f, best of %d"
        logger.info(said, name, values, metric, 100 * best, len(search.candidates))
        for path in search.edges:
            message = "%s: its best %s, %s, is at the edge of the values searched; a better one may lie beyond"
            logger.warning(message, name, path, search.chosen[path])


def choices_hash(known: SearchRecord) -> str:
    """Hash what a search has chosen: groups of arms are kept as long as it is the same."""
    return content_hash(known.model_dump(mode="json"))


def with_choices(experiment: Experiment, planned: Sequence[Planned], known: SearchRecord) -> list[Planned]:
    """Return the runs with the values that were chosen for them, as far as choices are known."""
    return [_with_choice(run, known.arms[run.arm]) if _is_known(experiment, run.arm, known) else run for run in planned]


def _with_choice(run: Planned, search: ArmSearch) -> Planned:
    settings = _with_values(run.config.model_dump(), search.chosen or {})
    return replace(run, config=build(ArmConfig, settings, where=f"search.{run.arm}"))
