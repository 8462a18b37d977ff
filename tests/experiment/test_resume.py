"""Resuming: which folders may be continued, and where interrupted arms continue."""

import shutil

import pytest

from block_runs import block_record
from sweep_folder import replace_arm_record
from thinwire.config.experiment import ArmConfig
from thinwire.errors import StorageError, ThinwireError, UsageError
from thinwire.experiment import arm_journal, arm_run, group_run, resume, sweep_run
from thinwire.experiment.plan import Planned, plan
from thinwire.experiment.resume import finished_record, forget_failures, resume_key, set_aside
from thinwire.experiment.sweep import run_sweep
from thinwire.files import checking
from thinwire.hashes import content_hash
from thinwire.results.arm_record import QuestionHashes, read_arm_record
from thinwire.results.experiment_file import read_experiment_file, write_experiment_file
from thinwire.schema import build
from tiny_models import tiny_lm
from tiny_sweeps import experiment, lines, timeless
from tiny_training import arm_config


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_second_run_into_the_folder_is_refused_and_changes_nothing(folder, swept):
    run, _ = swept
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"holds the results of a sweep.*--resume"):
        run_sweep(experiment(folder), run, controls="all")
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_resuming_keeps_what_is_done_and_adds_a_new_arm(folder, swept):
    run, _ = swept
    record = run / "r2" / "record.json"
    before = record.read_bytes()
    more = experiment(folder)
    more = more.model_copy(update={"arms": {**more.arms, "r1": {"lora": {"rank": 1}}}})
    records = run_sweep(more, run, resume=True, controls="all")
    assert [r.name for r in records] == ["baseline", "r2", "r1", "codec_only", "text_lora"]
    assert record.read_bytes() == before
    assert (run / "r1" / "record.json").exists()


def test_resuming_with_other_settings_is_refused_and_they_are_named(folder, swept):
    run, _ = swept
    with pytest.raises(UsageError, match=r"other settings \(supervision\)"):
        run_sweep(experiment(folder, supervision={"ce_weight": 0.5}), run, resume=True)


def test_resume_points_of_arms_that_read_blocks_are_of_their_encoders_formulas(monkeypatch):
    data, lm = QuestionHashes(train="a", selection="b", test="c"), tiny_lm()
    arms = [arm_config(), arm_config(input="blocks")]
    before = [resume_key(arm, data, lm) for arm in arms]
    monkeypatch.setattr(resume, "FORMULAS", 99)
    after = [resume_key(arm, data, lm) for arm in arms]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_a_finished_arm_of_other_settings_is_never_mixed_in(folder, tmp_path):
    run_sweep(experiment(folder), tmp_path / "run", only=["r2"])
    changed = experiment(folder, arms={"baseline": {}, "r2": {"lora": {"rank": 3, "alpha": 4, "layers": 1}}})
    with pytest.raises(ThinwireError, match=r"r2 was finished with other settings \(lora\)"):
        run_sweep(changed, tmp_path / "run", resume=True, only=["r2"])


def test_a_finished_arm_of_other_formulas_of_its_encoder_is_never_mixed_in(folder, tmp_path, monkeypatch):
    blocks = {"hidden": 8, "reconstruction": {"passages": 0}}
    k2 = {"input": "blocks", "blocks": blocks, "supervision": {"ce_weight": 1.0}, "training": {"epochs": 1}}
    made, run = experiment(folder, arms={"baseline": {}, "k2": k2}), tmp_path / "run"
    monkeypatch.setattr(resume, "FORMULAS", 5)
    records = run_sweep(made, run, only=["baseline", "k2"])
    assert [record.block_formulas for record in records] == [None, 5]
    assert run_sweep(made, run, resume=True, only=["baseline", "k2"]) == records
    monkeypatch.setattr(resume, "FORMULAS", 6)
    assert run_sweep(made, run, resume=True, only=["baseline"]) == records[:1]
    with pytest.raises(
        ThinwireError, match=r"k2 was .* encoder of blocks, .* \(version 5, now 6\); .* move .*k2 elsewhere"
    ):
        run_sweep(made, run, resume=True, only=["k2"])
    assert read_arm_record(run / "k2") == records[1]
    (run / "k2").rename(tmp_path / "k2")
    assert [record.block_formulas for record in run_sweep(made, run, resume=True, only=["k2"])] == [6]


def test_a_record_of_before_formulas_were_kept_is_not_taken_for_one_of_now(tmp_path):
    old = block_record("k2")
    settings = build(ArmConfig, old.config, where="")
    (tmp_path / "k2").mkdir()
    replace_arm_record(tmp_path / "k2", old)
    run = Planned(name="k2", arm="k2", kind="arm", config=settings)
    with pytest.raises(ThinwireError, match=rf"k2 was .* unknown ones \(no version kept, now {resume.FORMULAS}\)"):
        finished_record(run, tmp_path, old.data)


