"""Options of multiple-choice questions, and which of them a gold answer means."""

import json

import pytest

from thinwire.config.settings import ColumnsConfig
from thinwire.data.choices import listed
from thinwire.data.squad import from_rows, read_examples
from thinwire.errors import UsageError

COLUMNS = ColumnsConfig(context=None, choices="options")
TOWNS = ["Aldor", "Bree", "Ulm"]


def read(gold, options=tuple(TOWNS), **columns):
    row = {"question": "Which?", "answer": gold, "options": list(options)}
    found = COLUMNS.model_copy(update=columns)
    return from_rows([row], source="rows", unanswerable="refuse", columns=found)[0]


@pytest.mark.parametrize(
    ("gold", "text"),
    [
        ("Bree", "Bree"),
        (" Bree ", "Bree"),
        (0, "Aldor"),
        (2, "Ulm"),
        ("A", "Aldor"),
        ("C", "Ulm"),
        ({"text": ["B"], "answer_start": [3]}, "Bree"),
        ([{"text": 1}], "Bree"),
    ],
)
def test_a_gold_answer_is_a_text_an_index_or_a_letter(gold, text):
    found = read(gold)
    assert (found.answers, found.choices, found.answer_start) == ((text,), ("Aldor", "Bree", "Ulm"), -1)


def test_several_gold_answers_are_several_choices():
    assert read(["C", "Bree", 0]).answers == ("Ulm", "Bree", "Aldor")


@pytest.mark.parametrize(
    ("gold", "found"),
    [("Rome", "'Rome'"), (3, "'3'"), (-1, "'-1'"), ("D", "'D'"), ("b", "'b'"), ("1", "'1'"), (True, "")],
)
def test_anything_else_is_refused_in_its_place(gold, found):
    expected = "answers" if gold is True else r"answers\[0\]: found " + found
    with pytest.raises(UsageError, match=rf"rows, row 0, {expected}"):
        read(gold)
    with pytest.raises(UsageError, match=r"row 0, answers\[1\].* its index from 0 as an integer, or its letter"):
        read(["A", gold])


@pytest.mark.parametrize(
    ("gold", "options", "text"),
    [
        (2, [1, 2, 3], None),
        ("A", ["B", "A"], None),
        (1, [0, 1], "1"),
        ("A", ["A", "B"], "A"),
        (1, ["x", "y", "y"], "y"),
    ],
)
def test_a_gold_answer_that_could_mean_two_choices_is_refused(gold, options, text):
    if text is not None:
        assert read(gold, options).answers == (text,)
        return
    with pytest.raises(UsageError, match=r"is the text of a choice and the index or letter of another"):
        read(gold, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["one"], "choices: found 1, expected 2 to 26"),
        (list(map(str, range(27))), "choices: found 27, expected 2 to 26"),
        (["a", " "], r"choices\[1\]: found a blank text"),
        (["a", None], r"choices\[1\]: found null"),
    ],
)
def test_choices_are_two_to_26_texts(options, message):
    with pytest.raises(UsageError, match=f"rows, row 0, {message}"):
        read("a", options)


def test_choices_are_a_list():
    with pytest.raises(
        UsageError, match=r"row 0, choices: found a text \('a, b'\), expected a list of texts \(in a cell"
    ):
        from_rows(
            [{"question": "Which?", "answer": "A", "options": "a, b"}],
            source="rows",
            unanswerable="refuse",
            columns=COLUMNS,
        )


def test_a_csv_holds_choices_as_json_and_an_index_in_digits(tmp_path):
    lines = ["question,options,answer"]
    lines += [f'Which {number}?,"[""Aldor"", ""Bree"", 7]",{gold}' for number, gold in enumerate(["1", "Aldor", "C"])]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    found = read_examples(tmp_path / "a.csv", columns=COLUMNS)
    assert [one.answers for one in found] == [("Bree",), ("Aldor",), ("7",)]
    assert {one.choices for one in found} == {("Aldor", "Bree", "7")}


def test_choices_inside_an_object_are_named_with_a_dot(tmp_path):
    row = {"question": "Which?", "choices": {"text": TOWNS, "label": ["A", "B", "C"]}, "answerKey": "B"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    columns = ColumnsConfig(context=None, choices="choices.text", answers="answerKey")
    assert read_examples(tmp_path / "a.jsonl", columns=columns)[0].answers == ("Bree",)


def test_answers_need_not_stand_in_the_context_of_a_question_with_choices():
    row = {"context": "A town in the south.", "question": "Which?", "answer": "B", "options": TOWNS}
    columns = ColumnsConfig(choices="options")
    (found,) = from_rows([row], source="rows", unanswerable="refuse", columns=columns)
    assert (found.answers, found.answer_start, found.context) == (("Bree",), -1, "A town in the south.")


def test_the_same_question_with_other_choices_has_another_id():
    rows = [{"question": "Which?", "answer": "A", "options": options} for options in (TOWNS, TOWNS[::-1])]
    one, other = from_rows(rows, source="rows", unanswerable="refuse", columns=COLUMNS)
    assert one.id != other.id
    with pytest.raises(UsageError, match="the same context and question as in a row before"):
        from_rows(rows[:1] * 2, source="rows", unanswerable="refuse", columns=COLUMNS)


def test_choices_are_listed_one_a_line():
    assert listed(("Aldor", "Bree")) == "A. Aldor\nB. Bree"
    assert listed(()) == ""
