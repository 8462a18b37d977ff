"""Commands on a researcher's own table of questions."""

import json
import os
import subprocess
import sys

import pytest

from tiny_models import save_tiny, tiny_tokenizer

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


SETTINGS = {
    "name": "own",
    "model": {"device": "cpu", "dtype": "float32"},
    "adapter": {"hidden": 8},
    "reconstruction": {"steps": 2},
    "training": {"epochs": 1, "batch_size": 4},
    "evaluation": {"samples": "all", "selection_samples": 2, "max_new_tokens": 2},
    "verdict": {"resamples": 100},
    "arms": {"baseline": {}, "r2": {"lora": {"rank": 2, "alpha": 4}}},
}
CHOICES = [
    {"question": f"Which town has {n} mills?", "options": [f"Town {n}", f"Town {n + 1}", "none"], "answer": n % 3}
    for n in range(12)
]
CONTINUED = [{"text": f"Town {n} has {n} mills, and the next town has", "answer": f"{n + 1} mills"} for n in range(12)]
QUESTIONS = {"test_articles": 6, "selection_articles": 2}


@pytest.mark.parametrize(
    ("rows", "data", "prompt", "asked"),
    [
        (
            CHOICES,
            {"columns": {"context": None, "choices": "options"}},
            {
                "template": "{% if context %}{{ context }}{% endif %}Q: {{ question }}\n{{ choices }}",
                "turns": [{"role": "system", "content": "Be brief."}],
            },
            "<|system|>Be brief.<|end|><|user|>Q: Which town has 0 mills?\nA. Town 0\nB. Town 1\nC. none"
            "<|end|><|assistant|>",
        ),
        (
            CONTINUED,
            {"columns": {"context": "text", "question": None}, "mismatched": "keep"},
            {"style": "plain"},
            "Town 0 has 0 mills, and the next town has",
        ),
    ],
)
def test_questions_with_choices_and_texts_to_be_continued_are_trained_on_and_answered(
    tmp_path, thinwire, cache, rows, data, prompt, asked
):
    from thinwire.config.load import load_experiment
    from thinwire.data.prompts import PromptEncoder
    from thinwire.data.squad import read_examples

    save_tiny(tmp_path / "model")
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = {**SETTINGS, "prompt": prompt, "data": {"train": str(tmp_path / "mine.jsonl"), **QUESTIONS, **data}}
    settings["model"] = {**SETTINGS["model"], "name": str(tmp_path / "model")}
    (tmp_path / "own.json").write_text(json.dumps(settings))  # JSON is YAML
    code, _, err = thinwire("sweep", tmp_path / "own.json", "-o", tmp_path / "run")
    assert code == 0, err
    answers = [json.loads(line) for line in (tmp_path / "run/r2/predictions.jsonl").read_text().splitlines()]
    experiment = load_experiment(tmp_path / "own.json")
    examples = read_examples(tmp_path / "mine.jsonl", mismatched="keep", columns=experiment.data.columns)
    golds = {one.id: list(one.answers) for one in examples}
    assert len({one["paragraph_id"] for one in answers}) == len(answers) == 6
    assert all(one["golds"] == golds[one["id"]] for one in answers)
    assert PromptEncoder(tiny_tokenizer(), experiment.prompt).render(examples[0]) == asked
    code, _, err = thinwire("sweep", tmp_path / "own.json", "-o", tmp_path / "run", "--resume")
    assert code == 0, err
    alone = "controls.alone={input: text, context: false}"
    _, out, err = thinwire("sweep", tmp_path / "own.json", "--dry-run", "--set", alone)
    assert ("without its context (context=false) nothing is left to ask" in out + err) == (rows is CONTINUED)


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
