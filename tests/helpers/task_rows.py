"""Rows of questions that fit a task."""

import json

TOWNS = ("Aldor", "Bree", "Combe", "Dale")


def task_rows(task, numbers):
    """Return a row for each of the numbers, each about a text of its own, three of an article."""
    return [row_of(task, number) for number in numbers]


def row_of(task, number):
    town = TOWNS[number % 4]
    context = f"{town} has {number} mills on the river and one market."
    row = {"id": f"q{number}", "title": f"article {number // 3}", "context": context}
    if task != "perplexity":
        row |= {"question": f"How many mills has {town}?"}
    if task == "multiple_choice":
        row |= {"choices": [f"option {place}" for place in range(3)]}
    answers = {
        "extractive_qa": str(number),
        "short_answer": str(number),
        "generation": f"The town {town} has {number} mills.",
        "multiple_choice": number % 3,
        "classification": "even" if number % 2 == 0 else "odd",
        "perplexity": f"Each of the {number} mills grinds wheat.",
    }
    return {**row, "answer": answers[task]}


def write_rows(file, rows):
    """Write rows as JSON Lines; returns the file."""
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def columns_of(task):
    """Return the ``data.columns`` of a task's rows."""
    return {"multiple_choice": {"choices": "choices"}, "perplexity": {"question": None}}.get(task, {})
