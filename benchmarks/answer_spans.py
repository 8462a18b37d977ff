"""Say how wrong answers are wrong: another span of the context, or no span of it at all.

A model that has not found the answer writes another span; one that has found it and cannot spell it out of what it
reads writes words that do not stand there. Answers are compared with their contexts as the metric compares them with
gold answers. Of those that are no span, it says how many of their tokens come before the first that does not go on with
the context.

A context is what the arm's sweep gave, other paragraphs beside the question's own included; what a prompt left out of
it counts as a part of it. Only questions that all arms answer count.

    python benchmarks/answer_spans.py runs/positions/k2_lora runs/positions/controls/text_lora
"""

# ruff: noqa: T201 (it prints its result)

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinwire.config.experiment import Experiment
from thinwire.config.settings import EvaluationConfig, ModelConfig
from thinwire.data.splits import Splits
from thinwire.files import write_json
from thinwire.model.loading import choose_device, load
from thinwire.results.arm_record import ArmRecord, read_arm_record
from thinwire.results.experiment_file import read_experiment_file
from thinwire.results.layout import run_of
from thinwire.results.provenance import environment
from thinwire.results.rows import read_predictions
from thinwire.schema import build
from thinwire.tasks.squad_metric import normalize
from thinwire.tasks.table import TASKS

MOST_COUNTED = 8
"""Longer beginnings of answers are counted together."""


def contexts_of(folder: Path, record: ArmRecord) -> dict[str, str]:
    """Return the context of each test question of an arm, by the question's id."""
    sweep = run_of(folder)
    experiment = build(Experiment, read_experiment_file(sweep), where=str(sweep))
    evaluation = EvaluationConfig.model_validate(record.config["evaluation"])
    questions = Splits(experiment.data, experiment.seed, TASKS[experiment.task]).drawn(evaluation)
    if questions.hashes.test != record.data.test:
        raise SystemExit(f"error: the test questions of {folder} are others than those that can be read now")
    return {example.id: example.context for example in questions.test}


def kind_of_answer(row: Mapping[str, Any], context: str) -> str:
    """Return what an answer is: right, empty, a span of its context that shares a word with a gold answer or none, or
    no span, likewise."""
    if row["exact_match"]:
        return "right"
    if not normalize(row["text"]):
        return "empty"
    is_span = f" {normalize(row['text'])} " in f" {normalize(context)} "
    return f"{'span' if is_span else 'no span'}, {'overlapping' if row['score'] > 0 else 'wrong'}"


def tokens_before_foreign(answer: str, context: str, tokenizer: Any) -> int:
    """Return how many of an answer's first tokens stand in its context, one after the other."""
    ids = tokenizer.encode(f" {answer}", add_special_tokens=False)
    return next((n for n in range(len(ids)) if tokenizer.decode(ids[: n + 1]) not in f" {context}"), len(ids))


def measure(rows: Sequence[Mapping[str, Any]], contexts: Mapping[str, str], tokenizer: Any) -> dict[str, Any]:
    """Return the share of each kind of answer, and of those that are no span, the shares by the number of tokens before
    the first foreign one."""
    kinds = [kind_of_answer(row, contexts[row["id"]]) for row in rows]
    before = Counter(
        min(MOST_COUNTED, tokens_before_foreign(row["text"], contexts[row["id"]], tokenizer))
        for row, kind in zip(rows, kinds, strict=True)
        if kind.startswith("no span")
    )
    return {
        "answers": len(rows),
        "kinds": {name: number / len(rows) for name, number in sorted(Counter(kinds).items())},
        "tokens_before_foreign": {str(number): before[number] / before.total() for number in sorted(before)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("arms", nargs="+", metavar="[NAME=]FOLDER", help="folder of a finished arm")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    folders = {}
    for given in options.arms:
        name, _, folder = given.rpartition("=")
        folders[name or Path(folder).name] = Path(folder)
    records = {name: read_arm_record(folder) for name, folder in folders.items()}
    answers = {name: read_predictions(folder, records[name]) for name, folder in folders.items()}
    common = set.intersection(*({row["id"] for row in rows} for rows in answers.values()))
    tokenizer = load(ModelConfig()).tokenizer
    arms: dict[str, Any] = {}
    known: dict[str, dict[str, str]] = {}  # by the hash of the test questions
    for name, rows in answers.items():
        test = records[name].data.test
        if test not in known:
            known[test] = contexts_of(folders[name], records[name])
        found = measure([row for row in rows if row["id"] in common], known[test], tokenizer)
        arms[name] = {"commit": records[name].environment.git_commit, **found}
        print(name, f"{found['answers']:,} answers")
        for title in ("kinds", "tokens_before_foreign"):
            print(f"  {title}:", ", ".join(f"{key} {100 * share:.1f} %" for key, share in found[title].items()))
    if options.output:
        write_json(options.output, {"environment": environment(choose_device("cpu")).model_dump(), "arms": arms})


if __name__ == "__main__":
    main()
