import hashlib
import json

import pytest

from thinwire.config.settings import ColumnsConfig, DataConfig, EvaluationConfig
from thinwire.data import tables
from thinwire.data.confined import Limits
from thinwire.data.splits import Splits
from thinwire.data.squad import read_examples
from thinwire.errors import UsageError
from thinwire.schema import build

NAMED = ColumnsConfig(context="passage", question="query", answers="gold")
ROWS = [
    {"passage": "Ada was here, in 1843.", "query": "Who?", "gold": ["Ada", "the countess"]},
    {"passage": "Ada was here, in 1843.", "query": "When?", "gold": 1843},
    {"passage": "It took 0.50 of an hour.", "query": "How long?", "gold": "0.50"},
]
CSV = """passage,query,gold
"Ada was here, in 1843.",Who?,"[""Ada"", ""the countess""]"
"Ada was here, in 1843.",When?,1843

It took 0.50 of an hour.,How long?,0.50
"""


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def write_table(folder, form):
    """Write ``ROWS`` as a file of that ending, with every answer a text or a list where columns have one type."""
    if form == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        arrow = pytest.importorskip("pyarrow")
        golds = [["Ada", "the countess"], ["1843"], ["0.50"]]
        rows = [{**row, "gold": gold, "page": 1.5} for row, gold in zip(ROWS, golds, strict=True)]
        parquet.write_table(arrow.Table.from_pylist(rows), folder / "a.parquet", row_group_size=2)
        return folder / "a.parquet"
    content = {
        "csv": CSV,
        "tsv": "\n".join("\t".join(map(str, line)) for line in [ROWS[0], *map(dict.values, ROWS)]).replace("'", '"'),
        "json": ROWS,
        "jsonl": "\n".join(map(json.dumps, ROWS)),
    }
    return write(folder / f"a.{form}", content[form])


@pytest.mark.parametrize("form", ["csv", "tsv", "json", "jsonl", "parquet"])
def test_all_tables_of_the_same_rows_have_the_same_questions(tmp_path, form):
    found = read_examples(write_table(tmp_path, form), columns=NAMED)
    assert [x.answers for x in found] == [("Ada", "the countess"), ("1843",), ("0.50",)]
    assert [x.question for x in found] == ["Who?", "When?", "How long?"]
    assert [x.context for x in found] == [row["passage"] for row in ROWS]
    assert [x.paragraph_id for x in found] == ["p0", "p0", "p1"]
    assert [x.answer_start for x in found] == [0, len("Ada was here, in "), len("It took ")]
    assert [x.id for x in found] == [made_id(row["passage"], row["query"]) for row in ROWS]


def made_id(context, question):
    """The beginning of the SHA-256 of context and question as compact JSON."""
    return hashlib.sha256(json.dumps([context, question], separators=(",", ":")).encode()).hexdigest()[:16]


def test_a_csv_with_context_question_and_answer_needs_no_settings(tmp_path):
    (x,) = read_examples(write(tmp_path / "a.csv", "context,question,answer\nAda came.,Who?,Ada\n"))
    assert (x.context, x.question, x.answers, x.article) == ("Ada came.", "Who?", ("Ada",), "p0")


def test_made_ids_stay_when_rows_are_moved_added_or_answered_otherwise(tmp_path):
    lines = ["context,question,answer", "Ada came.,Who?,Ada", "Bob came.,Who?,Bob"]
    before = {x.context: x.id for x in read_examples(write(tmp_path / "a.csv", "\n".join(lines)))}
    lines = [lines[0], "Cy came.,Who?,Cy", "Bob came.,Who?,Bob came", lines[1]]
    after = {x.context: x.id for x in read_examples(write(tmp_path / "b.csv", "\n".join(lines)))}
    assert {context: after[context] for context in before} == before
    assert len(set(after.values())) == 3


def test_an_id_column_is_read_or_not_as_its_name_says(tmp_path):
    path = write(tmp_path / "a.csv", "id,key,context,question,answer\n7,x,Ada.,Who?,Ada\n7,y,Bob.,Who?,Bob\n")
    with pytest.raises(UsageError, match=r"holds the question id '7' twice \(line 3\).*data\.columns\.id=null"):
        read_examples(path)
    assert [x.id for x in read_examples(path, columns=ColumnsConfig(id="key"))] == ["x", "y"]
    assert [x.id for x in read_examples(path, columns=ColumnsConfig(id=None))] == [
        made_id("Ada.", "Who?"),
        made_id("Bob.", "Who?"),
    ]
    with pytest.raises(UsageError, match=r"line 1: no column 'nr'.*, which data\.columns\.id names; there are"):
        read_examples(path, columns=ColumnsConfig(id="nr"))


def test_titles_are_articles_unless_they_are_not_to_be_read(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"context": "Ada.", "question": "Who?", "answer": "Ada", "title": 3}')
    assert read_examples(path)[0].article == "3"
    assert read_examples(path, columns=ColumnsConfig(title=None))[0].article == "p0"
    with pytest.raises(UsageError, match=r"line 1: no column 'page', which data\.columns\.title names"):
        read_examples(path, columns=ColumnsConfig(title="page"))


def test_numbers_are_answers_and_ids_as_they_are_written(tmp_path):
    row = '{"id": %s, "context": "In 1843 it took 0.50 or 1e3.", "question": "?", "answers": [1843, 0.50, 1e3]}'
    (x,) = read_examples(write(tmp_path / "a.jsonl", row % 7))
    assert (x.id, x.answers, x.answer_start) == ("7", ("1843", "0.50", "1e3"), 3)
    with pytest.raises(UsageError, match=r"line 1, id: found a number \(7\.0\), expected a text or a whole number"):
        read_examples(write(tmp_path / "a.jsonl", row % "7.0"))