def test_a_folder_of_before_a_setting_was_there_is_resumed_with_its_default(folder, swept, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(swept[0], run)
    settings = read_experiment_file(run)
    del settings["data"]["mismatched"], settings["training"]["checkpoint_minutes"]
    write_experiment_file(run, settings)
    record = read_arm_record(run / "r2")
    older = {**record.config, "lora": {key: value for key, value in record.config["lora"].items() if key != "trained"}}
    replace_arm_record(run / "r2", record.model_copy(update={"config": older, "config_hash": content_hash(older)}))
    before = (run / "r2" / "record.json").read_bytes()
    assert [one.status for one in run_sweep(experiment(folder), run, resume=True, only=["r2"])] == ["done"]
    assert (run / "r2" / "record.json").read_bytes() == before, "it was kept"


def test_an_interrupted_arm_is_recorded_set_aside_and_run_again(folder, tmp_path, monkeypatch):
    real, calls = arm_journal.append_jsonl, []

    def interrupt(path, row):
        real(path, row)
        calls.append(row)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(arm_journal, "append_jsonl", interrupt)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_sweep(experiment(folder), run, only=["r2"])
    assert read_arm_record(run / "r2").status == "cancelled"
    monkeypatch.undo()
    monkeypatch.setenv("THINWIRE_CACHE", str(folder / "cache"))
    (record,) = run_sweep(experiment(folder), run, only=["r2"], resume=True)
    assert record.status == "done"
    assert len(lines(run / "unfinished" / "r2-1" / "diagnostics.jsonl")) == 3
    assert len(lines(run / "r2" / "diagnostics.jsonl")) == 7, "nothing of the first run is mixed in"


@pytest.mark.parametrize("lines_before", [5, 6, 7])
def test_an_arm_interrupted_after_an_epoch_goes_on_and_ends_as_if_it_had_not_been(
    lines_before, folder, swept, tmp_path, monkeypatch
):
    """An epoch is two steps and a selection; the run stops after its last step, its last selection, or the test."""
    real, calls = arm_journal.append_jsonl, []

    def interrupt(path, row):
        real(path, row)
        calls.append(row)
        if len(calls) == lines_before:
            raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(arm_journal, "append_jsonl", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(experiment(folder), run, only=["r2"])
    epoch = (lines_before - 1) // 3
    assert (run / "r2" / f"unfinished-{epoch}-{2 * epoch}.safetensors").exists()
    (record,) = run_sweep(experiment(folder), run, only=["r2"], resume=True)
    whole = swept[0] / "r2"
    assert timeless(run / "r2" / "diagnostics.jsonl") == timeless(whole / "diagnostics.jsonl")
    assert (run / "r2" / "predictions.jsonl").read_text() == (whole / "predictions.jsonl").read_text()
    assert record.done.selection == read_arm_record(whole).done.selection
    assert record.status == "done"
    assert not (run / "unfinished").exists()
    assert not list(run.rglob("unfinished*")), "no resume point is left"
    assert not list(run.glob(".resume*"))


def test_an_interrupted_arm_goes_on_from_another_arms_lora_that_it_does_not_train(folder, swept, tmp_path, monkeypatch):
    lora = {"rank": 2, "start_from": str(swept[0] / "controls" / "text_lora"), "trained": False}
    made = experiment(folder, arms={"baseline": {}, "fixed": {"lora": lora}})
    real, calls = arm_journal.append_jsonl, []

    def interrupt(path, row):
        real(path, row)
        calls.append(row)
        if len(calls) == 5:  # after the first epoch
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(arm_journal, "append_jsonl", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(made, tmp_path / "run", only=["fixed"])
    (record,) = run_sweep(made, tmp_path / "run", only=["fixed"], resume=True)
    (whole,) = run_sweep(made, tmp_path / "whole", only=["fixed"])
    assert [resumed.epoch for resumed in record.resumed] == [1]
    for file in ("diagnostics.jsonl", "predictions.jsonl"):
        assert timeless(tmp_path / "run" / "fixed" / file) == timeless(tmp_path / "whole" / "fixed" / file)
    assert (record.done.test, record.done.selection) == (whole.done.test, whole.done.selection)
    fresh = experiment(folder, arms={"baseline": {}, "fixed": {"lora": {"rank": 2}}})
    with pytest.raises(ThinwireError, match=r"fixed was finished with other settings \(lora\)"):
        run_sweep(fresh, tmp_path / "run", only=["fixed"], resume=True)


def test_an_unfinished_arm_of_other_settings_starts_again(folder, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(arm_journal, "write_jsonl", interrupted)  # when the test predictions are written
        with pytest.raises(KeyboardInterrupt):
            run_sweep(experiment(folder), run, only=["r2"])
    changed = experiment(folder, arms={"baseline": {}, "r2": {"lora": {"rank": 3, "alpha": 4, "layers": 1}}})
    (record,) = run_sweep(changed, run, only=["r2"], resume=True)
    assert record.status == "done"
    assert (run / "unfinished" / "r2-1" / "unfinished-2-4.safetensors").exists()


def test_a_killed_arm_leaves_no_record_and_counts_as_not_done(folder, tmp_path):
    run = tmp_path / "run"
    run_sweep(experiment(folder), run, only=["r2"])
    (run / "r2" / "record.json").unlink()  # as after a kill: the record is written last
    (record,) = run_sweep(experiment(folder), run, only=["r2"], resume=True)
    assert record.status == "done"
    assert (run / "unfinished" / "r2-1" / "predictions.jsonl").exists()


def test_an_interrupted_arm_decodes_in_the_batches_that_it_began_with(folder, tmp_path, monkeypatch):
    real, used, sizes = arm_run.answer_questions, [], iter((900, 800, 700, 600))
    monkeypatch.setattr(arm_run, "decoding_batch_tokens", lambda *_: next(sizes))
    run = tmp_path / "run"

    def answer(stop_at):
        def answered(*args, batch_tokens, **options):
            used.append(batch_tokens)
            if len(used) == stop_at:
                raise KeyboardInterrupt
            return real(*args, batch_tokens=batch_tokens, **options)

        monkeypatch.setattr(arm_run, "answer_questions", answered)

    for stop_at in (2, 4):  # in the second selection, and in the test
        answer(stop_at)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(experiment(folder), run, only=["r2"], resume=True)
    answer(stop_at=None)
    run_sweep(experiment(folder), run, only=["r2"], resume=True)
    assert used == [900, 900, 900, 800, 800]
    assert not list((run / "r2").glob("unfinished*"))


def test_a_record_that_another_process_has_written_meanwhile_is_not_removed(folder, tmp_path, monkeypatch):
    """This process was suspended just before it removed that of an interruption."""
    made, run = experiment(folder, arms={"baseline": {}}, controls={}), tmp_path / "run"
    record = run / "baseline" / "record.json"
    with monkeypatch.context() as patch:
        patch.setattr(group_run, "train", lambda *_, **__: interrupted())
        with pytest.raises(KeyboardInterrupt):
            run_sweep(made, run)

    cancelled = record.read_bytes()

    def finished_by_another():
        record.write_text("the other's")

    with checking(finished_by_another):
        forget_failures(run, plan(made, (), "none"))
    assert record.read_text() == "the other's"
    record.write_bytes(cancelled)
    forget_failures(run, plan(made, (), "none"))
    assert not record.exists()


def test_an_empty_folder_is_not_set_aside_where_it_might_replace_that_of_another_worker(tmp_path):
    arm, attic = tmp_path / "r2", tmp_path / "unfinished"
    arm.mkdir()

    def set_aside_by_another():
        if not attic.exists():
            attic.mkdir()
            arm.rename(attic / "r2-1")
            arm.mkdir()
            (arm / "record.json").touch()

    with checking(set_aside_by_another):
        set_aside(arm, attic)
    assert not attic.exists()
    (arm / "training.log").touch()
    with pytest.raises(StorageError, match="ENOTEMPTY"), checking(set_aside_by_another):
        set_aside(arm, attic)
    assert (arm / "record.json").exists()


def test_a_resume_point_that_the_earlier_worker_still_commits_counts(folder, tmp_path, monkeypatch):
    """It does so until what it has not committed is removed, so that no later one is overlooked."""
    real, made, run = arm_journal.append_jsonl, experiment(folder), tmp_path / "run"
    calls = []

    def interrupt(path, row):
        real(path, row)
        calls.append(row)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(arm_journal, "append_jsonl", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(made, run, only=["r2"])
    (manifest,) = run.glob(".resume-*")
    content = manifest.read_bytes()
    remove = sweep_run.remove_uncommitted

    def committed_late(*arguments):
        manifest.write_bytes(content)
        remove(*arguments)

    monkeypatch.setattr(sweep_run, "remove_superseded", lambda *_: None)
    monkeypatch.setattr(sweep_run, "remove_uncommitted", committed_late)
    manifest.unlink()
    (record,) = run_sweep(made, run, only=["r2"], resume=True)
    assert [one.epoch for one in record.resumed] == [1]
