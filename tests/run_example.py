"""A finished sweep's folder made by hand: 16 questions in 8 paragraphs, answers right, half right or wrong."""

import json
from pathlib import Path

from thinwire.config import ArmConfig, VerdictConfig, build
from thinwire.records import append_jsonl, read_json, write_json, write_jsonl
from thinwire.report import compare

# The gold answer of question 3 is "red3 mill3". What is said for each letter, and its F1, EM, raw F1 and raw EM:
SAID = {
    "R": ("red{0} mill{0}", 1.0, 1.0, 1.0, 1.0),
    "H": ("red{0} barn{0}", 0.5, 0.0, 0.5, 0.0),  # one word of two in either direction
    "W": ("barn{0}", 0.0, 0.0, 0.0, 0.0),
    "L": ("red{0} mill{0}\nas said", 1.0, 1.0, 2 / 3, 0.0),  # raw: precision 2/4, recall 1
}

ANSWERS = {
    "baseline": "RHWWRHWWRHWWRHWW",  # 4 right, 4 half: F1 (4 + 2) / 16 = 0.375, EM 0.25
    "r4_a8_layers8": "RHHWRHWWRHWWRHWW",  # one more half: F1 6.5 / 16 = 0.40625, EM 0.25
    "r8_a8_layers12": "RRRRRRRRRRRRRRWW",  # F1 = EM = 14 / 16 = 0.875: the best on the test split
    "r16_a32_full": "LRRWRRRWRRRWRHHW",  # 10 right, 2 half: F1 11 / 16 = 0.6875, EM 0.625; raw F1 (11 - 1/3) / 16
    "text_lora": "RRRRRRRRRRRRRRRH",  # F1 15.5 / 16 = 0.96875
    "text_zero_shot": "RRRRHHHHWWWWRRRR",  # F1 10 / 16 = 0.625
    "codec_only": "WWWWWWWWWWWWHHHH",  # F1 2 / 16 = 0.125
}
SELECTION = {
    "baseline": 0.375,
    "r4_a8_layers8": 0.40625,
    "r8_a8_layers12": 0.5,
    "r16_a32_full": 0.59375,  # chosen
    "text_lora": 0.9375,
    "text_zero_shot": 0.5,
    "codec_only": 0.125,
}
LORA = {
    "r4_a8_layers8": {"rank": 4, "alpha": 8, "layers": 8},
    "r8_a8_layers12": {"rank": 8, "alpha": 8, "layers": 12},
    "r16_a32_full": {"rank": 16, "alpha": 32, "layers": "all"},
    "text_lora": {"rank": 16, "alpha": 32, "layers": "all"},
    "broken": {"rank": 2, "alpha": 4, "layers": 8},
}
READS = {"text_lora": "text", "text_zero_shot": "text", "codec_only": "codec"}
BUCKETS = ((1, 9, 0.125), (10, 99, 0.25), (100, None, 0.625))
FINISHED_AT = "2026-01-02T04:04:05Z"
ENVIRONMENT = {
    "thinwire": "0.1.0",
    "git_commit": "f" * 40,
    "git_dirty": False,
    "python": "3.12.3",
    "packages": {"torch": "2.11.0"},
    "platform": "Linux x86_64",
    "device": "cpu",
    "cpu_threads": 2,
    "cpus": 2,
}
MODEL = {"name": "tiny", "revision": "0123456789abcdef"}


def predictions(pattern: str) -> list[dict]:
    rows = []
    for number, letter in enumerate(pattern):
        said, f1, em, raw_f1, raw_em = SAID[letter]
        raw = said.format(number)
        rows.append(
            {
                "id": f"q{number:02}",
                "paragraph_id": f"p{number // 2}",
                "question": f"What stands on hill {number}?",
                "golds": [f"red{number} mill{number}"],
                "raw_text": raw,
                "text": raw.split("\n")[0],
                "exact_match": em,
                "f1": f1,
                "raw_exact_match": raw_em,
                "raw_f1": raw_f1,
                "stop_reason": "end",
            }
        )
    return rows


def _mean(rows: list[dict], key: str) -> float:
    return sum(row[key] for row in rows) / len(rows)


def _buckets(cosine: float) -> list[dict]:
    return [
        {"least": least, "most": most, "share_of_tokens": share, "cosine": cosine + share / 10}
        for least, most, share in BUCKETS
    ]


