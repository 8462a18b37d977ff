"""The model card: every line of it from the records of the run."""

import json
import shutil

import pytest
import yaml

from thinwire.checkpoints.load import find_arm
from thinwire.export.write import export
from thinwire.results.arm_record import read_arm_record
from thinwire.results.sweep_header import read_header
from tiny_sweeps import finished_run


@pytest.fixture(scope="module")
def card(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card") / "out"
    export(find_arm(run / "r2", device="cpu"), folder)
    return (folder / "README.md").read_text()


def row(card, name):
    """The value in the table row of this name."""
    (line,) = [line for line in card.splitlines() if line.startswith(f"| {name} |")]
    return line.split(" | ", 1)[1].removesuffix(" |")


def test_metadata_hold_what_is_known_and_nothing_else(card):
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata == {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["thinwire", "lora"]}
    assert row(card, "licence") == "not stated by the base model's own files"


def test_what_was_trained_is_told_by_the_record(card, run):
    record = read_arm_record(run / "r2")
    # A ratio of 4 leaves 8 of 32 numbers. The matrix is 261 * 32 float32 numbers, 33,408 bytes.
    assert row(card, "codec") == "PCA: 8 numbers for 32 (4:1)"
    assert row(card, "codes, adapter and codec").endswith("MB for a matrix of 0.03")
    assert row(card, "LoRA").startswith(
        "rank 2, alpha 4, dropout 0.05, the first 1 of 2 layers: all linear modules of attention"
    )
    assert row(card, "trained parameters") == f"{record.done.trainable_parameters.total:,}"
    assert row(card, "training data") == "12 questions of `train.json`"
    assert row(card, "epochs") == f"2, of which number {record.done.training.best_epoch} was kept"
    assert row(card, "seed") == "0"
    assert str(run.parent) not in card, "no path of this machine"


def test_scores_and_verdict_are_those_of_the_sweep(card, run):
    record = read_arm_record(run / "r2")
    assert f"| F1 | {100 * record.done.test.score:.1f} | too few paragraphs |" in card
    assert "| 8 test questions | points | 95% interval |" in card
    assert "Compared with the arm `baseline` of the sweep, `r2` gains" in card
    verdict = (run / "sweep_summary.txt").read_text().split("Verdict: ")[1]
    words = " ".join(verdict.split())
    (quoted,) = [line.removeprefix("> ") for line in card.splitlines() if line.startswith("> ")]
    assert words.startswith(quoted.split(". ")[0])
    assert "one seed an arm: the intervals cover the questions" in card


def test_where_it_comes_from_is_told_by_the_record(card, run):
    record, header = read_arm_record(run / "r2"), read_header(run)
    assert row(card, "base model") == f"model, revision `{record.model.revision}`"
    assert row(card, "made by").startswith(f"thinwire {record.environment.thinwire}, commit ")
    assert row(card, "sweep") == f"{header.name}, {header.started_at}"


def test_an_arm_of_a_sweep_that_has_not_ended_has_no_verdict(run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "run")
    (moved / "baseline" / "record.json").unlink()
    export(find_arm(moved / "r2", device="cpu"), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| F1 |" in card
    assert "verdict" not in card


def test_a_control_with_text_as_input_has_no_codec(run, tmp_path):
    export(find_arm(run / "controls/text_lora", device="cpu"), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert row(card, "input") == "the text's own embeddings"
    assert "compressed codes" not in card
    assert "| codec |" not in card


def test_the_message_of_a_card_is_that_of_the_sweeps_own_prompts(tmp_path):
    rows = [{"question": f"Which town has {n} mills?", "options": ["one", "two"], "answer": n % 2} for n in range(12)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = {"train": str(tmp_path / "mine.jsonl"), "test": None, "test_articles": 4, "selection_articles": 2}
    data["columns"] = {"context": None, "choices": "options"}
    prompt = {"template": "{{ question }}\n{{ choices }}", "turns": [{"role": "system", "content": "Be brief."}]}
    run = finished_run(tmp_path, data=data, prompt=prompt, arms={"baseline": {}}, controls={})
    export(find_arm(run / "baseline", device="cpu"), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert r'message = "QUESTION\nA. FIRST OPTION\nB. SECOND OPTION"' in card
    assert 'chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": message}]' in card


CUT = {
    "beginning": "the beginning, 7 % of its tokens, rounded up (`prompt.context_share`)",
    "bm25": "the sentences that BM25 scores highest against the question, in their order, the last one cut, 50 % of "
    "its tokens, rounded up (`prompt.context_share`, `prompt.context_choice`)",
}


def test_a_card_says_how_contexts_were_shortened_and_that_they_have_to_be(tmp_path, run):
    lora = {"rank": 2, "dropout": 0.0}
    arms = {
        "beginning": {"prompt": {"context_share": 0.07}, "input": "text", "lora": lora},
        "bm25": {"prompt": {"context_share": 0.5, "context_choice": "bm25"}, "input": "text", "lora": lora},
        "alone": {"prompt": {"context_share": 0.5}, "context": False, "input": "text", "lora": lora},
    }
    cut = finished_run(tmp_path, arms=arms, baseline="beginning", controls={})
    for name, kept in CUT.items():
        export(find_arm(cut / name, device="cpu"), tmp_path / name)
        card = (tmp_path / name / "README.md").read_text()
        assert row(card, "contexts") == f"shortened to {kept}"
        assert f"nothing here shortens them: keep {kept}, before a context goes into the prompt" in card
    export(find_arm(cut / "alone", device="cpu"), tmp_path / "alone")
    export(find_arm(run / "baseline", device="cpu"), tmp_path / "whole")
    for name in ("alone", "whole"):
        assert "shorten" not in (tmp_path / name / "README.md").read_text()
