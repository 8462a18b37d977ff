from datetime import datetime

import pytest

from benchmark_programs import program

multi_gpu = program("multi_gpu")


@pytest.fixture
def sweeps(monkeypatch, tmp_path):
    """Replace the sweep by one that trains two arms and compiles; returns the environments it was given."""
    given = []

    def run(command, *, env, check):
        assert check
        given.append(env)
        folder = tmp_path / command[command.index("--output") + 1]
        for arm, minute in (("baseline", 0), ("r4", 1)):
            (folder / arm).mkdir(parents=True)
            line = f"2026-01-02 03:0{minute}:00,500 INFO thinwire.training: {arm}: training begins\n"
            (folder / arm / "training_1.log").write_text("2026-01-02 03:00:00,000 INFO x: arm\n" + line)
            (folder / arm / "record.json").write_text("{}")
        for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
            path = multi_gpu.Path(env[name])
            path.mkdir(parents=True, exist_ok=True)
            (path / "kernel").write_text("")

    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(multi_gpu, "visible_gpus", lambda: ("1", "3", "5"))
    monkeypatch.setattr(multi_gpu.subprocess, "run", run)
    return given


def test_moments_are_those_at_which_training_begins(tmp_path):
    log = tmp_path / "training_1.log"
    log.write_text(
        "2026-01-02 03:04:05,250 INFO thinwire.training: r4: training begins\n"
        "2026-01-02 03:04:06,000 INFO thinwire.training: r4: training begins again\n"
        "  2026-01-02 03:04:07,000 INFO thinwire.training: r4: training begins\n"
        "2026-01-02 03:04:09,000 INFO thinwire.training: r8: training begins\n"
    )
    first, second = multi_gpu.training_begins(log)
    assert first == datetime(2026, 1, 2, 3, 4, 5, 250_000).astimezone().timestamp()
    assert second - first == pytest.approx(3.75)


def test_a_run_uses_the_first_visible_gpus(sweeps, tmp_path):
    multi_gpu.timed_sweep(2, tmp_path / "runs", [], "none")
    assert sweeps[0]["CUDA_VISIBLE_DEVICES"] == "1,3"


def test_the_moments_of_all_arms_are_found(sweeps, tmp_path):
    found = multi_gpu.timed_sweep(1, tmp_path / "runs", [], "none")
    first, second = found["training_begins"]
    assert second - first == pytest.approx(60)
    assert len(found["arms_end"]) == 2


def test_each_run_compiles_unless_the_cache_is_shared(sweeps, tmp_path):
    found = [multi_gpu.timed_sweep(num, tmp_path / str(num), [], "none") for num in (1, 2)]
    assert [run["compile_cache"] for run in found] == ["cold", "cold"]
    assert sweeps[0]["TRITON_CACHE_DIR"] != sweeps[1]["TRITON_CACHE_DIR"]


def test_a_shared_cache_is_cold_only_once(sweeps, tmp_path):
    shared = tmp_path / "compiled"
    found = [multi_gpu.timed_sweep(num, tmp_path / f"a{num}", [], "none", shared) for num in (1, 2)]
    assert [run["compile_cache"] for run in found] == ["cold", "warm"]
    assert sweeps[0]["TORCHINDUCTOR_CACHE_DIR"] == sweeps[1]["TORCHINDUCTOR_CACHE_DIR"]
    assert sweeps[0]["THINWIRE_CACHE"] != sweeps[1]["THINWIRE_CACHE"]
