"""Multi-LoRA groups: the same results as one by one, and failures that do not affect other arms."""

import math
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from thinwire import claims
from thinwire.claims import ClaimLostError, writing_while_held
from thinwire.config.auto import resolved
from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.errors import StorageError, ThinwireError
from thinwire.experiment import arm_inputs, arm_journal, arm_run, artifact_cache, group_run
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.dependencies import with_needs
from thinwire.experiment.group_queue import GroupQueue
from thinwire.experiment.group_run import run_arms
from thinwire.experiment.plan import Planned, ResumePoint, plan
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.runtime import make_runtime
from thinwire.experiment.scheduling import choose_groups, group, longest_first
from thinwire.experiment.sweep import run_sweep
from thinwire.model.loading import load
from thinwire.progress import Display
from thinwire.reading import read_json
from thinwire.results.arm_record import read_arm_record
from thinwire.schema import build
from thinwire.training.state import Position
from tiny_sweeps import ARMS, CONTROLS, LORA, NAMES, experiment, lines, timeless


def sweep(folder, target, *, resume=False, **changes):
    made = experiment(folder, **{"arms": ARMS, "controls": CONTROLS, "group_size": 4, **changes})
    return run_sweep(made, target, controls="all", resume=resume)


@pytest.fixture(scope="module")
def both(folder):
    """Run a sweep in groups and one by one; return both folders."""
    for name, most in (("together", 5), ("alone", 1)):
        sweep(folder, folder / name, group_size=most)
    return folder / "together", folder / "alone"


def record_of(run, name):
    return read_arm_record(run / name)


def planned(**configs):
    """Plan arms with these changes, in this order."""
    return [
        Planned(name=name, arm=name, kind="arm", config=build(ArmConfig, changes, where=""))
        for name, changes in configs.items()
    ]


def names(groups):
    return [[run.name for run in group_] for group_ in groups]


def test_a_group_holds_compatible_arms_those_with_the_most_adapted_by_lora_first():
    runs = planned(
        a={},
        other={"seed": 1},
        b={"lora": {"rank": 9, "layers": 1}},
        c={"input": "text", "lora": {"rank": 1}},
        d={},
        e={"lora": {"rank": 2, "layers": 1, "targets": ["q_proj", "k_proj"]}},
        f={"lora": {"rank": 2}},
    )
    assert names(group(runs, 9)) == [["c", "f", "b", "e", "a", "d"], ["other"]]
    # The given order decides which arms share a group.
    assert names(group(runs, 3)) == [["c", "b", "a"], ["f", "e", "d"], ["other"]]


@pytest.mark.parametrize(
    ("most", "expected"),
    [(6, ["abcdef"]), (5, ["abc", "def"]), (4, ["abc", "def"]), (2, ["ab", "cd", "ef"]), (1, "abcdef")],
)
def test_groups_hold_no_more_than_asked_and_about_as_many_each(most, expected):
    runs = planned(**{name: {} for name in "abcdef"})
    assert names(group(runs, most)) == [list(members) for members in expected]


def test_groups_that_cannot_be_equal_differ_by_one():
    runs = planned(**{name: {} for name in "abcdefg"})
    assert [len(members) for members in group(runs, 3)] == [2, 2, 3]
    assert [len(members) for members in group(runs, 5)] == [3, 4]


def test_groups_that_train_on_the_most_tokens_come_first_and_those_alike_keep_their_order():
    tokens = {"baseline": 10, "r2": 30, "r4": 25, "quick": 0}
    runs = [Planned(name=name, arm=name, kind="arm", config=ArmConfig()) for name in tokens]
    ordered = longest_first([[runs[0]], [runs[1]], runs[2:]], lambda run: tokens[run.name])
    assert [[run.name for run in together] for together in ordered] == [["r2"], ["r4", "quick"], ["baseline"]]


def test_of_groups_that_train_on_as_many_tokens_those_in_which_lora_adapts_the_most_come_first():
    runs = planned(
        baseline={},
        few={"lora": {"rank": 8, "layers": 1}},
        full={"lora": {"rank": 8, "layers": "all"}},
        wide={"lora": {"rank": 16, "layers": "all"}},
        beside={"lora": {"rank": 8, "layers": "all"}},
    )
    ordered = longest_first([[run] for run in runs], lambda run: 10)
    assert names(ordered) == [["wide"], ["full"], ["beside"], ["few"], ["baseline"]]


