"""Read the logs of Inspect, ``.eval`` and ``.json``, without the library: the scores of each sample.

An ``.eval`` file is a zip archive: ``header.json`` holds the status and settings, ``summaries.json`` the scores of all
samples without their transcripts. A ``.json`` log is one object of both. A score's value is a number, a letter (C, I, P
and N for correct, incorrect, partial, no answer) or an object of several; it becomes a number as Inspect's own metrics
make it one. A sample that was asked in several epochs has one score, the mean, as by Inspect's default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from thinwire.errors import UsageError, shown
from thinwire.inputs import json_kind, parse_json, read_text
from thinwire.items.item_scores import Choice, FileScores, ScoredItem, choose_metric, collected, named, number
from thinwire.items.zip_members import opened_zip, read_member
from thinwire.strict_json import PYTHON_DECODER

_WHAT = "Inspect log"
_MOST_JSON_BYTES = 1 << 30
_VALUES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_COMPARED = 200
"""Characters of input and target by which items are told apart: summaries cut long texts."""


class _Sample(NamedTuple):
    id: str
    epoch: int
    values: dict[str, Any]
    """Values by metric: the scorer's name, with that of the value where it gives several."""
    fields: dict[str, Any]
    place: str


def read_eval(path: Path, choice: Choice) -> FileScores:
    """Read an ``.eval`` log.

    Raises:
        UsageError: it cannot be read or unpacked, the run did not end well, a sample has no score, or there are several
            metrics of which none is chosen.
    """
    with opened_zip(path, _WHAT) as archive:
        if "header.json" not in archive.namelist():
            raise UsageError(f"{path} holds no header.json: it is no {_WHAT}, or of a run that has not ended")
        header = _object(parse_json(read_member(archive, "header.json", path), f"{path}, header.json", PYTHON_DECODER))
        _check_header(header, path)
        text = read_member(archive, "summaries.json", path)
    return _scores(header, parse_json(text, f"{path}, summaries.json", PYTHON_DECODER), path, choice)


def read_json_log(path: Path, choice: Choice) -> FileScores:
    """Read a ``.json`` log.

    Raises:
        UsageError: as ``read_eval``.
    """
    log = _object(parse_json(read_text(path, _WHAT, most_bytes=_MOST_JSON_BYTES), str(path), PYTHON_DECODER))
    _check_header(log, path)
    return _scores(log, log.get("samples"), path, choice)


def _check_header(header: dict[str, Any], path: Path) -> None:
    if not isinstance(header.get("eval"), dict) or "status" not in header:
        raise UsageError(f"{path} is no {_WHAT}: it has no 'eval' and 'status'; of a sweep, give the folder")
    if (status := header["status"]) != "success":
        raise UsageError(
            f"the run of {path} has the status {shown(status)}; expected 'success': finish it with `inspect eval-retry`"
        )
    if header.get("invalidated"):
        raise UsageError(f"{path} is marked as invalidated; compare a run that holds")


def _scores(header: dict[str, Any], found: Any, path: Path, choice: Choice) -> FileScores:
    if choice.task is not None:
        raise UsageError(f"{path} holds one task; --task is for folders of lm-eval")
    if not isinstance(found, list) or not found:
        raise UsageError(f"{path} holds no samples; expected a log with samples (log_samples)")
    samples = [_sample(one, f"{path}, sample {at}") for at, one in enumerate(found, start=1)]
    if missing := [one for one in samples if not one.values]:
        error = missing[0].fields.get("error")
        reason = f" (the first failed: {shown(error)})" if error else f" (first: {shown(missing[0].id)})"
        raise UsageError(f"{path}: {len(missing)} of {len(samples)} samples have no score{reason}; score every sample")
    names = list(dict.fromkeys(name for one in samples for name in one.values))
    metric = choose_metric(choice.metric, names, str(path))
    items = [_item(one, metric, choice) for one in samples]
    epochs = max(one.epoch for one in samples)
    notes = _epoch_notes(header["eval"], epochs, path) if epochs > 1 else ()
    return FileScores(items=collected(_means(items, path), str(path)), tool="Inspect", metric=metric, notes=notes)


