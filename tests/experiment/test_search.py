"""Search of settings: which candidates there are, which is chosen, and what a sweep does with the choice."""

import json
import logging
import re

import pytest
import yaml

from sweep_folder import failed, record
from thinwire.config.experiment import ARM_NAME, Experiment
from thinwire.config.load import load_experiment
from thinwire.errors import UsageError
from thinwire.experiment import arm_journal
from thinwire.experiment.dry_run import dry_run
from thinwire.experiment.plan import plan
from thinwire.experiment.search import candidates, choose, log_choices, search_experiment, to_search, with_choices
from thinwire.experiment.sweep import run_sweep
from thinwire.results.arm_record import read_arm_record
from thinwire.results.read import read_results
from thinwire.results.search_record import CandidateScore, SearchRecord, read_search_record
from thinwire.results.sweep_header import read_header
from thinwire.schema import build
from tiny_models import save_sweep_inputs
from tiny_sweeps import experiment as tiny_experiment

RATES = {"training.adapter_lr": [1e-4, 1e-3], "training.lora_lr": [1e-3, 1e-2]}
LORA = {"rank": 2, "alpha": 4, "layers": 1, "dropout": 0.0}


def experiment(**changes):
    settings = {
        "name": "tiny",
        "search": RATES,
        "seeds": [3, 5],
        "arms": {"baseline": {}, "r2": {"lora": LORA}, "slow": {"training": {"adapter_lr": 1e-5}, "lora": LORA}},
        "controls": {
            "text_lora": {"input": "text", "lora": LORA},
            "codec_lora": {"input": "codec", "lora": LORA},
            "codec_only": {"input": "codec"},
            "untrained": {"training": {"epochs": 0}},
        },
    }
    return build(Experiment, {**settings, **changes}, where="")


OWN = {"kind": "autoencoder"}


def names(found):
    return [one.name for one in found]


def values(found):
    return [dict(one.values) for one in found]


# Candidates


def test_the_candidates_are_all_combinations_in_the_order_of_the_search():
    found = candidates(experiment(), "r2")
    assert names(found) == [
        "r2--adapter_lr-0.0001--lora_lr-0.001",
        "r2--adapter_lr-0.0001--lora_lr-0.01",
        "r2--adapter_lr-0.001--lora_lr-0.001",
        "r2--adapter_lr-0.001--lora_lr-0.01",
    ]
    assert values(found)[1] == {"training.adapter_lr": 1e-4, "training.lora_lr": 1e-2}


@pytest.mark.parametrize(
    ("name", "searched"),
    [
        ("baseline", ["training.adapter_lr"]),  # no LoRA
        ("slow", ["training.lora_lr"]),  # sets the other rate itself
        ("text_lora", ["training.lora_lr"]),  # no adapter
        ("codec_lora", ["training.lora_lr"]),
        ("codec_only", []),  # trains nothing
        ("untrained", []),
    ],
)
def test_a_setting_is_searched_where_it_changes_what_is_trained(name, searched):
    assert values(candidates(experiment(), name)) == [{path: value} for path in searched for value in RATES[path]]


@pytest.mark.parametrize(
    ("path", "of"),
    [
        ("codec.ratio", {"baseline", "r2", "slow", "codec_lora"}),
        ("adapter.hidden", {"baseline", "r2", "slow"}),
        ("reconstruction.steps", {"baseline", "r2", "slow"}),
        ("lora.dropout", set()),  # all with LoRA set it themselves
        ("training.epochs", {"baseline", "r2", "slow", "text_lora", "codec_lora"}),
        ("training.clip_norm", {"baseline", "r2", "slow", "text_lora", "codec_lora"}),
        ("supervision.ce_weight", {"baseline", "r2", "slow", "text_lora", "codec_lora"}),
    ],
)
def test_other_settings_are_searched_in_every_arm_that_may_use_them(path, of):
    made = experiment(search={path: [1, 2] if path != "lora.dropout" else [0.1, 0.2]})
    assert {name for name in (*made.arms, *made.controls) if candidates(made, name)} == of