def test_every_member_of_a_group_can_train_with_every_other():
    # Without LoRA, the baseline could train with either dropout; the two with LoRA cannot train with each other.
    runs = planned(
        baseline={}, none={"lora": {"rank": 1, "dropout": 0}}, some={"lora": {"rank": 1, "dropout": 0.1}}, last={}
    )
    assert names(group(runs, 9)) == [["none", "baseline", "last"], ["some"]]


def test_an_arm_that_needs_another_is_in_a_later_group(tmp_path):
    def begins_with(name):
        return {"lora": {"rank": 1, "start_from": str(tmp_path / name)}}

    runs = planned(
        late=begins_with("b"), later=begins_with("late"), a={}, b={"lora": {"rank": 1}}, beside=begins_with("x")
    )
    ordered = with_needs(runs, tmp_path)
    assert [(run.name, run.level, set(run.needs)) for run in ordered] == [
        ("late", 1, {"b"}),
        ("later", 2, {"late"}),
        ("a", 0, set()),
        ("b", 0, set()),
        ("beside", 0, set()),
    ]
    assert names(group(ordered, 9)) == [["b", "beside", "a"], ["late"], ["later"]]
    assert names(longest_first(group(ordered, 1), lambda run: len(run.name))) == [
        ["beside"],
        ["b"],
        ["a"],
        ["late"],
        ["later"],
    ]
    old = GroupQueue(choices="", group_size=9, groups=(("a", "b", "late", "later", "beside"),))
    assert names(choose_groups(ordered, 9, "", old)) == [["b", "beside", "a"], ["late"], ["later"]]


def resume_point(group, epoch, step):
    return ResumePoint(file=Path("state"), group=group, position=Position(epoch=epoch, step=step))


def test_arms_with_the_same_resume_point_train_together_and_with_no_others():
    fresh, *others = planned(a={}, b={}, c={}, d={})
    places = [("one", 1, 7), ("one", 2, 9), ("one", 1, 7)]
    b, c, d = (replace(run, resume_point=resume_point(*place)) for run, place in zip(others, places, strict=True))
    assert names(group([fresh, b, c, d], 9)) == [["a"], ["b", "d"], ["c"]]
    d = replace(d, resume_point=resume_point("another", 1, 7))
    assert names(group([fresh, b, d], 9)) == [["a"], ["b"], ["d"]], "arms resume with those they trained with"


def test_seeds_are_never_mixed():
    made = build(Experiment, {"name": "x", "seeds": [0, 1], "arms": {"baseline": {}, "r": {}}}, where="")
    assert names(group(plan(made, [], "none"), 9)) == [["baseline", "r"], ["baseline-seed1", "r-seed1"]]


def test_arms_that_do_not_train_or_do_not_run_the_model_are_alone():
    untrained = {"input": "text"}
    unsupervised = {"supervision": {"ce_weight": 0}}
    runs = planned(a={}, text=untrained, text2=untrained, dry=unsupervised, dry2=unsupervised, b={})
    assert names(group(runs, 9)) == [["a", "b"], ["text"], ["text2"], ["dry"], ["dry2"]]


@pytest.mark.parametrize("name", NAMES)
def test_arms_trained_together_have_the_results_of_arms_trained_one_by_one(both, name):
    together, alone = (record_of(run, name) for run in both)
    assert (together.data, together.config_hash) == (alone.data, alone.config_hash)
    for key in ("test", "selection", "trainable_parameters", "codec"):
        assert getattr(together.done, key) == getattr(alone.done, key), key
    assert (both[0] / name / "predictions.jsonl").read_bytes() == (both[1] / name / "predictions.jsonl").read_bytes()
    first, second = (lines(run / name / "diagnostics.jsonl") for run in both)
    assert [row["event"] for row in first] == [row["event"] for row in second]
    for one, other in zip(first, second, strict=True):
        for row in (one, other):
            row.pop("tokens_per_second", None)
        numbers = {key: value for key, value in one.items() if isinstance(value, float)}
        assert {key: other[key] for key in numbers} == pytest.approx(numbers, rel=1e-4, abs=1e-7)


def test_a_record_has_the_number_of_arms_that_trained_together(both):
    found = [[record_of(run, name).done.training for name in NAMES] for run in both]
    counts = [[training and training.trained_together for training in run] for run in found]
    # Four arms and the control that trains; the other control has no training.
    assert counts == [[5, 5, 5, 5, None, 5], [1, 1, 1, 1, None, 1]]