def _sample(found: Any, place: str) -> _Sample:
    fields = _object(found)
    if missing := [key for key in ("id", "epoch") if key not in fields]:
        raise UsageError(f"{place}: no {missing[0]!r}, which a sample of Inspect has")
    epoch = fields["epoch"]
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 1:
        raise UsageError(f"{place}, epoch: found {json_kind(epoch)}, expected a number from 1 on")
    values: dict[str, Any] = {}
    for name, score in _object(fields.get("scores")).items():
        value = _object(score).get("value")
        parts = {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
        values |= {key: one for key, one in parts.items() if not isinstance(one, list | dict)}
    return _Sample(named(fields["id"], "id", place), epoch, values, fields, place)


def _object(found: Any) -> dict[str, Any]:
    return found if isinstance(found, dict) else {}


def _item(sample: _Sample, metric: str, choice: Choice) -> ScoredItem:
    if metric not in sample.values:
        raise UsageError(f"{sample.place}: no score {shown(metric)}, which other samples have")
    cluster = None
    if choice.cluster is not None:
        metadata = _object(sample.fields.get("metadata"))
        if choice.cluster not in metadata:
            there = ", ".join(map(shown, list(metadata)[:20])) or "none"
            raise UsageError(
                f"{sample.place}: the metadata have no {shown(choice.cluster)} (--cluster); their keys are {there}"
            )
        cluster = named(metadata[choice.cluster], f"metadata.{choice.cluster}", sample.place)
    return ScoredItem(
        id=sample.id,
        score=_number(sample.values[metric], metric, sample.place),
        place=sample.place.rpartition(", ")[2],
        cluster=cluster,
        run=str(sample.epoch),
        content=_content(sample.fields.get("input"), sample.fields.get("target")),
    )


def _number(value: Any, metric: str, place: str) -> float:
    """Return a score's value as Inspect's metrics do, except that what they cannot read is refused and not 0."""
    if isinstance(value, str):
        if value in _VALUES:
            return _VALUES[value]
        if value.lower() in _WORDS:
            return _WORDS[value.lower()]
        try:
            value = float(value)
        except ValueError:
            found = json_kind(value)
            raise UsageError(f"{place}, {metric}: found {found}, expected a number, C, P, I or N") from None
    return number(value, metric, place)


def _content(*parts: Any) -> str | None:
    """Return a hash of the beginnings of input and target; None where either is not a text or a list of texts."""
    texts: list[str] = []
    for part in parts:
        some = part if isinstance(part, list) else [part]
        if not all(isinstance(one, str) for one in some):
            return None
        texts += [one[:_COMPARED] for one in some]
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _means(items: Sequence[ScoredItem], path: Path) -> Iterator[ScoredItem]:
    """Yield one item for each id, with the mean over its epochs, each of which must have the same items."""
    checked = collected(items, str(path), "epoch")
    by_id: dict[str, list[ScoredItem]] = {}
    for item in checked:
        by_id.setdefault(item.id, []).append(item)
    for epochs in by_id.values():
        yield epochs[0]._replace(score=fmean(one.score for one in epochs), run="")


def _epoch_notes(spec: dict[str, Any], epochs: int, path: Path) -> tuple[str, ...]:
    reducers = _object(spec.get("config")).get("epochs_reducer") or ["mean"]
    if reducers == ["mean"]:
        return (f"{path}: an item's score is its mean over {epochs} epochs",)
    listed = ", ".join(map(str, reducers)) if isinstance(reducers, list) else shown(reducers)
    return (f"{path}: an item's score is its mean over {epochs} epochs, though the run reduced them by {listed}",)
