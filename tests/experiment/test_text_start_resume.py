"""Training on texts that is interrupted goes on where it was; what has failed, or is no longer needed, is not tried
again."""

import os
import signal

import pytest
import torch

from thinwire.config.auto import resolved
from thinwire.errors import ThinwireError
from thinwire.experiment import arm_journal, text_start
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.runtime import make_runtime
from thinwire.experiment.sweep import run_sweep
from thinwire.experiment.text_progress import text_progress
from thinwire.experiment.text_start import with_text_start
from thinwire.interruption import Interrupted
from thinwire.model.loading import load
from thinwire.progress import Display
from thinwire.results.arm_record import read_arm_record
from tiny_sweeps import experiment, timeless

STEPS = 4
LEARNING = {"passages": 14, "batch_size": 4, "encoder_lr": 0.01, "lora_lr": 0.05, "kd_weight": 0.5}
LORA = {"rank": 2, "alpha": 4, "layers": 1, "dropout": 0.3}


def made(folder, arms=("a",), minutes=60, **reconstruction):
    return experiment(
        folder,
        baseline=arms[0],
        input="blocks",
        blocks={"hidden": 16, "reconstruction": {**LEARNING, **reconstruction}},
        supervision={"ce_weight": 1.0},
        training={"epochs": 2, "batch_size": 8, "checkpoint_minutes": minutes},
        lora=LORA,
        arms={name: {} for name in arms},
        controls={},
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A function that sets another, empty cache, and returns its folder."""
    numbers = iter(range(100))

    def another():
        folder = tmp_path / f"cache-{next(numbers)}"
        monkeypatch.setenv("THINWIRE_CACHE", str(folder))
        return folder

    another()
    return another


@pytest.fixture
def trainings(monkeypatch):
    """The steps of each training on texts so far: a list of numbers for each; and what to do after a step."""
    real, steps, then = text_start.train_to_write, [], {}

    def train(*args, on_step, **options):
        steps.append([])

        def stepped(metrics, total):
            on_step(metrics, total)
            steps[-1].append(metrics.step)
            then.get(metrics.step, lambda: None)()

        real(*args, on_step=stepped, **options)

    monkeypatch.setattr(text_start, "train_to_write", train)
    return steps, then


def prepared(folder, codecs, **changes):
    """Prepare an arm; returns its encoder's and LoRA's weights by name, and what was measured of them."""
    own = made(folder, **changes)
    lm = load(own.model)
    artifacts = ArtifactCache(own, lm, codecs, Display())
    inputs = with_text_start(
        make_runtime(own, lm, Display()), artifacts, artifacts.arm_inputs(resolved(own.arm("a"), "cpu"))
    )
    encoder = {name: weight.detach().clone() for name, weight in inputs.embeddings.encoder.named_parameters()}
    return encoder | inputs.starting_lora, inputs.text_reconstruction


def left(cache):
    """Files that trainings on texts left to go on from."""
    return [path.name for path in (cache / "adapters").glob("*/*")]


def send_signal():
    os.kill(os.getpid(), signal.SIGUSR1)


def be_killed():
    raise KeyboardInterrupt


def the_same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("stop", [1, 3, STEPS])
def test_a_start_stopped_by_a_signal_after_any_step_ends_like_one_that_was_not(
    stop, folder, tmp_path, cache, trainings, hears_signals
):
    steps, then = trainings
    weights, measured = prepared(folder, tmp_path)
    here = cache()
    then[stop] = send_signal
    with pytest.raises(Interrupted):
        prepared(folder, tmp_path)
    assert left(here) == ["unfinished.safetensors"]
    then.clear()
    hears_signals()
    resumed, measured_again = prepared(folder, tmp_path)
    assert steps == [[1, 2, 3, 4], [*range(1, stop + 1)], [*range(stop + 1, STEPS + 1)]]
    assert the_same(resumed, weights)
    assert measured_again == measured
    assert left(here) == []


def test_a_killed_start_goes_on_from_its_last_resume_point_with_as_many_threads(folder, tmp_path, cache, trainings):
    steps, then = trainings
    before, threads = torch.get_num_threads(), []
    try:
        torch.set_num_threads(2)
        weights, _ = prepared(folder, tmp_path)
        cache()
        then[3] = be_killed
        with pytest.raises(KeyboardInterrupt):
            prepared(folder, tmp_path, minutes=1e-9)
        torch.set_num_threads(1)
        then[3] = lambda: threads.append(torch.get_num_threads())
        resumed, _ = prepared(folder, tmp_path, minutes=1e-9)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert steps == [[1, 2, 3, 4], [1, 2, 3], [3, 4]]
    assert threads == [2]
    assert the_same(resumed, weights)


def test_a_damaged_resume_point_is_not_used_and_that_is_said(folder, tmp_path, cache, trainings, caplog):
    steps, then = trainings
    here = cache()
    then[3] = be_killed
    with pytest.raises(KeyboardInterrupt):
        prepared(folder, tmp_path, minutes=1e-9)
    (file,) = (here / "adapters").glob("*/unfinished.safetensors")
    content = bytearray(file.read_bytes())
    content[-2] ^= 0xFF
    file.write_bytes(content)
    then.clear()
    prepared(folder, tmp_path)
    assert steps[1:] == [[1, 2, 3, 4]]
    assert "text reconstruction starts from the beginning" in caplog.text
    assert left(here) == []


def test_what_a_process_left_that_was_killed_with_its_weights_written_is_removed(folder, tmp_path, cache):
    here = cache()
    prepared(folder, tmp_path)
    (place,) = (here / "adapters").glob("*.safetensors")
    (place.with_suffix("") / "unfinished.safetensors").write_bytes(b"an earlier step")
    prepared(folder, tmp_path)
    assert left(here) == []


def test_a_sweep_stopped_in_a_start_goes_on_and_ends_like_one_that_was_not(
    folder, tmp_path, cache, trainings, hears_signals, monkeypatch
):
    steps, then = trainings
    run_sweep(made(folder), tmp_path / "whole")
    cache()
    then[2] = send_signal
    with pytest.raises(Interrupted):
        run_sweep(made(folder), tmp_path / "run")
    assert read_arm_record(tmp_path / "run" / "a").status == "cancelled"
    then.clear()
    hears_signals()
    seen, take = [], RunClaims.take
    monkeypatch.setattr(
        RunClaims,
        "take",
        lambda self, name, progress=0, steps=0: seen.append((name, progress)) or take(self, name, progress, steps),
    )
    (record,) = run_sweep(made(folder), tmp_path / "run", resume=True)
    assert steps == [[1, 2, 3, 4], [1, 2], [3, 4]]
    for file in ("diagnostics.jsonl", "predictions.jsonl"):
        assert timeless(tmp_path / "run" / "a" / file) == timeless(tmp_path / "whole" / "a" / file)
    whole = read_arm_record(tmp_path / "whole" / "a").done
    assert (record.done.text_reconstruction, record.done.test) == (whole.text_reconstruction, whole.test)
    # A worker that is gone after its start has got further is no attempt without progress.
    assert [progress for name, progress in seen if name.startswith("group-")] == [2]


def test_how_far_a_start_is_is_nothing_where_it_cannot_be_read(tmp_path):
    assert text_progress(tmp_path, "a") == 0
    (tmp_path / ".workers").mkdir()
    (tmp_path / ".workers" / "a.text_steps").write_text("many")
    assert text_progress(tmp_path, "a") == 0


def test_a_resumed_arm_needs_no_start_any_more(folder, tmp_path, cache, trainings, monkeypatch):
    steps, _ = trainings
    run_sweep(made(folder), tmp_path / "whole")
    real, calls = arm_journal.append_jsonl, []

    def interrupt(path, row):
        real(path, row)
        calls.append(row)
        if len(calls) == 4:  # in the first step of the second epoch
            raise KeyboardInterrupt

    cache()
    with monkeypatch.context() as patch:
        patch.setattr(arm_journal, "append_jsonl", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(made(folder), tmp_path / "run")
    cache()  # the start is gone
    (record,) = run_sweep(made(folder), tmp_path / "run", resume=True)
    assert [one.epoch for one in record.resumed] == [1]
    assert len(steps) == 2
    for file in ("diagnostics.jsonl", "predictions.jsonl"):
        assert timeless(tmp_path / "run" / "a" / file) == timeless(tmp_path / "whole" / "a" / file)
    assert record.done.text_reconstruction == read_arm_record(tmp_path / "whole" / "a").done.text_reconstruction


def test_a_start_that_diverges_fails_its_arms_and_is_not_tried_again(folder, tmp_path, cache, trainings):
    steps, _ = trainings
    here = cache()
    wild = {"encoder_lr": 1e30, "lora_lr": 1e30, "minutes": 1e-9}
    (record,) = run_sweep(made(folder, **wild), tmp_path / "run")
    assert record.status == "failed"
    assert "text reconstruction: loss at step" in record.error
    assert "blocks.reconstruction.encoder_lr" in record.error
    assert left(here) == ["failed.json"], "a resume point would lead there again"
    assert len(steps) == 1
    (again,) = run_sweep(made(folder, **wild), tmp_path / "run", resume=True)
    assert again.status == "failed"
    assert f"found earlier; remove {here}" in again.error
    records = run_sweep(made(folder, arms=("a", "b"), **wild), tmp_path / "others")
    assert [one.status for one in records] == ["failed", "failed"]
    assert len(steps) == 1
    next((here / "adapters").glob("*/failed.json")).unlink()
    with pytest.raises(ThinwireError, match="became"):
        prepared(folder, tmp_path, **wild)
    assert len(steps) == 2
