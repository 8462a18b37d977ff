"""Weights & Biases in its offline mode, whose files are read as it reads them."""

import json
import struct

import pytest

from thinwire.tasks.table import TASKS
from thinwire.tracking.rows import verdict_columns
from tracked_runs import SCALARS, report_interrupted, report_sweep

pytest.importorskip("wandb", reason="the package wandb is not installed")
wandb_internal_pb2 = pytest.importorskip("wandb.proto.wandb_internal_pb2")


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


BLOCK = 1 << 15


def records(path):
    """Yield the records of a file of an offline run, which has the form of LevelDB's logs behind seven bytes."""
    data, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:  # too little of the block is left for a header
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record, whole = wandb_internal_pb2.Record.FromString(whole), b""
            yield record


def read(folder):
    """Return what an offline run holds: its start, its config, (step, value) by tag, its summary, its exit code."""
    (file,) = folder.glob("run-*.wandb")
    found = {"config": {}, "history": {}, "summary": {}, "artifacts": []}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
            found["config"].update({one.key: json.loads(one.value_json) for one in record.run.config.update})
        elif kind == "history":
            row = {one.key or one.nested_key[0]: json.loads(one.value_json) for one in record.history.item}
            for tag, value in row.items():
                if not tag.startswith("_"):
                    found["history"].setdefault(tag, []).append((record.history.step.num, value))
        elif kind == "summary":
            found["summary"].update({one.key: json.loads(one.value_json) for one in record.summary.update if one.key})
        elif kind == "artifact" and record.artifact.type == "report":
            found["artifacts"] += [one.path for one in record.artifact.manifest.contents]
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def offline_runs(run):
    return [read(folder) for folder in sorted((run / "wandb").glob("offline-run-*"))]


def test_a_resumed_arm_has_one_identifier_and_all_its_scalars_in_its_last_file(tmp_path):
    report_interrupted(tmp_path / "run", tmp_path, "wandb")
    found = offline_runs(tmp_path / "run")
    assert len({one["run"].run_id for one in found}) == 1
    last = found[-1]
    assert last["history"] == SCALARS
    assert last["config"]["lora"]["rank"] == 16
    assert last["exit"] == 0
    assert (last["summary"]["test_f1"], last["summary"]["status"]) == (0.6875, "done")


def test_arms_are_a_group_with_the_verdict_table_and_the_reports(tmp_path):
    analysis = report_sweep(tmp_path / "run", "wandb")
    found = {one["run"].display_name: one for one in offline_runs(tmp_path / "run")}
    assert {"baseline", "r16_a32_full", "codec_only", "phase1a_lora_sweep: report"} <= set(found)
    (group,) = {one["run"].run_group for one in found.values()}
    assert group.startswith("phase1a_lora_sweep-")
    assert found["codec_only"]["run"].job_type == "control"
    report = found["phase1a_lora_sweep: report"]
    assert report["summary"]["headline"] == analysis.verdict.headline
    assert {"report.html", "analysis.json"} <= set(report["artifacts"])
    (table,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media/table/verdict_*.json")
    assert json.loads(table.read_text())["columns"] == verdict_columns(TASKS["extractive_qa"])