@pytest.mark.parametrize("name", ARMS)
def test_a_log_holds_its_own_arms_steps_and_no_other_arms(both, name):
    (log,) = (both[0] / name).glob("training_*.log")
    text = log.read_text()
    losses = [float(found) for found in re.findall(r"DEBUG step \d+/4  .*loss ([\d.]+)", text)]
    steps = [row for row in lines(both[0] / name / "diagnostics.jsonl") if row["event"] == "step"]
    assert losses == [round(row["loss"], 4) for row in steps]
    assert len(re.findall(rf"{name} epoch \d: selection F1", text)) == 2
    assert "training 5 arms together: r4, text_lora, r2, quick, baseline" in text
    for other in set(ARMS) - {name}:
        assert not re.search(rf"\b{other}(:| epoch)", text)


@pytest.mark.slow
def test_the_arms_seconds_add_up_to_the_time_that_passed(folder, tmp_path):
    made = experiment(folder, arms=ARMS, controls={}, training={"epochs": 6, "batch_size": 4})
    lm = load(made.model)
    runtime = make_runtime(made, lm, Display())
    artifacts = ArtifactCache(made, lm, tmp_path / "codec", Display())
    runs = [replace(run, config=resolved(run.config, "cpu")) for run in plan(made, [], "none")]
    artifacts.arm_inputs(runs[0].config)  # make shared artifacts before the clock starts
    started = time.perf_counter()
    with RunClaims(tmp_path).take("group") as claim:
        records = run_arms(runtime, artifacts, runs, [tmp_path / run.name for run in runs], tmp_path, claim)
    passed = time.perf_counter() - started
    assert [record.status for record in records] == ["done"] * 4
    assert 0.5 * passed < sum(record.seconds_total for record in records) < passed
    for record in records:
        assert 0 < record.done.training.seconds < record.seconds_total < 0.5 * passed


@pytest.mark.parametrize(
    ("is_taken", "error"), [(True, StorageError), (False, StorageError), (True, ThinwireError)], ids=str
)
def test_a_file_that_the_new_owner_of_a_claim_has_moved_is_no_error_of_storage_and_no_failure_of_the_arm(
    folder, tmp_path, monkeypatch, caplog, is_taken, error
):
    made = experiment(folder, controls={})
    lm = load(made.model)
    artifacts = ArtifactCache(made, lm, tmp_path / "codec", Display())
    runs = [replace(run, config=resolved(run.config, "cpu")) for run in plan(made, ["baseline"], "none")]

    def moved(*_):
        if is_taken:
            claim.path.write_text("another's")
        (tmp_path / "baseline").rename(tmp_path / "aside")
        raise error("baseline/unfinished-1-2.safetensors is missing")

    monkeypatch.setattr(group_run, "_run", moved)
    with (
        RunClaims(tmp_path).take("group") as claim,
        pytest.raises(ClaimLostError if is_taken else StorageError),
    ):
        run_arms(make_runtime(made, lm, Display()), artifacts, runs, [tmp_path / "baseline"], tmp_path, claim)
    assert not (tmp_path / "aside" / "record.json").exists()
    assert "failed" not in caplog.text


def test_a_worker_that_is_told_to_stop_after_it_was_suspended_records_no_end_of_arms_that_another_has_taken(
    folder, tmp_path, monkeypatch
):
    """As by `scancel`, which continues what is suspended."""
    made = experiment(folder, controls={})
    lm = load(made.model)
    artifacts = ArtifactCache(made, lm, tmp_path / "codec", Display())
    runs = [replace(run, config=resolved(run.config, "cpu")) for run in plan(made, ["baseline", "r2"], "none")]
    now = claims._clock()

    def woken(*_):
        claim.path.write_text("another's")
        monkeypatch.setattr(claims, "_clock", lambda: now + 100)
        raise KeyboardInterrupt

    monkeypatch.setattr(group_run, "_run", woken)
    folders = [tmp_path / run.name for run in runs]
    with (
        RunClaims(tmp_path).take("group") as claim,
        writing_while_held(claim),
        pytest.raises(KeyboardInterrupt),
    ):
        run_arms(make_runtime(made, lm, Display()), artifacts, runs, folders, tmp_path, claim)
    assert [(own / "record.json").exists() for own in folders] == [False, False]


def test_the_record_of_another_worker_stays_and_the_second_result_is_dropped(folder, tmp_path, monkeypatch, caplog):
    create, recorded = arm_journal.create_arm_record, []

    def create_second(own, record):
        recorded.append(record.model_copy(update={"seconds_total": 0.5}))
        create(own, recorded[-1])  # another worker is a moment faster
        create(own, record)

    monkeypatch.setattr(arm_journal, "create_arm_record", create_second)
    (record,) = run_sweep(experiment(folder), tmp_path / "run", only=["baseline"])
    assert record == recorded[0]
    assert "baseline was recorded by another worker (done); what was done here is dropped" in caplog.text


