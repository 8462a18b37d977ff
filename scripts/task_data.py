"""Make questions for every task out of SQuAD v1.1, which ``thinwire fetch`` keeps.

    python scripts/task_data.py FOLDER

The files are what ``experiments/tasks`` runs on. They hold texts of SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250; CC
BY-SA 4.0), and so do tables made from them.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any

from thinwire.data.sources import load_questions
from thinwire.data.squad import Example
from thinwire.seeding import stream

ROWS = 20_000
"""Most questions of a file."""

Row = dict[str, Any]


def short_answers(examples: Sequence[Example], random: Random) -> Iterator[Row]:
    """Questions whose answer is a number."""
    for one in examples:
        if re.fullmatch(r"[\d,.]*\d", one.answers[0]):
            yield {**identity(one), "context": one.context, "question": one.question, "answers": list(one.answers)}


def questions_to_write(examples: Sequence[Example], random: Random) -> Iterator[Row]:
    """The sentence that holds an answer, and the answer; what is to be written is the question."""
    for one in examples:
        sentence = sentence_at(one.context, one.answer_start)
        if len(sentence.split()) >= 6:  # "Dr." is none
            task = f"Write a question about the text whose answer is: {one.answers[0]}"
            yield {**identity(one), "context": sentence, "question": task, "answers": [one.question]}


def choices(examples: Sequence[Example], random: Random) -> Iterator[Row]:
    """Questions with their answer among those to other questions about the paragraph."""
    others = defaultdict(set)
    for one in examples:
        others[one.paragraph_id].add(one.answers[0])
    for one in examples:
        wrong = sorted(others[one.paragraph_id] - set(one.answers))
        if len(wrong) >= 3:
            options = random.sample(wrong, 3)
            options.insert(random.randrange(4), one.answers[0])
            row = {"context": one.context, "question": one.question, "choices": options}
            yield {**identity(one), **row, "answer": one.answers[0]}


def labels(examples: Sequence[Example], random: Random) -> Iterator[Row]:
    """Questions beside their own paragraph or another one of the article: does the text answer the question?"""
    paragraphs: dict[str, dict[str, str]] = defaultdict(dict)
    for one in examples:
        paragraphs[one.article][one.paragraph_id] = one.context
    for one in examples:
        others = sorted(id_ for id_ in paragraphs[one.article] if id_ != one.paragraph_id)
        if not others:
            continue
        fits = random.random() < 0.5
        context = one.context if fits else paragraphs[one.article][random.choice(others)]
        question = f"Does the text answer this question: {one.question}"
        yield {**identity(one), "context": context, "question": question, "answer": "yes" if fits else "no"}


def texts(examples: Sequence[Example], random: Random) -> Iterator[Row]:
    """Paragraphs in two halves, cut between two words: the second is to be found likely after the first."""
    seen = set()
    for one in examples:
        words = one.context.split()
        if one.paragraph_id not in seen and len(words) >= 20:
            seen.add(one.paragraph_id)
            middle = len(words) // 2
            yield {**identity(one), "context": " ".join(words[:middle]), "answer": " ".join(words[middle:])}


FILES = {
    "short_answer": short_answers,
    "generation": questions_to_write,
    "multiple_choice": choices,
    "classification": labels,
    "perplexity": texts,
}


def identity(example: Example) -> Row:
    return {"id": example.id, "title": example.article}


def sentence_at(text: str, place: int) -> str:
    """Return the sentence around a place; a full stop before white space ends one."""
    ends = [0, *(match.end() for match in re.finditer(r"[.!?]\s+", text)), len(text)]
    return next((text[a:b].strip() for a, b in pairwise(ends) if a <= place < b), "")


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    trained: dict[str, set[str]] = defaultdict(set)  # contexts, which no test question may have too
    for split in ("train", "test"):
        examples = load_questions("squad", split, "refuse", "refuse")
        for name, make in FILES.items():
            random = stream(0, name)
            shuffled = random.sample(examples, len(examples))
            made = (row for row in make(shuffled, random) if split == "train" or row["context"] not in trained[name])
            rows = list(islice(made, ROWS))
            trained[name].update(row["context"] for row in rows)
            file = folder / f"{name}_{split}.jsonl"
            file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            print(f"{file}: {len(rows):,} rows")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