def test_a_combination_leaves_out_what_has_no_effect_beside_its_other_values():
    search = {"codec.kind": ["pca", "vq"], "codec.vq.steps": [1, 2], "supervision.teacher": [None, "runs/a"]}
    assert values(candidates(experiment(search=search), "baseline")) == [
        {"codec.kind": "pca"},
        {"codec.kind": "vq", "codec.vq.steps": 1},
        {"codec.kind": "vq", "codec.vq.steps": 2},
    ]
    assert candidates(experiment(search={"codec.vq.steps": [1, 2]}), "baseline") == []


def test_no_arm_without_lora_gets_any_by_a_search():
    made = experiment(
        search={"lora.rank": [2, 4], "lora.alpha": [8, 16]}, arms={"baseline": {}, "any": {"lora": {"rank": 1}}}
    )
    assert candidates(made, "baseline") == []
    assert values(candidates(made, "any")) == [{"lora.alpha": 8.0}, {"lora.alpha": 16.0}]


def test_names_of_candidates_are_names_of_arms_and_tell_settings_apart():
    search = {"supervision.ce_weight": [1e-5, 1.0], "codec.ratio": [2, 4], "supervision.teacher": ["runs/a", None]}
    found = candidates(experiment(search=search, supervision={"kd_weight": 1}), "baseline")
    assert found[0].name == "baseline--ce_weight-1e-05--ratio-2.0--teacher-runs_a"
    alike = candidates(
        experiment(search={"adapter.hidden": [1, 2], "codec.autoencoder.hidden": [1, 2]}, codec=OWN), "r2"
    )
    assert alike[3].name == "r2--adapter.hidden-2--codec.autoencoder.hidden-2"
    assert all(re.match(ARM_NAME, one.name) for one in (*found, *alike))


def test_the_search_is_a_sweep_of_all_candidates_with_the_first_seed_and_one_test_question():
    made = experiment(evaluation={"samples": "all"})
    own = search_experiment(made)
    # 2 of the baseline, 4 of r2, 2 of each of slow, text_lora and codec_lora.
    assert len(own.arms) == 12
    assert own.arm(own.baseline) == own.arm("baseline--adapter_lr-0.0001")
    arm = own.arm("r2--adapter_lr-0.001--lora_lr-0.01")
    assert (arm.seed, arm.evaluation.samples) == (3, 1)
    assert (arm.training.adapter_lr, arm.training.lora_lr, arm.lora.rank) == (1e-3, 1e-2, 2)
    assert own.arm("text_lora--lora_lr-0.01").input == "text"
    assert (own.seed, own.seeds, own.search, own.controls) == (made.seed, (), {}, {})
    assert [run.name for run in plan(own, [], "all")] == list(own.arms)


# The settings of a search