def record(name: str, *, arm: str | None = None, answers: str | None = None, selection: float | None = None) -> dict:
    arm = arm or name
    reads, lora = READS.get(arm, "adapter"), LORA.get(arm)
    config = build(ArmConfig, {"reads": reads, **({"lora": lora} if lora else {})}, where="")
    rows = predictions(answers or ANSWERS[arm])
    trains = reads == "adapter" or lora is not None
    cosine = None if reads == "text" else {"cosine": 0.875, "relative_mse": 0.25, "nearest_row_accuracy": 0.9375}
    coded = reads != "text"
    return {
        "name": name,
        "arm": arm,
        "kind": "control" if arm in READS else "arm",
        "status": "done",
        "error": None,
        "config": config.model_dump(mode="json"),
        "environment": ENVIRONMENT,
        "model": MODEL,
        "data": {"train": "aaaa", "selection": "bbbb", "test": "cccc"},
        "trainable_parameters": {
            "adapter": 1000 if reads == "adapter" else 0,
            "lora": 250 * lora["rank"] if lora else 0,
        },
        "codec": {"code_width": 144, "parameters": 83520} if coded else None,
        "reconstruction_at_start": {**cosine, "cosine": 0.8125} if cosine else None,
        "reconstruction": cosine,
        "reconstruction_by_frequency": _buckets(0.8) if coded else None,
        "reconstruction_by_frequency_at_start": _buckets(0.7) if coded else None,
        "training": {"best_epoch": 1, "num_steps": 3} if trains else None,
        "selection": {"f1": SELECTION[arm] if selection is None else selection, "n": 5},
        "test": {
            "n": len(rows),
            **{key: _mean(rows, key) for key in ("f1", "exact_match", "raw_f1", "raw_exact_match")},
            "collapse": {"distinct_share": 1.0},  # no two answers are equal
        },
        "seconds_total": 90.0,
    }


def failed(name: str, kind: str = "arm", status: str = "failed", error: str = "ValueError: loss is nan") -> dict:
    config = build(ArmConfig, {"lora": LORA["broken"]}, where="").model_dump(mode="json")
    identity = {"name": name, "arm": name, "kind": kind, "status": status, "error": error, "seconds_total": 6.0}
    return {**identity, "config": config, "environment": ENVIRONMENT, "model": MODEL, "data": {}}


def everything() -> list[dict]:
    return [*map(record, ANSWERS), failed("broken")]


def folder_of(run: Path, one: dict) -> Path:
    return run / one["name"] if one["kind"] == "arm" else run / "controls" / one["name"]


def write_run(run: Path, records: list[dict] | None = None, answers: dict[str, str] | None = None, **changes) -> Path:
    """Write a sweep's folder; ``answers`` are those of trainings that differ, ``changes`` entries of its header."""
    answers = answers or {}
    records = everything() if records is None else records
    header = {
        "format": 1,
        "name": "phase1a_lora_sweep",
        "description": "made by hand",
        "baseline": "baseline",
        "verdict": build(VerdictConfig, {"resamples": 1000}, where="").model_dump(mode="json"),
        "planned": {one["name"]: one["kind"] for one in records},
        "model": {
            **MODEL,
            "table_sha256": "0c8d76d0178f",
            "vocabulary": 49152,
            "embedding_width": 576,
            "num_layers": 30,
            "bytes_per_number": 2,
            "text_bits_per_token": 34.5,
        },
        "samples": 5000,
        "epochs": 1,
        "environment": ENVIRONMENT,
        "started_at": "2026-01-02T03:04:05Z",
        "finished_at": FINISHED_AT,
        **changes,
    }
    write_json(run / "sweep.json", header)
    for one in records:
        folder = folder_of(run, one)
        write_json(folder / "record.json", one)
        if one["status"] == "done":
            write_jsonl(folder / "predictions.jsonl", predictions(answers.get(one["name"], ANSWERS[one["arm"]])))
            write_diagnostics(folder, one)
    (run / "compare_results.py").write_text(Path(compare.__file__).read_text())
    return run


def write_diagnostics(folder: Path, one: dict) -> None:
    has_lora = one["trainable_parameters"]["lora"] > 0
    if one["training"]:
        for step in (1, 2, 3):
            row = {"event": "step", "step": step, "epoch": 1, "loss": 1 / step, "cosine": 0.75 + step / 16}
            row |= {"relative_mse": 0.5, "ce": 4 / step, "kd": None, "lr_adapter": 0.001, "lr_lora": None}
            row |= {"grad_norm_adapter": 0.5, "grad_norm_lora": 0.125 * step if has_lora else None}
            append_jsonl(folder / "diagnostics.jsonl", row | {"tokens_per_second": 1000.0})
    selection, test = one["selection"], one["test"]
    collapse = {"distinct_share": 1.0}
    for split, found in (
        ("selection", {"n": 5, "text_f1": selection["f1"], "text_em": 0.125}),
        ("test", {"n": test["n"], "test_f1": test["f1"], "test_em": test["exact_match"]}),
    ):
        row = {"event": "evaluation", "split": split, "epoch": 1, **found, "collapse": collapse}
        append_jsonl(folder / "diagnostics.jsonl", row)


def edit(file: Path, change) -> None:
    """Change a JSON file in place; ``change`` gets its content."""
    content = read_json(file)
    change(content)
    write_json(file, content)


def load(file: Path):
    return json.loads(file.read_text(encoding="utf-8"))
