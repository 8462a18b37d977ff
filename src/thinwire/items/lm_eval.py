"""Read the samples that lm-evaluation-harness logs: ``samples_TASK_DATE.jsonl``, or the output folder of a run.

``lm_eval --log_samples`` writes one line for each document and filter: ``doc_id``, ``doc``, ``doc_hash``, ``filter``,
the names of its metrics under ``metrics`` (not in older versions), and each metric's value under its name. A metric
that is aggregated over the corpus has no number there but a list. Metrics are named as in the tool's own results:
``exact_match,strict-match``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from thinwire.errors import UsageError, shown
from thinwire.items.item_scores import Choice, FileScores, ScoredItem, choose_metric, collected, named, number
from thinwire.items.json_lines import Line, json_lines

_OTHER_KEYS = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
_OTHER_KEYS |= {"doc_hash", "prompt_hash", "target_hash"}
_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(\.\d+)?)\.jsonl")
_PLACES = ("samples_*.jsonl", "*/samples_*.jsonl")
"""Of samples in the output folder: that of one model, and the one above it."""
_MOST_FILES = 2_000
_WHAT = "lm-eval samples file"


def is_lm_eval_row(fields: Mapping[str, Any]) -> bool:
    """Whether a JSON object has the entries of a sample of lm-eval."""
    return "doc_id" in fields and bool({"resps", "filtered_resps"} & fields.keys())


def read_samples(path: Path, choice: Choice) -> FileScores:
    """Read one samples file.

    Raises:
        UsageError: it cannot be read, has several metrics or filters of which none is chosen, or an entry is missing.
    """
    if choice.task is not None:
        raise UsageError(f"{path} holds one task; --task is for folders of lm-eval")
    there, of_corpus = _metrics(path)
    if _completed(choice.metric, of_corpus) in of_corpus:
        raise UsageError(
            f"{path}: {shown(choice.metric)} has no number for each item, as it is computed over all of them; "
            f"choose --metric among {', '.join(map(shown, there))}"
        )
    metric = choose_metric(_completed(choice.metric, there), there, str(path))
    return FileScores(items=collected(_items(path, metric, choice), str(path)), tool="lm-eval", metric=metric)


def read_run_folder(folder: Path, choice: Choice) -> FileScores:
    """Read the output folder of a run, or the folder in it that is named after the model.

    Several tasks that ``choice.task`` matches become one result, in which each item counts once and its id begins with
    its task.

    Raises:
        UsageError: there are no samples, several tasks of which none is chosen, several runs of one task, or as
            ``read_samples``.
    """
    files = _chosen_files(folder, choice.task)
    within = Choice(metric=choice.metric, cluster=choice.cluster)
    if len(files) == 1:
        return read_samples(next(iter(files.values())), within)
    items: list[ScoredItem] = []
    metrics: set[str] = set()
    for task, path in files.items():
        found = read_samples(path, within)
        metrics.add(found.metric)
        for item in found.items:
            cluster = None if item.cluster is None else f"{task}/{item.cluster}"
            items.append(item._replace(id=f"{task}/{item.id}", cluster=cluster, place=f"{path.name}, {item.place}"))
    if len(metrics) > 1:
        listed = ", ".join(sorted(map(shown, metrics)))
        raise UsageError(f"{folder}: the tasks have different metrics ({listed}); choose one with --metric")
    return FileScores(items=collected(items, str(folder)), tool="lm-eval", metric=metrics.pop())


def has_samples(folder: Path) -> bool:
    """Whether a folder is, or holds, one of lm-eval with samples."""
    return any(True for pattern in _PLACES for _ in folder.glob(pattern))


def _chosen_files(folder: Path, wanted: str | None) -> dict[str, Path]:
    """Return the samples file of each task that is meant."""
    paths = sorted(path for pattern in _PLACES for path in folder.glob(pattern))
    if len(paths) > _MOST_FILES:
        raise UsageError(f"{folder} holds more than {_MOST_FILES:,} samples files; name one of them")
    tasks: dict[str, list[Path]] = {}
    for path in paths:
        found = _SAMPLES.fullmatch(path.name)
        tasks.setdefault(found["task"] if found else path.stem.removeprefix("samples_"), []).append(path)
    if not tasks:
        raise UsageError(
            f"{folder} holds no samples_*.jsonl and no record.json; expected the output folder of an lm-eval run with "
            "--log_samples, or the folder of an arm that is over"
        )
    listed = ", ".join(map(shown, list(tasks)[:20]))
    if wanted is None and len(tasks) > 1:
        raise UsageError(f"{folder} holds several tasks: {listed}; choose with --task (a pattern may choose several)")
    chosen = {task: files for task, files in tasks.items() if wanted is None or fnmatchcase(task, wanted)}
    if not chosen:
        raise UsageError(f"{folder} has no task {shown(wanted)}; choose --task among {listed}")
    for task, files in chosen.items():
        if len(files) > 1:
            names = ", ".join(str(path.relative_to(folder)) for path in files[:5])
            raise UsageError(f"{folder} holds {len(files)} runs of task {shown(task)}: {names}; name one file")
    return {task: files[0] for task, files in chosen.items()}


def _metrics(path: Path) -> tuple[list[str], list[str]]:
    """Return the metrics with a number for each item, and the others, by name and filter: from each filter's first row.

    A row can hold null or a list where a score should be, so the first row decides only what is offered.
    """
    found: dict[bool, list[str]] = {True: [], False: []}
    filters: set[str] = set()
    for line in json_lines(path, _WHAT):
        if (name := _filter(line)) in filters:
            continue
        filters.add(name)
        for metric in _names(line):
            found[not isinstance(line.fields.get(metric), list)].append(f"{metric},{name}")
    return found[True], found[False]


def _completed(wanted: str | None, there: list[str]) -> str | None:
    """Complete a metric that is named without its filter, where only one filter has it."""
    same = [name for name in there if name.rpartition(",")[0] == wanted]
    return same[0] if len(same) == 1 else wanted


def _names(line: Line) -> list[str]:
    names = line.fields.get("metrics")
    if names is None:
        return [name for name in line.fields if name not in _OTHER_KEYS]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{line.place}, metrics: expected a list of names")
    return names


def _filter(line: Line) -> str:
    name = line.fields.get("filter", "none")
    if not isinstance(name, str):
        raise UsageError(f"{line.place}, filter: expected a name")
    return name


def _items(path: Path, metric: str, choice: Choice) -> Iterator[ScoredItem]:
    name, _, wanted_filter = metric.rpartition(",")
    for line in json_lines(path, _WHAT):
        if _filter(line) != wanted_filter:
            continue
        fields = line.fields
        if missing := [key for key in ("doc_id", name) if key not in fields]:
            raise UsageError(f"{line.place}: no {shown(missing[0])}, which a sample of lm-eval has")
        content = fields.get("doc_hash")
        yield ScoredItem(
            id=named(fields["doc_id"], "doc_id", line.place),
            score=number(fields[name], name, line.place),
            place=line.place.rpartition(", ")[2],
            cluster=None if choice.cluster is None else _cluster(fields.get("doc"), choice.cluster, line.place),
            content=content if isinstance(content, str) else None,
        )


def _cluster(doc: Any, field: str, place: str) -> str:
    """Return the value of a document's field, which is a text or an integer."""
    if not isinstance(doc, dict) or field not in doc:
        there = ", ".join(map(shown, list(doc)[:20])) if isinstance(doc, dict) else "none"
        raise UsageError(f"{place}: the document has no field {shown(field)} (--cluster); its fields are {there}")
    return named(doc[field], f"doc.{field}", place)
