"""Questions without a context, and contexts without a question."""

import hashlib
import json
from dataclasses import asdict

import pytest

from thinwire.config.settings import ColumnsConfig, DataConfig, EvaluationConfig
from thinwire.data.overlap import shared_paragraphs
from thinwire.data.splits import Questions, Splits
from thinwire.data.squad import from_rows
from thinwire.errors import UsageError
from thinwire.schema import build
from tiny_models import squad_document

ASKED = [{"question": f"What is {n} + 1?", "answer": n + 1, "title": f"t{n % 2}"} for n in range(6)]
NO_CONTEXT = ColumnsConfig(context=None)
NO_QUESTION = ColumnsConfig(question=None)


def read(rows, columns, **options):
    return from_rows(rows, source="rows", unanswerable="refuse", columns=columns, **options)


def without_title(rows):
    return [{key: value for key, value in row.items() if key != "title"} for row in rows]


def test_a_row_without_a_context_is_a_paragraph_of_its_own():
    found = read(without_title(ASKED), NO_CONTEXT)
    assert [x.context for x in found] == [""] * 6
    assert [x.paragraph_id for x in found] == [x.article for x in found] == [f"p{n}" for n in range(6)]
    assert (found[0].answers, found[0].answer_start) == (("1",), -1)
    assert len({x.id for x in found}) == 6


def test_rows_of_a_title_are_one_paragraph_where_there_is_no_context():
    found = read(ASKED, NO_CONTEXT)
    assert [x.paragraph_id for x in found] == ["p0", "p1"] * 3
    assert [x.article for x in found] == ["t0", "t1"] * 3
    assert len({x.paragraph_id for x in read(ASKED, ColumnsConfig(context=None, title=None))}) == 6


def test_a_column_of_contexts_that_is_named_null_is_not_read():
    rows = [{**row, "context": "The answer is elsewhere."} for row in ASKED]
    assert [x.context for x in read(rows, NO_CONTEXT)] == [""] * 6


def test_a_text_to_be_continued_has_no_question():
    rows = [{"context": "Once upon a", "answer": "time"}, {"context": "The end is", "answer": "near"}]
    found = read(rows, NO_QUESTION, mismatched="keep")
    assert [(x.context, x.question, x.answers) for x in found] == [
        ("Once upon a", "", ("time",)),
        ("The end is", "", ("near",)),
    ]
    with pytest.raises(UsageError, match="not where they should be in the context"):
        read(rows, NO_QUESTION)


def test_a_missing_column_says_that_null_is_none():
    with pytest.raises(UsageError, match=r"data\.columns\.context=COLUMN .*, null where there is none"):
        read(ASKED, ColumnsConfig())


def test_one_of_context_and_question_is_needed():
    with pytest.raises(UsageError, match="columns: context and question are both null, so there is nothing to ask"):
        build(ColumnsConfig, {"context": None, "question": None}, where="columns")


def test_questions_without_a_context_are_shared_by_their_own_words_and_choices():
    one, other, *_ = read(ASKED, NO_CONTEXT)
    assert shared_paragraphs([one], [other]) == ()
    assert shared_paragraphs([one, other], [other]) == ("What is 1 + 1?",)
    columns = ColumnsConfig(context=None, choices="options")
    rows = [{"question": "Which?", "answer": "A", "options": options} for options in (["a", "b"], ["c", "d"])]
    one, other = read(rows, columns)
    assert shared_paragraphs([one], [other]) == ()
    assert shared_paragraphs([one], [one]) == ("Which? a b",)


def test_texts_to_be_continued_that_are_only_numbered_alike_share_nothing():
    one, other = ({"id": 0, "context": text, "answer": "end"} for text in ("The one end", "Another end"))
    assert shared_paragraphs(read([one], NO_QUESTION), read([other], NO_QUESTION)) == ()


def test_splits_are_drawn_by_rows_where_there_is_no_context(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, without_title(ASKED))))
    data = DataConfig(
        train=str(tmp_path / "a.jsonl"), test_articles=2, selection_articles=1, columns=NO_CONTEXT, samples=10
    )
    drawn = Splits(data, seed=0).drawn(EvaluationConfig(samples="all", selection_samples=10))
    assert (len(drawn.train), len(drawn.selection), len(drawn.test)) == (3, 1, 2)


def test_hashes_of_questions_without_choices_are_those_of_versions_without_choices(tmp_path):
    from thinwire.data.squad import read_examples

    (tmp_path / "a.json").write_text(json.dumps(squad_document(num_articles=1)))
    found = read_examples(tmp_path / "a.json")
    fields = ("id", "article", "paragraph_id", "context", "question", "answers", "answer_start")
    rows = [{field: getattr(one, field) for field in fields} for one in found]
    text = json.dumps(rows, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    hashes = Questions(train=found, selection=[], test=[]).hashes
    assert hashes.train == hashlib.sha256(text.encode()).hexdigest()
    assert "choices" in asdict(found[0])


def test_choices_are_part_of_the_hash():
    rows = [{"question": "Which?", "answer": "a", "options": ["a", other], "id": 1} for other in "bc"]
    one, other = (read([row], ColumnsConfig(context=None, choices="options")) for row in rows)
    hashes = [Questions(train=found, selection=[], test=[]).hashes.train for found in (one, other)]
    assert hashes[0] != hashes[1]
