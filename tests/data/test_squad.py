import json
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.data import squad_json
from thinwire.data.splits import draw_examples, hold_out_articles
from thinwire.data.squad import from_rows, read_examples
from thinwire.errors import UsageError
from tiny_models import example, squad_document, write_squad

FLAT = {"id": "1", "context": "Ada was here.", "question": "Who?", "answers": ["Ada"]}


def write(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def examples_of(num_articles, questions):
    rows = [
        {**FLAT, "id": f"{a}-{q}", "title": f"t{a}", "context": f"Ada {a}"}
        for a in range(num_articles)
        for q in range(questions)
    ]
    return from_rows(rows, source="test", unanswerable="refuse")


def test_official_squad_is_read_whole_and_in_order(tmp_path):
    found = read_examples(write_squad(tmp_path / "train.json", num_articles=2, questions=3))
    assert [x.id for x in found] == ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"]
    # The paragraph: "Town 1-0 has 10 mills. Town 1-1 has 11 mills. ..."; a sentence and its space take 23 characters.
    x = found[4]
    assert (x.article, x.question, x.answers) == ("Towns 1", "How many mills has town 1-1?", ("11",))
    assert x.answer_start == 23 + len("Town 1-1 has ") == 36
    assert x.context[36:38] == "11"


def test_questions_share_a_paragraph_id_exactly_if_they_share_the_paragraph(tmp_path):
    document = squad_document(num_articles=2, questions=2)
    document["data"][0]["paragraphs"].append(
        {"context": "More.", "qas": [{"id": "x", "question": "?", "answers": [{"text": "More", "answer_start": 0}]}]}
    )
    ids = [x.paragraph_id for x in read_examples(write(tmp_path / "a.json", document))]
    assert ids[0] == ids[1]
    assert ids[3] == ids[4]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("titles", [("", ""), ("Same", "Same")])
def test_paragraphs_of_articles_without_a_title_of_their_own_stay_apart(tmp_path, titles):
    document = squad_document(num_articles=2, questions=1)
    for article, title in zip(document["data"], titles, strict=True):
        article["title"] = title
    first, second = read_examples(write(tmp_path / "a.json", document))
    assert first.context != second.context
    assert first.paragraph_id != second.paragraph_id


def test_a_flat_file_takes_texts_or_hugging_faces_lists_or_the_official_form(tmp_path):
    forms = ["Ada", ["Ada", "Ada L."], {"text": ["Ada"], "answer_start": [0]}, [{"text": "Ada", "answer_start": 0}]]
    lines = [json.dumps({**FLAT, "id": str(i), "answers": form}) for i, form in enumerate(forms)]
    found = read_examples(write(tmp_path / "a.jsonl", "\n".join(lines) + "\n\n"))
    assert [x.answers for x in found] == [("Ada",), ("Ada", "Ada L."), ("Ada",), ("Ada",)]
    assert [x.answer_start for x in found] == [0, 0, 0, 0]  # looked up in the context where not given
    assert [x.id for x in found] == ["0", "1", "2", "3"]
    assert len({x.paragraph_id for x in found}) == 1


def test_a_flat_line_may_hold_a_line_separator_inside_a_string(tmp_path):
    row = {**FLAT, "context": "Ada\u2028b"}
    assert read_examples(write(tmp_path / "a.jsonl", json.dumps(row, ensure_ascii=False)))[0].context == "Ada\u2028b"


def test_without_a_title_the_paragraph_stands_for_the_article():
    one, two, other = from_rows(
        [FLAT, {**FLAT, "id": "2"}, {**FLAT, "id": "3", "context": "Ada, again."}], source="t", unanswerable="refuse"
    )
    assert one.article == one.paragraph_id == two.article
    assert other.article != one.article


def test_a_question_is_stripped_but_a_context_is_not_because_offsets_count_in_it():
    (x,) = from_rows([{**FLAT, "question": " Who? ", "context": " Ada. "}], source="t", unanswerable="refuse")
    assert (x.question, x.context) == ("Who?", " Ada. ")


@pytest.mark.parametrize("nothing", [[], {"text": [], "answer_start": []}])
def test_unanswerable_questions_are_refused_or_dropped(nothing):
    rows = [FLAT, {**FLAT, "id": "2", "answers": nothing}]
    with pytest.raises(UsageError, match=r"t holds 1 unanswerable question, first .*data\.unanswerable=drop"):
        from_rows(rows, source="t", unanswerable="refuse")
    assert [x.id for x in from_rows(rows, source="t", unanswerable="drop")] == ["1"]


def test_data_that_is_all_unanswerable_is_refused_even_when_those_are_dropped():
    with pytest.raises(UsageError, match="t holds no question with an answer"):
        from_rows([{**FLAT, "answers": []}], source="t", unanswerable="drop")


def test_an_id_given_twice_is_refused():
    with pytest.raises(UsageError, match="t holds the question id '1' twice"):
        from_rows([FLAT, FLAT], source="t", unanswerable="refuse")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no data file .*absent\.json"):
        read_examples(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.json", "{", r"a\.json, line 1: no JSON \(the file ends, expected a value\); the file may be cut"),
        ("a.json", "[[]]", r"a\.json, \[0\]: found a list, expected an object: in a \.json"),
        ("a.json", '{"version": "1.1"}', r"a\.json: no key 'data', only 'version'; expected: in a \.json"),
        ("a.json", '{"data": 3}', r"a\.json, line 1: data: found a number \(3\), expected a list of articles"),
        ("a.json", '{"data": [{"title": "t"}]}', r"a\.json, data\[0\]: no field 'paragraphs'; there are: 'title'"),
        (
            "a.json",
            '{"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1", "question": "?"}]}]}]}',
            r"a\.json, data\[0\]\.paragraphs\[0\]\.qas\[0\]: no field 'answers'; there are: 'id', 'question'",
        ),
        ("a.json", '{"data": []} {"data": []}', r"a\.json, line 1: more text after the end of the object"),
        ("a.json", '{"data": [],\n "data": []}', r"a\.json, line 2: the key 'data' stands twice"),
        ("a.json", '{"data": [\n\n{"a": 1,\n"a": 2}]}', r"a\.json, line 3: the key 'a' stands twice"),
        (
            "a.jsonl",
            '{"id": "1"}\n',
            r"a\.jsonl, line 1: no field 'context'; there are: 'id'; name the column: data\.columns\.context=",
        ),
        ("a.jsonl", "\n[1]\n", r"a\.jsonl, line 2: found a list, expected an object"),
        ("a.jsonl", '{"id"\n', r"a\.jsonl, line 1: no JSON"),
        ("a.jsonl", '{"data": []}\n', r"line 1: a whole SQuAD document in one line; name the file \.json"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_place_and_the_form_expected(tmp_path, name, text, complaint):
    with pytest.raises(UsageError, match=complaint):
        read_examples(write(tmp_path / name, text))


def test_a_document_is_read_alike_however_its_file_is_cut_into_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(squad_json, "_BLOCK", 7)
    document = squad_document(num_articles=3, questions=2)
    document["data"][0]["paragraphs"][0]["context"] += " \u00e9\u4e2d\U0001f600"
    text = json.dumps({"number": 12345678, **document}, ensure_ascii=False, indent=1)
    found = read_examples(write(tmp_path / "a.json", text))
    assert [x.id for x in found] == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]
    assert found[0].context.endswith("\u00e9\u4e2d\U0001f600")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is text in UTF-16; expected UTF-8 text: save it as UTF-8"):
        read_examples(tmp_path / "a.json")


def test_a_column_that_happens_to_be_called_paragraph_is_no_paragraph_id():
    rows = [{**FLAT, "paragraph": "first"}, {**FLAT, "id": "2", "paragraph": "second"}]
    one, two = from_rows(rows, source="t", unanswerable="refuse")
    assert one.paragraph_id == two.paragraph_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": "Bob"}, r"1 questions .* first row 1: the answer 'Bob' is not in the context"),
        ({"answers": [{"text": "Ada", "answer_start": 1}]}, r"answer_start 1 of the answer 'Ada' points at 'da '"),
        ({"context": "Ade\u0301 was", "answers": "Ad\u00e9"}, r"except in another Unicode form \(NFC, NFD\)"),
    ],
)
def test_an_answer_that_is_not_in_the_context_is_refused_dropped_or_kept(change, message):
    rows = [FLAT, {**FLAT, "id": "2", **change}]
    with pytest.raises(UsageError, match=message):
        from_rows(rows, source="t", unanswerable="refuse")
    assert [x.id for x in from_rows(rows, source="t", unanswerable="refuse", mismatched="drop")] == ["1"]
    kept = from_rows(rows, source="t", unanswerable="refuse", mismatched="keep")
    assert [x.id for x in kept] == ["1", "2"]


def test_further_gold_answers_without_an_offset_may_be_in_other_words():
    (x,) = from_rows([{**FLAT, "answers": ["Ada", "Countess Lovelace"]}], source="t", unanswerable="refuse")
    assert x.answers == ("Ada", "Countess Lovelace")


def test_an_example_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        example().question = "?"


@given(st.integers(2, 8), st.integers(1, 3), st.integers(0, 9), st.data())
@settings(derandomize=True, deadline=None)
def test_held_out_articles_are_whole_and_share_nothing_with_the_rest(num_articles, questions, seed, data):
    held = data.draw(st.integers(1, num_articles - 1))
    everything = examples_of(num_articles, questions)
    kept, out = hold_out_articles(everything, held, seed)
    assert len({x.article for x in out}) == held
    assert not {x.article for x in kept} & {x.article for x in out}
    assert sorted(kept + out, key=lambda x: x.id) == sorted(everything, key=lambda x: x.id)


def test_held_out_articles_depend_on_the_seed_and_not_on_the_order_of_the_questions():
    everything = examples_of(12, 2)
    out = {x.id for x in hold_out_articles(everything, 4, 0)[1]}
    assert {x.id for x in hold_out_articles(everything[::-1], 4, 0)[1]} == out
    assert {x.id for x in hold_out_articles(everything, 4, 1)[1]} != out


@pytest.mark.parametrize("num", [3, 4])
def test_holding_out_every_article_is_refused(num):
    with pytest.raises(
        UsageError, match=rf"{num} articles cannot be held out of 3; set data\.selection_articles to 2 or fewer"
    ):
        hold_out_articles(examples_of(3, 1), num, 0)


@given(st.integers(1, 20), st.integers(0, 25), st.integers(0, 25), st.integers(0, 9))
@settings(derandomize=True, deadline=None)
def test_a_smaller_draw_starts_a_larger_one_and_none_repeats(available, small, large, seed):
    small, large = sorted((small, large))
    everything = examples_of(available, 1)
    drawn = draw_examples(everything, large, seed, "train")
    assert draw_examples(everything, small, seed, "train") == drawn[:small]
    assert len({x.id for x in drawn}) == len(drawn) == min(large, available)


def test_draws_for_different_purposes_or_seeds_differ():
    everything = examples_of(20, 1)
    assert draw_examples(everything, 20, 0, "train") == draw_examples(everything, 20, 0, "train")
    assert draw_examples(everything, 20, 0, "train") != draw_examples(everything, 20, 0, "test")
    assert draw_examples(everything, 20, 0, "train") != draw_examples(everything, 20, 1, "train")
    assert draw_examples(everything, 20, 0, "train") != everything