def test_a_search_is_read_from_a_file_and_changed_on_the_command_line(tmp_path):
    path = tmp_path / "e.yaml"
    text = "name: x\narms: {baseline: {}}\nsearch: {training.adapter_lr: [5e-5, 1.0e-4], lora.rank: [1, 2]}\n"
    path.write_text(text)
    # YAML reads 5e-5 as a text; the setting is a number.
    assert load_experiment(path).search == {"training.adapter_lr": (5e-5, 1e-4), "lora.rank": (1, 2)}
    changed = load_experiment(path, ["search.training.adapter_lr=[1, 2]", "search.training.lora_lr=[3, 4]"])
    assert changed.search == {"training.adapter_lr": (1, 2), "lora.rank": (1, 2), "training.lora_lr": (3, 4)}
    assert load_experiment(path, ["search={}"]).search == {}
    path.write_text(yaml.safe_dump(changed.model_dump(mode="json")))
    assert load_experiment(path) == changed


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"training.adaptr_lr": [1, 2]}, r"'search\.training\.adaptr_lr' \(did you mean 'adapter_lr'\?\)"),
        ({"model.name": ["a", "b"]}, r"'search\.model' belongs to the whole experiment"),
        ({"training.adapter_lr": [1e-4, -1]}, r"search\.training\.adapter_lr: .*greater than 0, got -1"),
        ({"training.adapter_lr": [1e-4]}, "training.adapter_lr takes at least two values, each once"),
        ({"training.adapter_lr": [1e-4, 0.0001]}, "training.adapter_lr takes at least two values, each once"),
        ({"training.adapter_lr": 1e-4}, "search: .*got 0.0001"),
        ({"lora": [{"rank": 1}, {"rank": 2}]}, "lora takes a list of single values"),
        ({"seed": [1, 2]}, "seed cannot be searched"),
        ({"evaluation.selection_samples": [1, 2]}, "evaluation.selection_samples cannot be searched"),
    ],
)
def test_a_search_of_something_else_is_refused(search, message):
    with pytest.raises(UsageError, match=message):
        experiment(search=search)


# The choice


def scored(made, name, scores):
    """Choose by the selection F1 of each candidate; None is a failure."""
    found = to_search(made, [name], SearchRecord(arms={}))
    records = [
        failed(one.name) if f1 is None else record(one.name, arm="baseline", selection=f1)
        for one, f1 in zip(found[name], scores, strict=True)
    ]
    return choose(made, found, records)


WIDE = {"training.adapter_lr": [3e-4, 1e-4, 1e-3], "training.batching": ["shuffled", "grouped"]}


@pytest.mark.parametrize(
    ("scores", "chosen", "edges"),
    [
        # The middle of the three rates is the first in the list.
        ([0.5, 0.25, 0.25, 0.25, 0.25, 0.25], {"training.adapter_lr": 3e-4, "training.batching": "shuffled"}, ()),
        ([0.25, 0.25, 0.25, 0.5, 0.5, 0.5], {"training.adapter_lr": 1e-4, "training.batching": "grouped"}, (0,)),
        ([None, 0.0, None, None, 0.125, None], {"training.adapter_lr": 1e-3, "training.batching": "shuffled"}, (0,)),
        # Equal scores say nothing of what lies beyond the smallest rate.
        ([None, None, 0.25, 0.25, 0.25, 0.25], {"training.adapter_lr": 1e-4, "training.batching": "shuffled"}, ()),
    ],
)
def test_the_first_of_the_best_is_chosen_and_an_edge_of_numbers_is_told(scores, chosen, edges):
    made = experiment(search=WIDE)
    search = scored(made, "baseline", scores)["baseline"]
    assert search.chosen == chosen
    assert search.edges == tuple(list(WIDE)[index] for index in edges)
    assert [one.selection_score for one in search.candidates] == scores
    assert search.candidates[1] == CandidateScore(
        name="baseline--adapter_lr-0.0003--batching-grouped",
        values={"training.adapter_lr": 3e-4, "training.batching": "grouped"},
        selection_score=scores[1],
    )


def test_every_seed_gets_the_choice_and_nothing_else_changes():
    made = experiment()
    known = SearchRecord(arms=scored(made, "r2", [0.25, 0.5, 0.25, 0.25]))
    before = plan(made, [], "all")
    after = with_choices(made, before, known)
    for one, other in zip(before, after, strict=True):
        if one.arm == "r2":
            training = one.config.training.model_copy(update={"adapter_lr": 1e-4, "lora_lr": 1e-2})
            assert other.config == one.config.model_copy(update={"training": training})
        else:
            assert other == one
    assert to_search(made, ["r2", "codec_only", "baseline"], known).keys() == {"baseline"}