def test_an_arm_that_fails_in_a_group_does_not_fail_the_others(folder, both, tmp_path):
    wild = {"lora": LORA, "training": {"adapter_lr": 1e30}}
    arms = {"baseline": {}, "wild": wild, "r2": ARMS["r2"]}
    records = {record.name: record for record in sweep(folder, tmp_path / "run", arms=arms, controls={})}
    assert {name: record.status for name, record in records.items()} == {
        "baseline": "done",
        "wild": "failed",
        "r2": "done",
    }
    assert "became" in records["wild"].error
    assert records["wild"].results is None, "a failure is never a zero"
    assert not (tmp_path / "run" / "unfinished").exists(), "nothing was run twice"
    for name in ("baseline", "r2"):
        assert records[name].done.training.trained_together == 3
        assert records[name].done.test == record_of(both[1], name).done.test
        steps = [row for row in lines(tmp_path / "run" / name / "diagnostics.jsonl") if row["event"] == "step"]
        assert len(steps) == 4
        assert all(math.isfinite(row["loss"]) for row in steps)


def test_an_arm_whose_results_cannot_be_made_does_not_fail_the_others(folder, tmp_path, monkeypatch):
    def save(target, *rest):
        if target.parent.name == "r2":
            raise ValueError("a shape")
        real(target, *rest)

    real = arm_run.save_checkpoint
    monkeypatch.setattr(arm_run, "save_checkpoint", save)
    records = sweep(folder, tmp_path / "run", controls={})
    assert [record.status for record in records] == ["done", "failed", "done", "done"]
    assert records[1].error == "ValueError: a shape"


def test_a_file_that_cannot_be_written_ends_the_sweep_which_can_be_resumed(folder, both, tmp_path, monkeypatch):
    def save(target, *rest):
        if target.parent.name == "r2":
            raise StorageError("r2's adapter cannot be written")
        real(target, *rest)

    real = arm_run.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(arm_run, "save_checkpoint", save)
        with pytest.raises(StorageError, match="r2's adapter"):
            sweep(folder, tmp_path / "run", controls={})
    assert record_of(tmp_path / "run", "r2").status == "cancelled"
    records = sweep(folder, tmp_path / "run", controls={}, resume=True)
    assert [record.status for record in records] == ["done"] * 4
    for record in records:
        assert record.done.test == record_of(both[0], record.name).done.test


def test_arms_that_all_fail_together_are_run_one_by_one(folder, both, tmp_path, monkeypatch):
    groups = []

    def cramped(lm, jobs, *rest, **settings):
        groups.append(len(jobs))
        if len(jobs) > 1:
            raise RuntimeError("out of memory")
        return real(lm, jobs, *rest, **settings)

    real = group_run.train
    monkeypatch.setattr(group_run, "train", cramped)
    records = sweep(folder, tmp_path / "run", controls={})
    assert groups == [4, 1, 1, 1, 1]
    for record in records:
        assert record.status == "done"
        assert record.done.training.trained_together == 1
        assert record.done.test == record_of(both[1], record.name).done.test
        # The group's files are set aside, not mixed in.
        aside = tmp_path / "run" / "unfinished" / f"{record.name}-1" / "record.json"
        assert read_json(aside)["error"].endswith("out of memory")
        assert len(lines(tmp_path / "run" / record.name / "diagnostics.jsonl")) == 7


def test_an_arm_that_cannot_start_fails_alone_and_the_others_train_together(folder, tmp_path):
    late = {"lora": {**LORA, "start_from": str(tmp_path / "run" / "r2")}}
    wrong = {"lora": {**LORA, "start_from": str(tmp_path / "run" / "wild")}}
    wild = {"lora": LORA, "training": {"adapter_lr": 1e30}}
    arms = {"late": late, "wrong": wrong, "baseline": {}, "r2": {"lora": LORA}, "wild": wild}
    late, wrong, one, other, wild = sweep(folder, tmp_path / "run", arms=arms, controls={})
    assert [late.status, wrong.status, one.status, other.status, wild.status] == [
        "done",
        "failed",
        "done",
        "done",
        "failed",
    ]
    assert [record.done.training.trained_together for record in (late, one, other)] == [1, 3, 3]
    assert "wild" in wrong.error
    assert not (tmp_path / "run" / "unfinished").exists()


