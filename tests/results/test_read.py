import gc

import pytest

from sweep_folder import ANSWERS, edit, everything, failed, record, write_run
from thinwire.errors import ThinwireError, UsageError
from thinwire.results.read import is_complete, read_results


def test_a_finished_sweep_is_read_in_the_order_planned(tmp_path):
    run = write_run(tmp_path / "run")
    results = read_results(run)
    assert list(results.arms) == ["baseline", "r4_a8_layers8", "r8_a8_layers12", "r16_a32_full"]
    assert list(results.controls) == ["text_lora", "text_zero_shot", "codec_only"]
    assert [one.name for one in results.unfinished] == ["broken"]
    assert results.sweep.name == "phase1a_lora_sweep"
    assert results.folder == run
    (chosen,) = results.arms["r16_a32_full"]
    assert (chosen.folder, chosen.record.done.test.score) == (run / "r16_a32_full", 0.6875)
    assert [row["score"] for row in chosen.predictions[:4]] == [1.0, 1.0, 1.0, 0.0]  # LRRW
    assert [one.folder for one in results.controls["codec_only"]] == [run / "controls" / "codec_only"]
    assert list(results.groups) == [*results.arms, *results.controls]
    assert is_complete(run)


@pytest.mark.parametrize("was_on", [True, False])
def test_the_garbage_collector_is_as_it_was_after_reading_also_what_cannot_be_read(tmp_path, was_on):
    run = write_run(tmp_path / "run")
    try:
        gc.enable() if was_on else gc.disable()
        read_results(run)
        assert gc.isenabled() is was_on
        (run / "broken" / "record.json").unlink()
        with pytest.raises(UsageError):
            read_results(run)
        assert gc.isenabled() is was_on
    finally:
        gc.enable()


def test_seeds_of_an_arm_are_kept_together(tmp_path):
    again = record("r16_a32_full-seed1", arm="r16_a32_full", selection=0.5)
    results = read_results(write_run(tmp_path / "run", [record("baseline"), record("r16_a32_full"), again]))
    assert {name: [one.record.name for one in runs] for name, runs in results.arms.items()} == {
        "baseline": ["baseline"],
        "r16_a32_full": ["r16_a32_full", "r16_a32_full-seed1"],
    }


def test_seeds_of_a_control_are_kept_together_without_those_that_failed(tmp_path):
    seeds = [failed("text_lora", kind="control"), record("text_lora-seed1", arm="text_lora")]
    seeds.append(record("text_lora-seed2", arm="text_lora"))
    results = read_results(write_run(tmp_path / "run", [record("baseline"), *seeds]))
    found = {name: [one.record.name for one in runs] for name, runs in results.controls.items()}
    assert found == {"text_lora": ["text_lora-seed1", "text_lora-seed2"]}
    assert [one.name for one in results.unfinished] == ["text_lora"]


def test_a_header_without_interactions_has_none(tmp_path):
    run = write_run(tmp_path / "run")
    edit(run / "sweep.json", lambda header: header.pop("interactions"))
    assert read_results(run).sweep.interactions == {}


@pytest.mark.parametrize("missing", ["r4_a8_layers8", "controls/codec_only", "broken"])
def test_a_sweep_that_has_not_ended_is_refused_and_told_how_to_go_on(tmp_path, missing):
    run = write_run(tmp_path / "run")
    (run / missing / "record.json").unlink()
    assert not is_complete(run)
    with pytest.raises(UsageError, match=rf"{missing.split('/')[-1]} has no record.json; continue it with --resume"):
        read_results(run)


@pytest.mark.parametrize(
    "records",
    [
        [failed("baseline"), failed("broken", status="cancelled", error="interrupted")],
        [failed("baseline"), record("text_lora")],  # a control alone is nothing to report
    ],
)
def test_a_sweep_without_an_arm_that_is_done_is_refused(tmp_path, records):
    run = write_run(tmp_path / "run", records)
    assert not is_complete(run)
    with pytest.raises(UsageError, match="has no arm that is done, so there is nothing to report"):
        read_results(run)


def test_one_arm_is_enough_for_a_report(tmp_path):
    run = write_run(tmp_path / "run", [record("baseline"), failed("broken")])
    assert is_complete(run)
    assert list(read_results(run).arms) == ["baseline"]


def test_a_folder_that_is_no_sweeps_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"is no sweep's folder: it has no sweep\.json"):
        read_results(tmp_path)


@pytest.mark.parametrize("name", ["r4_a8_layers8", "controls/text_lora"])
def test_a_training_of_another_model_is_refused(tmp_path, name):
    run = write_run(tmp_path / "run")
    other = {"name": "smollm2-135m", "revision": "fedcba9876543210"}
    edit(run / name / "record.json", lambda record: record["model"].update(other))
    with pytest.raises(UsageError, match=f"is mixed: {name.split('/')[-1]} used the model smollm2-135m, another one"):
        read_results(run)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name", ["r16_a32_full", "controls/codec_only"])
def test_trainings_on_other_questions_are_refused(tmp_path, split, name):
    run = write_run(tmp_path / "run")
    edit(run / name / "record.json", lambda record: record["data"].update({split: "other"}))
    one = name.split("/")[-1]
    with pytest.raises(UsageError, match=f"is mixed: {one} and baseline differ in {split} questions"):
        read_results(run)


def test_a_training_of_another_version_is_refused(tmp_path):
    run = write_run(tmp_path / "run")
    edit(run / "r4_a8_layers8" / "record.json", lambda record: record["environment"].update(thinwire="0.0.9"))
    with pytest.raises(UsageError, match=r"is stale: r4_a8_layers8 was made by thinwire 0\.0\.9, the sweep by 0\.1\.0"):
        read_results(run)


def test_what_failed_may_be_of_another_version_and_model_as_no_result_of_it_is_shown(tmp_path):
    def change(record):
        record["environment"].update(thinwire="0.0.9")
        record["model"].update(name="other", revision="other")

    run = write_run(tmp_path / "run")
    edit(run / "broken" / "record.json", change)
    assert len(read_results(run).arms) == 4


@pytest.mark.parametrize("file", ["sweep.json", "baseline/record.json", "baseline/predictions.jsonl"])
def test_a_broken_file_is_an_error_that_names_it(tmp_path, file):
    run = write_run(tmp_path / "run")
    (run / file).write_text('{"cut off')
    with pytest.raises(ThinwireError, match=file):
        read_results(run)


def test_missing_predictions_are_an_error_that_names_them(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "r4_a8_layers8" / "predictions.jsonl").unlink()
    with pytest.raises(ThinwireError, match=r"r4_a8_layers8/predictions\.jsonl"):
        read_results(run)


def test_the_example_is_what_it_says(tmp_path):
    """Guards the numbers that other tests rest on."""
    found = {one.name: one.done.test for one in everything() if one.status == "done"}
    arms = {"baseline": 6, "r4_a8_layers8": 6.5, "r8_a8_layers12": 14, "r16_a32_full": 11}
    controls = {"text_lora": 15.5, "text_zero_shot": 10, "codec_only": 2}
    assert {name: test.score * 16 for name, test in found.items()} == arms | controls
    assert found["r16_a32_full"].raw_score * 16 == pytest.approx(11 - 1 / 3)
    assert {len(pattern) for pattern in ANSWERS.values()} == {16}