def test_a_choice_holds_only_for_the_settings_that_it_was_made_with():
    known = SearchRecord(arms=scored(experiment(), "r2", [0.25, 0.5, 0.25, 0.25]))
    changed = experiment(training={"epochs": 1})
    runs = plan(changed, ["r2"], "all")
    assert with_choices(changed, runs, known) == runs
    assert to_search(changed, ["r2"], known).keys() == {"r2"}


def test_an_arm_whose_candidates_all_failed_keeps_its_own_settings_and_a_warning_says_so(caplog):
    made = experiment()
    choices = scored(made, "baseline", [None, None])
    assert (choices["baseline"].chosen, choices["baseline"].edges) == (None, ())
    runs = plan(made, ["baseline"], "all")
    assert with_choices(made, runs, SearchRecord(arms=choices)) == runs
    log_choices(choices, "F1")
    assert caplog.messages == ["baseline: all its 2 candidates failed; it runs with its own settings"]


def test_the_choice_is_logged_and_an_edge_is_a_warning(caplog):
    with caplog.at_level(logging.INFO, logger="thinwire"):
        log_choices(scored(experiment(search={"training.adapter_lr": [1, 2, 3]}), "baseline", [0.25, 0.5, 0.125]), "F1")
        log_choices(scored(experiment(), "baseline", [0.25, 0.5]), "accuracy")
    assert [(message.levelname, message.getMessage()) for message in caplog.records] == [
        ("INFO", "baseline: training.adapter_lr 2.0, selection F1 50.0, best of 3"),
        ("INFO", "baseline: training.adapter_lr 0.001, selection accuracy 50.0, best of 2"),
        (
            "WARNING",
            "baseline: its best training.adapter_lr, 0.001, is at the edge of the values searched; "
            "a better one may lie beyond",
        ),
    ]


# Whole sweeps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write the inputs of a tiny sweep in which every answer is "m": a few steps learn it, at the right rate."""
    folder = save_sweep_inputs(tmp_path_factory.mktemp("search"))
    for name in ("train.json", "test.json"):
        document = json.loads((folder / name).read_text())
        for paragraph in (article["paragraphs"][0] for article in document["data"]):
            for qa in paragraph["qas"]:
                qa["answers"] = [{"text": "m", "answer_start": paragraph["context"].index("m")}]
        (folder / name).write_text(json.dumps(document))
    return folder


GRIDS = {"training.adapter_lr": [1e-5, 1e-2], "training.lora_lr": [3e-2, 1e30]}


def searching(folder, **changes):
    """A tiny sweep with two seeds whose larger rate of LoRA makes training fail."""
    arms = {"baseline": {}, "r2": {"lora": LORA}}
    settings = {"search": GRIDS, "seeds": [1, 2], "arms": arms, "verdict": {"resamples": 100}}
    settings |= {"supervision": {"ce_weight": 1}, "training": {"epochs": 4, "batch_size": 4}}
    settings |= {"controls": {"codec_only": {"input": "codec"}, "text_lora": {"input": "text", "lora": LORA}}}
    return tiny_experiment(folder, **{**settings, **changes})