def test_a_dot_leads_into_objects_unless_a_column_has_that_name(tmp_path):
    row = {"context": "Ada met Bob.", "question": "Who?", "note": {"gold": {"text": ["Ada"], "answer_start": [0]}}}
    columns = ColumnsConfig(answers="note.gold")
    assert read_examples(write(tmp_path / "a.json", [row]), columns=columns)[0].answers == ("Ada",)
    row["note.gold"] = "Bob"
    assert read_examples(write(tmp_path / "a.json", [row]), columns=columns)[0].answers == ("Bob",)
    columns = ColumnsConfig(answers="note.silver")
    with pytest.raises(UsageError, match=r"\[0\]: no column 'note\.silver'.*, which data\.columns\.answers names"):
        read_examples(write(tmp_path / "a.json", [row]), columns=columns)


def test_nested_columns_of_parquet_are_read(tmp_path):
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    rows = [{"id": 5, "text": {"en": "Ada."}, "q": "Who?", "golds": {"text": ["Ada"], "answer_start": [0]}}]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    columns = ColumnsConfig(context="text.en", question="q", answers="golds")
    (x,) = read_examples(tmp_path / "a.parquet", columns=columns)
    assert (x.id, x.context, x.answers) == ("5", "Ada.", ("Ada",))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (0.5, r"row 0, answers: found a number \(0\.5\), of which it is not known how it was written: make the column"),
        (b"Ada", r"row 0, answers: found a value of the type bytes, expected a text, a number"),
        (None, r"row 0, answers: found null"),
    ],
)
def test_what_has_no_text_in_parquet_is_refused(tmp_path, value, complaint):
    parquet, arrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    table = arrow.table({"context": ["Ada 0.5"], "question": ["?"], "answer": [value]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=complaint):
        read_examples(tmp_path / "a.parquet")


def test_a_parquet_file_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    path = write_table(tmp_path, "parquet")
    monkeypatch.setattr(tables, "_LARGEST_GROUP", 10)
    with pytest.raises(
        UsageError, match=r"its row group 0 takes \d+ bytes, expected 10 at most; write it with smaller"
    ):
        read_examples(path, columns=NAMED)


def test_a_parquet_file_that_ends_the_process_that_reads_it_is_refused(tmp_path, monkeypatch):
    """As some damaged files do; here the process has no memory to read anything."""
    path = write_table(tmp_path, "parquet")
    monkeypatch.setattr(tables, "_LIMITS", Limits(cpu_seconds=100, memory_bytes=1 << 25))
    with pytest.raises(UsageError, match=r"the data file .*a\.parquet cannot be read as Parquet \("):
        read_examples(path, columns=NAMED)


def test_without_the_extra_a_parquet_file_says_how_to_install_it(tmp_path, monkeypatch):
    path = write_table(tmp_path, "parquet")
    monkeypatch.setattr(tables.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"a\.parquet is a Parquet file.*pip install 'thinwire\[datasets\]'"):
        read_examples(path)


def test_an_empty_cell_of_a_csv_means_no_answer(tmp_path):
    path = write(tmp_path / "a.csv", "context,question,answers,is_impossible\nAda.,Who?,Ada,False\nBob.,Why?,,True\n")
    with pytest.raises(UsageError, match="1 unanswerable"):
        read_examples(path)
    assert [x.context for x in read_examples(path, "drop")] == ["Ada."]
    write(path, "context,question,answers,is_impossible\nAda.,Who?,Ada,True\n")
    with pytest.raises(UsageError, match="line 2: is_impossible is true, but there are answers"):
        read_examples(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": " "}, r"columns: context takes the name of a column, got ' '"),
        ({"title": "a\nb"}, r"columns: title takes the name of a column"),
        ({"context": "question"}, r"columns: context and question both name the column 'question'"),
        ({"title": "id"}, r"columns: id and title both name the column 'id'"),
    ],
)
def test_columns_that_are_none_or_one_for_two_fields_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        build(ColumnsConfig, changes, where="columns")


def drawn(train, test, **columns):
    data = DataConfig(train=str(train), test=str(test), selection_articles=1, columns=ColumnsConfig(**columns))
    return Splits(data, seed=0).drawn(EvaluationConfig(samples=5, selection_samples=5))


def test_questions_of_other_columns_have_other_hashes(tmp_path):
    """Resuming and reusing depend on these hashes."""
    header = "context,question,answer,other\n"
    train = write(tmp_path / "a.csv", header + "".join(f"Ada {n} Bob.,Who?,Ada,Bob\n" for n in range(4)))
    test = write(tmp_path / "b.csv", header + "Cy and Di.,Who?,Cy,Di\n")
    one, same, other = (drawn(train, test, answers=name).hashes for name in ("answer", "answer", "other"))
    assert one == same
    assert one.train != other.train
    assert one.test != other.test


def test_columns_hold_for_a_table_beside_squad_but_not_for_squad_alone(tmp_path):
    table = write(tmp_path / "a.csv", "passage,question,answer\n" + "".join(f"Ada {n}.,Who?,Ada\n" for n in range(3)))
    squad = {"data": [{"paragraphs": [{"context": "Bob.", "qas": [{"id": "1", "question": "?", "answers": "Bob"}]}]}]}
    document = write(tmp_path / "b.json", squad)
    assert len(drawn(table, document, context="passage").train) == 2
    with pytest.raises(UsageError, match=r"names columns, but .*b\.json is in SQuAD's format"):
        drawn(document, document, context="passage")
