"""Dry runs, compared with real sweeps."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.config.settings import ColumnsConfig
from thinwire.errors import ThinwireError, UsageError
from thinwire.experiment import search, sweep_run
from thinwire.experiment.arm_run import ArmRun
from thinwire.experiment.dry_run import dry_run, render_dry_run
from thinwire.experiment.group_queue import GroupQueue
from thinwire.experiment.plan import Planned
from thinwire.experiment.scheduling import choose_groups
from thinwire.experiment.sweep import run_sweep
from thinwire.experiment.sweep_inputs import obstacles
from thinwire.model import loading
from thinwire.schema import build
from tiny_models import write_squad


def experiment(folder, **changes):
    settings = {
        "name": "tiny",
        "model": {"name": str(folder / "model"), "device": "cpu", "dtype": "float32"},
        "data": {"train": str(folder / "train.json"), "test": str(folder / "test.json"), "samples": 12}
        | {"selection_articles": 2},
        "adapter": {"hidden": 8},
        "reconstruction": {"steps": 2},
        "training": {"epochs": 2, "batch_size": 8},
        "evaluation": {"samples": 3, "selection_samples": 2, "max_new_tokens": 2},
        "verdict": {"resamples": 100},
        "arms": {"baseline": {}, "r2": {"lora": {"rank": 2, "alpha": 4}}, "seed1": {"seed": 1}},
        "controls": {"codec_only": {"input": "codec"}},
    }
    return build(Experiment, {**settings, **changes}, where="")


def by_name(planned):
    return {run.name: run for run in planned.runs}


def text(planned):
    screen = io.StringIO()
    Console(width=100, file=screen).print(render_dry_run(planned))
    return screen.getvalue()


def test_it_lists_what_would_run_and_writes_nothing(folder, tmp_path):
    planned = dry_run(experiment(folder), tmp_path / "run")
    runs = by_name(planned)
    assert list(runs) == ["baseline", "r2", "seed1", "codec_only"]
    assert runs["r2"].changes == {"lora.rank": 2, "lora.alpha": 4}
    # 12 questions in batches of 8 are 2 steps, twice; nothing is trained for codec_only.
    assert [run.steps for run in planned.runs] == [4, 4, 4, 0]
    assert runs["r2"].questions == {"train": 12, "selection": 2, "test": 3}
    assert {run.state for run in planned.runs} == {"to do"}
    assert not (tmp_path / "run").exists()


def test_a_template_that_cannot_be_used_is_an_obstacle_before_a_model_is_loaded(folder, tmp_path):
    arms = {"baseline": {}, "own": {"prompt": {"template": "{{ contxt }}"}}}
    planned = dry_run(experiment(folder, arms=arms), tmp_path / "run")
    assert list(planned.obstacles) == ["own"]
    assert "prompt.template has no value for 'contxt' (did you mean 'context'?)" in planned.obstacles["own"]


def test_choosing_sentences_by_no_question_is_an_obstacle_before_a_model_is_loaded():
    arms = {"first": {"context_share": 0.5}, "best": {"context_share": 0.5, "context_choice": "bm25"}, "bare": {}}
    planned = [
        Planned(name=name, arm=name, kind="arm", config=build(ArmConfig, {"prompt": prompt}, where=""))
        for name, prompt in arms.items()
    ]
    found = obstacles(planned, Path("run"), ColumnsConfig(question=None))
    assert list(found) == ["best"]
    assert "set prompt.context_choice=beginning" in found["best"]
    assert obstacles(planned, Path("run"), ColumnsConfig()) == {}


def test_blocks_without_a_context_or_a_question_to_ask_for_a_text_are_obstacles():
    def found(columns, modes):
        config = {"input": "blocks", "blocks": {"reconstruction": {"modes": modes}}}
        planned = [Planned(name="k2", arm="k2", kind="arm", config=build(ArmConfig, config, where=""))]
        return obstacles(planned, Path("run"), ColumnsConfig(**columns)).get("k2", "")

    assert "the questions have no context" in found({"context": None}, ["autoencoding"])
    assert "set blocks.reconstruction.modes=[continuation]" in found({"question": None}, ["recall", "continuation"])
    assert found({"question": None}, ["continuation"]) == found({}, ["recall"]) == ""


def test_passages_are_told_of_those_that_learn_from_them(folder, tmp_path):
    blocks = {"reconstruction": {"passages": 1200}}
    arms = {"k2": {"input": "blocks", "blocks": blocks}, "text": {"input": "text"}}
    arms["k4"] = {"input": "blocks", "blocks": {"reconstruction": {"passages": 0}}}
    planned = dry_run(experiment(folder, arms=arms, baseline="k2", controls={}), tmp_path / "run")
    assert {run.name: run.passages for run in planned.runs} == {"k2": 1200, "text": 0, "k4": 0}
    console = Console(file=io.StringIO(), width=200)
    console.print(render_dry_run(planned))
    assert "first 1,200 passages to be written out of blocks (blocks.reconstruction): k2\n" in console.file.getvalue()


def test_arms_that_see_the_same_questions_in_the_same_order_are_one_group(folder, tmp_path):
    runs = by_name(dry_run(experiment(folder), tmp_path / "run"))
    assert runs["baseline"].group == runs["r2"].group
    assert len({runs[name].group for name in ("baseline", "seed1", "codec_only")}) == 3
    alone = dry_run(experiment(folder, group_size=1), tmp_path / "run")
    assert [run.group for run in alone.runs] == [1, 2, 3, 4]


def test_no_model_is_loaded(folder, tmp_path):
    planned = dry_run(experiment(folder, model={"name": "no/such-model", "device": "cpu"}), tmp_path / "run")
    assert planned.model == "no/such-model"


def test_more_processes_than_gpus_are_refused_as_the_sweep_would_refuse_them(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("thinwire.experiment.sweep_inputs.choose_device", lambda name: torch.device("cuda"))
    with pytest.raises(UsageError, match="worker_processes=2, but on cuda 0 can run side by side"):
        dry_run(experiment(folder, worker_processes=2), tmp_path / "run")


def test_groups_are_shared_among_the_gpus(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("thinwire.experiment.executors.worker_process.visible_gpus", lambda: ("0", "1"))
    arms = {"baseline": {}, **{f"r{rank}": {"lora": {"rank": rank}} for rank in (2, 4, 8)}}
    made = experiment(folder, arms=arms, controls={}, model={"name": str(folder / "model"), "device": "auto"})
    planned = dry_run(made, tmp_path / "run")
    assert [run.group for run in planned.runs] == [1, 1, 2, 2]
    assert "2 workers run groups side by side, the longest first." in text(planned)


def test_auto_is_shown_as_it_would_become_here(folder, tmp_path):
    made = experiment(folder, evaluation={}, model={"name": str(folder / "model"), "device": "cpu"})
    # 100 test and 50 selection questions on a CPU, but the tiny data has 2 articles of 4 in either place.
    assert by_name(dry_run(made, tmp_path / "run"))["r2"].questions == {"train": 12, "selection": 8, "test": 8}


def test_several_seeds_are_several_trainings(folder, tmp_path):
    runs = by_name(dry_run(experiment(folder, seeds=[0, 5]), tmp_path / "run"))
    assert runs["r2-seed5"].changes == {"lora.rank": 2, "lora.alpha": 4, "seed": 5}


def test_the_candidates_of_a_search_are_counted(folder, tmp_path):
    search = {"training.adapter_lr": [1e-4, 1e-3], "training.lora_lr": [1e-3, 1e-2]}
    planned = dry_run(experiment(folder, search=search), tmp_path / "run")
    assert planned.candidates == {"baseline": 2, "r2": 4, "seed1": 2}
    assert "search: first 8 candidates of 3 arms and controls, at most 4 for each" in text(planned)
    assert "at most" not in text(dry_run(experiment(folder), tmp_path / "run"))


@pytest.fixture(scope="module")
def swept(folder):
    run_sweep(experiment(folder), folder / "run", only=["baseline"])
    (folder / "run" / "r2").mkdir()
    return folder / "run"


def files(run):
    return {path: path.stat().st_mtime_ns for path in run.rglob("*")}


def test_finished_unfinished_and_new_arms_are_told_apart(folder, swept):
    before = files(swept)
    runs = by_name(dry_run(experiment(folder), swept, resume=True))
    assert {name: run.state for name, run in runs.items()} == {
        "baseline": "done",
        "r2": "unfinished",
        "seed1": "to do",
        "codec_only": "to do",
    }
    assert runs["baseline"].group is None
    assert files(swept) == before


def alike(names):
    return {name: {"lora": {"rank": 2, "alpha": 4, "dropout": 0.0}} for name in names}


def group_names(runs):
    """Return the groups of a dry run, as names."""
    numbers = sorted({run.group for run in runs if run.group})
    return [[run.name for run in runs if run.group == number] for number in numbers]


@pytest.fixture
def half_done(folder, tmp_path, monkeypatch):
    """Return a function that runs arms a to d, of which b and d fail, into a folder; it returns the folder."""

    def run_half(made):
        real = ArmRun.test

        def fails(arm, result):
            if arm.journal.name in "bd":
                raise RuntimeError("out of memory")
            return real(arm, result)

        with monkeypatch.context() as patch:
            patch.setattr(ArmRun, "test", fails)
            run_sweep(made, tmp_path / "run")
        return tmp_path / "run"

    return run_half


@pytest.mark.parametrize("group_size", [2, "auto"])
def test_groups_on_resume_are_those_that_the_sweep_runs(folder, half_done, monkeypatch, group_size):
    made = experiment(folder, arms=alike("abcd"), baseline="a", controls={}, group_size=group_size, worker_processes=1)
    run, ran, real = half_done(made), [], sweep_run.run_group
    planned = dry_run(made, run, resume=True)
    # Not b with d, though a group may have two: they were in two groups, and sums are rounded as in those.
    assert group_names(planned.runs) == [["b"], ["d"]]

    def seen(runtime, artifacts, runs, *others):
        ran.append([one.name for one in runs])
        return real(runtime, artifacts, runs, *others)

    monkeypatch.setattr(sweep_run, "run_group", seen)
    run_sweep(made, run, resume=True)
    assert ran == [["b"], ["d"]]


def test_groups_of_another_size_are_planned_anew_on_resume(folder, half_done):
    changes = {"arms": alike("abcd"), "baseline": "a", "controls": {}, "worker_processes": 1}
    run = half_done(experiment(folder, group_size=2, **changes))
    planned = dry_run(experiment(folder, group_size=3, **changes), run, resume=True)
    assert group_names(planned.runs) == [["b", "d"]]


def test_earlier_groups_hold_for_the_same_choices_and_for_arms_that_they_have():
    runs = [
        Planned(name=name, arm=name, kind="arm", config=build(ArmConfig, settings, where=""))
        for name, settings in alike("abcd").items()
    ]
    earlier = GroupQueue(choices="c", group_size=2, groups=(("d", "a"), ("b",)))

    def names(runs, most, choices, earlier):
        return [[run.name for run in together] for together in choose_groups(runs, most, choices, earlier)]

    assert names([runs[0], runs[1], runs[3]], 2, "c", earlier) == [["d", "a"], ["b"]]
    assert names([runs[0], runs[1], runs[3]], 2, "other", earlier) == [["a"], ["b", "d"]]
    assert names(runs, 2, "c", earlier) == [["a", "b"], ["c", "d"]], "c was in none of them"
    assert names(runs, 2, "c", None) == [["a", "b"], ["c", "d"]]


def test_a_dry_run_refuses_what_a_sweep_refuses(folder, swept, tmp_path):
    with pytest.raises(UsageError, match="add --resume"):
        dry_run(experiment(folder), swept)
    with pytest.raises(UsageError, match=r"other settings \(training\)"):
        dry_run(experiment(folder, training={"epochs": 1}), swept, resume=True)
    with pytest.raises(ThinwireError, match=r"baseline was finished with other settings \(lora\)"):
        dry_run(experiment(folder, arms={"baseline": {"lora": {"rank": 1}}}), swept, resume=True)
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        dry_run(experiment(folder), tmp_path)
    with pytest.raises(UsageError, match="nowhere"):
        dry_run(experiment(folder, data={"train": str(folder / "nowhere.json")}), tmp_path / "run")


def test_an_arm_that_is_certain_to_fail_is_named_with_its_reason(folder, tmp_path):
    arms = {
        "baseline": {},
        "mute": {"lora": {"rank": 2}, "supervision": {"ce_weight": 0}},
        "adrift": {"lora": {"rank": 2, "start_from": "elsewhere"}},
        "untaught": {"supervision": {"kd_weight": 1, "teacher": "nowhere"}},
    }
    planned = dry_run(experiment(folder, arms=arms), tmp_path / "run")
    assert list(planned.obstacles) == ["mute", "adrift", "untaught"]
    assert "nothing would train LoRA" in planned.obstacles["mute"]
    assert "elsewhere is no arm's folder" in planned.obstacles["adrift"]
    assert "nowhere is no arm's folder" in planned.obstacles["untaught"]
    with pytest.raises(UsageError) as caught:
        run_sweep(experiment(folder, arms=arms), tmp_path / "run")
    assert [line.partition(" would fail: ")[0] for line in caught.value.lines] == list(planned.obstacles)
    assert not (tmp_path / "run").exists()


def test_it_is_rendered_in_100_columns_and_as_json(folder, tmp_path):
    planned = dry_run(experiment(folder), tmp_path / "run")
    rendered = text(planned)
    assert max(map(len, rendered.splitlines())) <= 100
    assert "rank 2, alpha 4" in rendered
    assert "control codec_only" in rendered
    assert "questions train 12, selection 2, test 3" in rendered
    assert "test questions from data.test=" in rendered
    assert json.loads(json.dumps(planned.as_dict()))["runs"][1]["changes"] == {"lora.rank": 2, "lora.alpha": 4}


def test_articles_of_the_train_set_that_would_be_tested_on_are_told(folder, tmp_path):
    train = str(folder / "train.json")
    data = {"train": train, "samples": 100, "selection_articles": 2, "test_articles": 1}
    planned = dry_run(experiment(folder, data=data), tmp_path / "run")
    assert planned.test_source == f"data.test_articles=1 of data.train={train}"
    # Six articles of four questions: three are left to train on; 2 and 3 questions are drawn of the others.
    assert planned.runs[0].questions == {"train": 12, "selection": 2, "test": 3}
    assert "test questions from data.test_articles=1" in text(planned)


DEEP = {"lora": {"rank": 2, "layers": 9}}
DEPTHS = {"deep": 9, "far": 3}


def test_more_layers_than_the_model_has_are_told_with_the_arm_before_anything_is_written(folder, tmp_path):
    made = experiment(folder, arms={"baseline": {}, "deep": DEEP, "far": {"lora": {"rank": 2, "layers": 3}}})
    said = {name: f"lora.layers={n}, but the model has 2 layers; use 1 to 2, or all" for name, n in DEPTHS.items()}
    assert dry_run(made, tmp_path / "run").obstacles == said
    with pytest.raises(UsageError) as caught:
        run_sweep(made, tmp_path / "run")
    assert list(caught.value.args) == [f"{name} would fail: {why}" for name, why in said.items()]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"arms": {"baseline": {}, "r2": {"lora": {"rank": 2, "targets": ["w"]}}}}, "r2 would fail: lora.targets: 'w'"),
        (
            {"search": {"lora.layers": [1, 3]}, "lora": {"rank": 2}, "arms": {"baseline": {}}},
            "baseline--layers-3 would fail: lora.layers=3, but the model has 2 layers",
        ),
    ],
)
def test_modules_and_candidates_that_the_model_does_not_have_are_told_before_anything_is_written(
    changes, reason, folder, tmp_path
):
    with pytest.raises(UsageError, match=reason):
        run_sweep(experiment(folder, **changes), tmp_path / "run")
    if "search" in changes:
        with pytest.raises(UsageError, match=reason):
            dry_run(experiment(folder, **changes), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_here_is_not_fetched_to_count_its_layers(folder, tmp_path, cache, monkeypatch):
    monkeypatch.setattr(loading, "fetch", lambda _: pytest.fail("it is fetched"))
    model = {"name": "smollm2-135m", "device": "cpu"}
    planned = dry_run(experiment(folder, arms={"baseline": DEEP}, model=model), tmp_path / "run")
    assert planned.obstacles == {}
    assert "not on this machine: the sweep would fetch it" in text(planned)


def test_test_questions_that_no_verdict_can_come_from_are_told(folder, tmp_path):
    made = experiment(folder, evaluation={"samples": 8, "selection_samples": 2, "max_new_tokens": 2})
    told = dry_run(made, tmp_path / "run").fewer_questions  # test.json has two paragraphs
    assert "no arm can be judged by 8 questions about 2 paragraphs: an interval needs at least 6 paragraphs" in told
    write_squad(tmp_path / "many.json", num_articles=6, questions=2, first=20)
    data = {"train": str(folder / "train.json"), "test": str(tmp_path / "many.json"), "selection_articles": 2}
    enough = experiment(folder, data=data, evaluation={"samples": 12, "selection_samples": 2, "max_new_tokens": 2})
    assert not any("judged" in line for line in dry_run(enough, tmp_path / "run").fewer_questions)


def test_what_the_machine_cannot_do_is_refused(folder, tmp_path, monkeypatch):
    """Before anything is written, by the sweep too."""
    model = {"name": str(folder / "model"), "device": "cpu", "base_bits": 4}
    with pytest.raises(UsageError, match="base_bits=4 needs"):
        dry_run(experiment(folder, model=model), tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "file"))
    for run in (dry_run, run_sweep):
        with pytest.raises(UsageError, match="file is no folder; set THINWIRE_CACHE"):
            run(experiment(folder), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_arms_that_cannot_begin_with_each_other_would_fail(folder, tmp_path):
    def begins_with(name, rank=2):
        return {"lora": {"rank": rank, "start_from": str(tmp_path / "run" / name)}}

    arms = {
        "baseline": {},
        "r2": {"lora": {"rank": 2}},
        "late": begins_with("r2"),
        "later": begins_with("late"),
        "itself": begins_with("itself"),
        "one": begins_with("other"),
        "other": begins_with("one"),
        "after_one": begins_with("one"),
        "larger": begins_with("r2", rank=4),
        "without": begins_with("baseline"),
        "taught": {"supervision": {"kd_weight": 1.0, "teacher": str(tmp_path / "run" / "taught")}},
    }
    found = dry_run(experiment(folder, arms=arms), tmp_path / "run").obstacles
    assert {name for name, why in found.items() if "it needs itself" in why} == {"itself", "one", "other", "taught"}
    assert "lora.rank 2, here 4" in found["larger"]
    assert "lora.rank 0, here 2" in found["without"]
    assert len(found) == 6


def test_arms_that_wait_for_others_are_told_and_run_after_them(folder, tmp_path):
    run, lora = tmp_path / "run", {"rank": 2}
    arms = {"taught": {"lora": lora, "supervision": {"kd_weight": 1.0, "teacher": str(run / "staged")}}}
    arms |= {"staged": {"lora": {**lora, "start_from": str(run / "r2")}}, "r2": {"lora": lora}, "baseline": {}}
    planned = dry_run(experiment(folder, arms=arms, group_size=4), run)
    assert {one.name: (one.needs, one.group) for one in planned.runs if one.kind == "arm"} == {
        "taught": (["staged"], 4),
        "staged": (["r2"], 3),
        "r2": ([], 1),
        "baseline": ([], 1),
    }
    assert "taught waits for staged." in text(planned)
    assert [record.status for record in run_sweep(experiment(folder, arms=arms, group_size=4), run)] == 5 * ["done"]
    assert "waits" not in text(dry_run(experiment(folder, arms=arms, group_size=4), run, resume=True))


def test_a_search_does_not_begin_with_arms_that_are_trained_after_it(folder, tmp_path):
    late = {"lora": {"rank": 2, "start_from": str(tmp_path / "run" / "r2")}}
    arms = {"baseline": {}, "late": late, "r2": {"lora": {"rank": 2}}}
    searching = experiment(folder, arms=arms, search={"training.lora_lr": [1e-3, 1e-2]})
    for run in (dry_run, run_sweep):
        with pytest.raises(UsageError, match=r"late.* would fail: it needs r2, which is trained after the search"):
            run(searching, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run_sweep(searching, tmp_path / "run", only=["r2"])
    records = run_sweep(searching, tmp_path / "run", resume=True, controls="none")
    assert [record.status for record in records] == 3 * ["done"]


def test_an_arm_that_starts_from_what_a_search_has_chosen_is_compared_with_that(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "_selection_score", lambda record: float("alpha-8" in record.name))
    late = {"lora": {"rank": 2, "alpha": 8, "start_from": str(tmp_path / "run" / "r2")}}
    arms = {"baseline": {}, "r2": {"lora": {"rank": 2}}, "late": late}  # late has an alpha of its own
    searching = experiment(folder, arms=arms, controls={}, search={"lora.alpha": [16, 8]})
    run_sweep(searching, tmp_path / "run", only=["r2"])
    assert [record.status for record in run_sweep(searching, tmp_path / "run", resume=True)] == 3 * ["done"]


def test_a_search_of_what_no_arm_has_is_refused(folder, tmp_path):
    for run in (dry_run, run_sweep):
        with pytest.raises(UsageError, match="no arm or control uses the settings that are searched"):
            run(experiment(folder, arms={"baseline": {}}, search={"lora.alpha": [8, 16]}), tmp_path / "run")


def test_a_teacher_that_reads_blocks_or_has_no_possible_name_is_an_obstacle(folder, tmp_path):
    def taught_by(teacher):
        return {"input": "text", "lora": {"rank": 2}, "supervision": {"kd_weight": 1.0, "teacher": teacher}}

    k2 = {"input": "blocks", "blocks": {"reconstruction": {"passages": 0}}, "lora": {"rank": 2}}
    arms = {"baseline": {}, "k2": k2, "taught": taught_by(str(tmp_path / "run" / "k2")), "odd": taught_by("a\0b")}
    found = dry_run(experiment(folder, arms=arms), tmp_path / "run").obstacles
    assert "k2 reads blocks of tokens" in found["taught"]
    assert set(found) == {"taught", "odd"}


def test_a_link_to_itself_is_no_arm_to_begin_with(folder, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    arms = {"baseline": {}, "r2": {"lora": {"rank": 2, "start_from": str(tmp_path / "loop")}}}
    found = dry_run(experiment(folder, arms=arms), tmp_path / "run").obstacles
    assert "loop is no arm's folder" in found["r2"]