def test_arms_are_trained_with_what_their_candidates_did_best_with(folder, tmp_path, monkeypatch):
    run, made = tmp_path / "run", searching(folder)
    planned = dry_run(made, run, controls="all")
    assert planned.candidates == {"baseline": 2, "r2": 4, "text_lora": 2}
    # Interrupted within the second candidate: the first has 12 steps, 4 selections and a test.
    real, calls = arm_journal.append_jsonl, []

    def interrupt(path, row):
        real(path, row)
        calls.append(row)
        if len(calls) == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(arm_journal, "append_jsonl", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(made, run, controls="all")
    assert not (run / "search.json").exists()
    first = run / "search" / "baseline--adapter_lr-1e-05" / "record.json"
    kept = first.read_bytes()

    records = {one.name: one for one in run_sweep(made, run, controls="all", resume=True)}
    assert first.read_bytes() == kept
    assert list(records) == [
        "baseline",
        "baseline-seed2",
        "r2",
        "r2-seed2",
        "codec_only",
        "text_lora",
        "text_lora-seed2",
    ]
    assert {one.status for one in records.values()} == {"done"}
    search = read_search_record(run).arms
    assert list(search) == ["baseline", "r2", "text_lora"]
    assert search["baseline"].chosen == {"training.adapter_lr": 1e-2}
    assert search["text_lora"].chosen == {"training.lora_lr": 3e-2}
    for name, found in search.items():
        best = max(one.selection_score for one in found.candidates if one.selection_score is not None)
        chosen = next(one for one in found.candidates if one.selection_score == best)
        assert found.chosen == chosen.values
        for seed, own in ((1, name), (2, f"{name}-seed2")):
            config = records[own].config
            assert config["seed"] == seed
            for path, value in chosen.values.items():
                assert config["training"][path.removeprefix("training.")] == value
        candidate = read_arm_record(run / "search" / chosen.name)
        assert candidate.config["seed"] == 1
        assert candidate.done.test.n == 1
        assert candidate.done.selection.score == best
        # Dropout is 0 and no other arm trains in the group, so the arm repeats its candidate's training.
        assert records[name].done.selection == candidate.done.selection
    scores = [one for found in search.values() for one in found.candidates]
    assert [one.selection_score is None for one in scores] == [
        one.values.get("training.lora_lr", 0) > 1 for one in scores
    ]
    assert set(read_results(run).arms) == {"baseline", "r2"}
    assert (run / "report.html").exists()
    assert not (run / "search" / "report.html").exists()
    assert [path.name for path in (run / "codec").iterdir()] == [path.name for path in (run / "search/codec").iterdir()]

    # A finished sweep takes another arm: only that one is searched.
    before = {path: path.read_bytes() for path in run.rglob("record.json")}
    more = searching(folder, arms={**made.arms, "r1": {"lora": {**LORA, "rank": 1}}})
    assert dry_run(more, run, resume=True, controls="all").candidates == {"r1": 4}
    again = run_sweep(more, run, resume=True, only=["r1"])
    assert [one.name for one in again] == ["r1", "r1-seed2"]
    assert {path: path.read_bytes() for path in before} == before
    assert list(read_search_record(run).arms) == ["baseline", "r2", "text_lora", "r1"]
    assert dry_run(more, run, resume=True, controls="all").candidates == {}
    assert list(read_header(run).planned)[-2:] == ["r1", "r1-seed2"]
    with pytest.raises(UsageError, match=r"other settings \(search\)"):
        run_sweep(searching(folder, search={}), run, resume=True)


def test_an_arm_whose_candidates_all_fail_runs_with_its_own_settings(folder, tmp_path, caplog):
    made = searching(folder, search={"training.adapter_lr": [1e30, 1e31]}, seeds=[])
    (done,) = run_sweep(made, tmp_path / "run", only=["baseline"])
    assert done.status == "done"
    assert done.config["training"]["adapter_lr"] == made.training.adapter_lr
    assert "baseline: all its 2 candidates failed; it runs with its own settings" in caplog.text
    assert json.loads((tmp_path / "run" / "search.json").read_text())["arms"]["baseline"]["chosen"] is None


@pytest.mark.slow
def test_worker_processes_search_and_run_with_the_choices_too(folder, tmp_path, set_threads):
    set_threads(2)
    model = {"name": str(folder / "model"), "device": "cpu", "dtype": "float32", "compile": False}
    made = searching(folder, search={"training.adapter_lr": [1e-3, 1e-1]}, controls={}, model=model, worker_processes=2)
    records = run_sweep(made, tmp_path / "run")
    chosen = {
        name: one.chosen["training.adapter_lr"] for name, one in read_search_record(tmp_path / "run").arms.items()
    }
    assert {(one.arm, one.config["training"]["adapter_lr"]) for one in records} == set(chosen.items())
    assert {one.status for one in records} == {"done"}