@pytest.mark.slow
@pytest.mark.parametrize("selection", [5, 6, 8])
def test_a_group_interrupted_while_its_arms_are_scored_resumes_together(folder, tmp_path, monkeypatch, selection):
    """Four arms are scored after each of two epochs; the run is interrupted during scoring of the second."""
    real, calls = arm_run.answer_questions, []

    def interrupt(*args, **kwargs):
        calls.append(args)
        if len(calls) == selection:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(arm_run, "answer_questions", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sweep(folder, tmp_path / "run", controls={})
    (tmp_path / "run" / "r2" / ".unfinished-1-4.safetensors.half.partial").touch()
    records = sweep(folder, tmp_path / "run", controls={}, resume=True)
    whole = sweep(folder, tmp_path / "whole", controls={})
    assert not (tmp_path / "run" / "unfinished").exists()
    for record, other in zip(records, whole, strict=True):
        assert record.done.training.trained_together == 4
        assert [(run.epoch, run.environment) for run in record.resumed] == [(1, record.environment)]
        assert other.resumed == ()
        assert record.seconds_total > record.done.training.seconds
        for name in ("test", "selection", "reconstruction"):
            assert getattr(record.done, name) == getattr(other.done, name)
        here, there = (timeless(tmp_path / at / record.name / "diagnostics.jsonl") for at in ("run", "whole"))
        assert here == there
        assert not list((tmp_path / "run" / record.name).glob("*unfinished*"))
    assert not list((tmp_path / "run").glob(".resume*"))


def test_a_group_that_fails_in_its_second_epoch_continues_one_by_one(folder, tmp_path, monkeypatch):
    real, calls = arm_run.ArmRun.select, []

    def select(run, epoch):
        calls.append(epoch)
        if len(calls) == 5:
            raise MemoryError("all of it")
        return real(run, epoch)

    monkeypatch.setattr(arm_run.ArmRun, "select", select)
    records = sweep(folder, tmp_path / "run", controls={})
    assert [record.status for record in records] == ["done"] * 4
    assert [record.done.training.trained_together for record in records] == [4] * 4
    assert not (tmp_path / "run" / "unfinished").exists()
    assert calls == [1, 1, 1, 1, 2, 2, 2, 2, 2]
    assert all(len(lines(tmp_path / "run" / r.name / "diagnostics.jsonl")) == 7 for r in records)


@pytest.mark.parametrize("spoiled", ["diagnostics short", "diagnostics gone", "state cut", "manifest cut"])
def test_an_arm_whose_state_cannot_be_used_starts_again(folder, tmp_path, monkeypatch, spoiled):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(arm_journal, "write_jsonl", interrupted)  # the first arm's predictions: all have trained
        with pytest.raises(KeyboardInterrupt):
            sweep(folder, tmp_path / "run", controls={})
    (manifest,) = (tmp_path / "run").glob(".resume-*.json")
    diagnostics = tmp_path / "run" / "r2" / "diagnostics.jsonl"
    state = tmp_path / "run" / "r2" / "unfinished-2-4.safetensors"
    if spoiled == "diagnostics gone":
        diagnostics.unlink()
    else:
        file = {"diagnostics short": diagnostics, "state cut": state, "manifest cut": manifest}[spoiled]
        file.write_bytes(file.read_bytes()[:100])
    records = {record.name: record for record in sweep(folder, tmp_path / "run", controls={}, resume=True)}
    assert {record.status for record in records.values()} == {"done"}
    assert records["r2"].resumed == ()
    assert (tmp_path / "run" / "unfinished" / "r2-1").exists()
    assert bool(records["baseline"].resumed) == (spoiled != "manifest cut")


def test_an_interruption_is_recorded_in_every_arm_of_the_group(folder, tmp_path, monkeypatch):
    def interrupted(*_, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(group_run, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(folder, tmp_path / "run", controls={})
    assert [record_of(tmp_path / "run", name).status for name in ARMS] == ["cancelled"] * 4


def test_a_starting_adapter_is_measured_once_for_all_arms_and_never_again(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    measured = []
    measure = artifact_cache.measure_reconstruction
    for module in (artifact_cache, arm_inputs):
        monkeypatch.setattr(module, "measure_reconstruction", lambda *args: measured.append(1) or measure(*args))
    arms = {"baseline": {}, "r2": {"lora": LORA}}
    first = sweep(folder, tmp_path / "first", arms=arms, controls={})
    assert len(measured) == 1 + 2  # the adapter that both start from, and each as it ends
    second = sweep(folder, tmp_path / "second", arms=arms, controls={})
    assert len(measured) == 3 + 2  # a second sweep finds the start in the cache
    assert first[0].done.reconstruction_at_start == second[1].done.reconstruction_at_start
    assert first[0].done.reconstruction_at_start != first[0].done.reconstruction
