"""Commands on a researcher's own table of questions."""

import json
import os
import subprocess
import sys

import pytest

TABLE = """passage,query,gold
"Ada, the countess, wrote it in 1843.",Who wrote it?,"[""Ada"", ""the countess""]"
"Ada, the countess, wrote it in 1843.",When?,1843
"""
COLUMNS = [part for one in ("context=passage", "question=query", "answers=gold") for part in ("--columns", one)]


def test_answers_by_made_ids_are_scored_against_the_columns_of_a_csv(tmp_path, thinwire):
    from thinwire.cli.options import chosen_columns
    from thinwire.data.squad import read_examples

    (tmp_path / "mine.csv").write_text(TABLE)
    who, when = read_examples(tmp_path / "mine.csv", columns=chosen_columns(COLUMNS[1::2]))
    # "countess Ada" and "the countess": 1 of 2 tokens (articles do not count), F1 2 x 0.5 x 1 / 1.5; "1843" is exact.
    (tmp_path / "answers.json").write_text(json.dumps({who.id: "countess Ada", when.id: "1843"}))
    code, out, _ = thinwire("score", tmp_path / "answers.json", tmp_path / "mine.csv", *COLUMNS)
    assert (code, out) == (0, "EM 50.00  F1 83.33  2 questions\n")
    code, _, err = thinwire("score", tmp_path / "answers.json", tmp_path / "mine.csv", *COLUMNS[:4])
    assert code == 2
    assert "no field 'answers'; there are: 'passage', 'query', 'gold'; name the column: data.columns.answers=" in err


@pytest.mark.slow
@pytest.mark.parametrize("command", [("sweep",), ("sweep", "--dry-run"), ("train", "baseline")])
def test_data_that_cannot_be_used_are_refused_before_what_takes_seconds_to_import(command, tmp_path):
    """``transformers`` is told apart by a module of that name that cannot be imported."""
    (tmp_path / "mine.csv").write_text(TABLE)
    (tmp_path / "mine.yaml").write_text("name: mine\ndata: {train: mine.csv, test_articles: 6}\narms: {baseline: {}}\n")
    (tmp_path / "transformers.py").write_text("raise AssertionError('transformers was imported')\n")
    name, *rest = command
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = subprocess.run(
        [sys.executable, "-m", "thinwire", name, "mine.yaml", *rest],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: mine.csv, line 1: no field 'context'; there are: 'passage', 'query', 'gold'")
