"""MLflow with a store in a local file."""

import pytest

from tracked_runs import SCALARS, report_interrupted, report_sweep

mlflow = pytest.importorskip("mlflow", reason="the package mlflow is not installed")
pytest.importorskip("sqlalchemy", reason="MLflow's local store needs the package sqlalchemy")


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")


def runs(client):
    """Return the runs by name."""
    experiment = client.get_experiment_by_name("phase1a_lora_sweep")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def history(client, run):
    """Return (step, value) by tag."""
    return {
        tag: sorted((one.step, one.value) for one in client.get_metric_history(run.info.run_id, tag))
        for tag in run.data.metrics
    }


def files(client, run):
    return {file.path for file in client.list_artifacts(run.info.run_id)}


def test_a_resumed_arm_is_one_nested_run_with_each_scalar_once(client, tmp_path):
    report_interrupted(tmp_path / "run", tmp_path, "mlflow")
    found = runs(client)
    assert set(found) == {"run", "r16_a32_full"}
    arm = found["r16_a32_full"]
    assert arm.data.tags["mlflow.parentRunId"] == found["run"].info.run_id
    assert (arm.info.status, arm.data.tags["thinwire.test_f1"]) == ("FINISHED", "0.6875")
    assert history(client, arm) == SCALARS
    assert arm.data.params["lora.rank"] == "16"
    assert files(client, arm) == {"config.json"}


def test_the_parent_run_has_the_verdict_table_and_the_reports(client, tmp_path):
    analysis = report_sweep(tmp_path / "run", "mlflow")
    found = runs(client)
    assert {"run", "baseline", "r16_a32_full", "codec_only"} <= set(found)
    parent = found["run"]
    assert (parent.info.status, parent.data.tags["thinwire.headline"]) == ("FINISHED", analysis.verdict.headline)
    assert {"verdict.json", "verdict.md", "report.html", "analysis.json"} <= files(client, parent)
    assert history(client, found["codec_only"])["test/test_f1"] == [(0, 0.125)]


def test_the_experiment_can_be_named(client, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    report_interrupted(tmp_path / "run", tmp_path, "mlflow")
    assert client.get_experiment_by_name("phase1a_lora_sweep") is None
    assert len(client.search_runs([client.get_experiment_by_name("ours").experiment_id])) == 2
