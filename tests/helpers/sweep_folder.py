"""A finished sweep's folder made by hand: 16 questions in 8 paragraphs, answers right, half right or wrong."""

import json
from pathlib import Path

from thinwire.config.experiment import ArmConfig
from thinwire.config.load import load_experiment
from thinwire.config.settings import VerdictConfig
from thinwire.evaluation.answer_metrics import degeneration_metrics
from thinwire.files import append_jsonl, write_json, write_jsonl
from thinwire.hashes import content_hash
from thinwire.reading import read_json, read_jsonl
from thinwire.report import compare
from thinwire.results.arm_record import (
    ArmRecord,
    ArmResults,
    CodecRecord,
    Environment,
    FrequencyBucket,
    ModelIdentity,
    QuestionHashes,
    Reconstruction,
    ReconstructionMetrics,
    Scores,
    TrainableParameters,
    TrainingResult,
    read_arm_record,
)
from thinwire.results.integrity import hashes_of_arm
from thinwire.results.layout import RECORD_FILE, arm_folder
from thinwire.results.record import SEAL, sealed, write_record
from thinwire.results.sweep_header import FORMAT, SweepHeader, SweepModel, write_header
from thinwire.schema import build, merge

EXPERIMENTS = Path(__file__).parents[2] / "experiments"

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
INPUTS = {"text_lora": "text", "text_zero_shot": "text", "codec_only": "codec"}
BUCKETS = ((1, 9, 0.125), (10, 99, 0.25), (100, None, 0.625))
FINISHED_AT = "2026-01-02T04:04:05Z"
ENVIRONMENT = Environment(
    thinwire="0.1.0",
    git_commit="f" * 40,
    git_dirty=False,
    python="3.12.3",
    packages={"torch": "2.11.0"},
    platform="Linux x86_64",
    device="cpu",
    cpu_threads=2,
    cpus=2,
)
MODEL = ModelIdentity(name="tiny", revision="0123456789abcdef", dtype="float32", base_bits=None)
SWEEP_MODEL = SweepModel(
    name=MODEL.name,
    revision=MODEL.revision,
    matrix_sha256="0c8d76d0178f",
    vocabulary=49152,
    embedding_width=576,
    num_layers=30,
    bytes_per_number=2,
    text_bits_per_token=34.5,
)
CODEC = CodecRecord(
    file="codec/pca.safetensors",
    label="PCA",
    code_width=144,
    code_bits=None,
    num_parameters=83520,
    num_bytes=83520 * 4,
    metrics=(),
    warnings=(),
)


def replace_arm_record(folder, record):
    """Write ``record`` into an arm's folder, whatever record is there."""
    write_record(folder / RECORD_FILE, record)


def predictions(pattern: str) -> list[dict]:
    rows = []
    for number, letter in enumerate(pattern):
        said, f1, em, raw_score, raw_em = SAID[letter]
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
                "score": f1,
                "raw_exact_match": raw_em,
                "raw_score": raw_score,
                "stop_reason": "end",
            }
        )
    return rows


def _scores(rows: list[dict]) -> Scores:
    names = ("score", "exact_match", "raw_score", "raw_exact_match")
    return Scores(
        n=len(rows),
        **{name: sum(row[name] for row in rows) / len(rows) for name in names},
        length_stop_share=0.0,
        degeneration=degeneration_metrics([row["text"] for row in rows]),  # no two answers are equal
    )


def _reconstruction(cosine: float, cosine_of_buckets: float) -> Reconstruction:
    return Reconstruction(
        overall=ReconstructionMetrics(cosine=cosine, relative_mse=0.25, nearest_row_accuracy=0.9375),
        by_frequency=tuple(
            FrequencyBucket(
                least=least, most=most, num_rows=1000, share_of_tokens=share, cosine=cosine_of_buckets + share / 10
            )
            for least, most, share in BUCKETS
        ),
    )


def record(
    name: str,
    *,
    arm: str | None = None,
    answers: str | None = None,
    selection: float | None = None,
    config: dict | None = None,
    codec: dict | None = None,
    model: dict | None = None,
    **changes,
) -> ArmRecord:
    """A training that is done; ``config``, ``codec`` and ``model`` are changes of these."""
    arm = arm or name
    kind, lora = INPUTS.get(arm, "adapter"), LORA.get(arm)
    own = {"input": kind, **({"lora": lora} if lora else {})}
    settings = build(ArmConfig, merge(own, config or {}), where="")
    test = _scores(predictions(answers or ANSWERS[arm]))
    selection = SELECTION[arm] if selection is None else selection
    trains, coded = kind == "adapter" or lora is not None, kind != "text"
    training = TrainingResult(
        best_epoch=1, best_score=selection, num_steps=3, num_tokens=1000, seconds=60.0, trained_together=1
    )
    results = ArmResults(
        trainable_parameters=TrainableParameters(
            adapter=1000 if kind == "adapter" else 0, lora=250 * lora["rank"] if lora else 0
        ),
        codec=CODEC.model_copy(update=codec or {}) if coded else None,
        reconstruction_at_start=_reconstruction(0.8125, 0.7) if coded else None,
        reconstruction=_reconstruction(0.875, 0.8) if coded else None,
        training=training if trains else None,
        selection=test.model_copy(update={"score": selection, "exact_match": 0.125, "n": 5}),
        test=test,
        seconds_test=3.0,
    )
    found = _ended(name, arm, "control" if arm in INPUTS else "arm", settings, seconds_total=90.0, results=results)
    if model:
        found = found.model_copy(update={"model": found.model.model_copy(update=model)})
    return found.model_copy(update=changes)


def failed(
    name: str, kind: str = "arm", status: str = "failed", error: str = "ValueError: loss is nan", **changes
) -> ArmRecord:
    settings = build(ArmConfig, {"lora": LORA["broken"]}, where="")
    found = _ended(name, name, kind, settings, status=status, error=error, seconds_total=6.0)
    return found.model_copy(update=changes)


def _ended(name: str, arm: str, kind: str, settings: ArmConfig, **ending) -> ArmRecord:
    return ArmRecord(
        name=name,
        arm=arm,
        kind=kind,
        config=settings.model_dump(mode="json"),
        config_hash=content_hash(settings.model_dump(mode="json")),
        environment=ENVIRONMENT,
        model=MODEL,
        data=QuestionHashes(train="aaaa", selection="bbbb", test="cccc"),
        started_at="2026-01-02T03:04:05Z",
        finished_at="2026-01-02T03:05:35Z",
        resumed=(),
        **{"status": "done", "error": None, "results": None, **ending},
    )


def everything() -> list[ArmRecord]:
    return [*map(record, ANSWERS), failed("broken")]


def folder_of(run: Path, one: ArmRecord) -> Path:
    return arm_folder(run, one.name, one.kind)


def header(records: list[ArmRecord], **changes) -> SweepHeader:
    """The header of a sweep of these trainings, with the plan's own report settings."""
    report = load_experiment(EXPERIMENTS / "phase1a_lora.yaml").report
    found = {
        "format": FORMAT,
        "name": "phase1a_lora_sweep",
        "description": "made by hand",
        "baseline": "baseline",
        "experiment_hash": "eeee",
        "verdict": build(VerdictConfig, {"resamples": 1000}, where="").model_dump(mode="json"),
        "report": report.model_dump(mode="json"),
        "planned": {one.name: one.kind for one in records},
        "model": SWEEP_MODEL,
        "samples": 5000,
        "epochs": 1,
        "environment": ENVIRONMENT,
        "started_at": "2026-01-02T03:04:05Z",
        "finished_at": FINISHED_AT,
    }
    return SweepHeader.model_validate(found | changes)


def write_run(
    run: Path, records: list[ArmRecord] | None = None, answers: dict[str, str] | None = None, **changes
) -> Path:
    """Write a sweep's folder; ``answers`` are those of trainings that differ, ``changes`` entries of its header."""
    answers = answers or {}
    records = everything() if records is None else records
    write_header(run, header(records, **changes))
    for one in records:
        write_arm(folder_of(run, one), one, answers.get(one.name))
    (run / "compare_results.py").write_text(Path(compare.__file__).read_text())
    return run


def write_arm(folder: Path, one: ArmRecord, answers: str | None = None) -> None:
    """Write an arm's files and its record; with ``answers``, those in place of the arm's own."""
    one = one.model_copy(update={"config_hash": content_hash(one.config)})
    if one.status != "done":
        replace_arm_record(folder, one)
        return
    rows = predictions(answers or ANSWERS[one.arm])
    if answers:
        one = with_scores(one, rows)
    folder.mkdir(parents=True, exist_ok=True)
    write_diagnostics(folder, one)
    write_answers(folder, one, rows)


def with_scores(one: ArmRecord, rows: list[dict]) -> ArmRecord:
    """The record with the mean scores of ``rows``, and the hash of nothing yet."""
    means = {name: getattr(_scores(rows), name) for name in ("score", "exact_match", "raw_score", "raw_exact_match")}
    test = one.done.test.model_copy(update=means)
    return one.model_copy(update={"results": one.done.model_copy(update={"test": test})})


def write_answers(folder: Path, one: ArmRecord, rows: list[dict]) -> None:
    """Write the answers of an arm, and its record with the hashes of its files."""
    write_jsonl(folder / "predictions.jsonl", rows)
    replace_arm_record(folder, one.model_copy(update={"files": hashes_of_arm(folder)}))


def edit_answers(folder: Path, change) -> None:
    """Replace an arm's answers, as if it had given them; ``change`` gets a row and returns one."""
    rows = [change(row) for row in read_jsonl(folder / "predictions.jsonl")]
    write_answers(folder, with_scores(read_arm_record(folder), rows), rows)


def write_diagnostics(folder: Path, one: ArmRecord) -> None:
    has_lora = one.done.trainable_parameters.lora > 0
    if one.done.training:
        for step in (1, 2, 3):
            row = {"event": "step", "step": step, "epoch": 1, "loss": 1 / step, "cosine": 0.75 + step / 16}
            row |= {"relative_mse": 0.5, "ce": 4 / step, "kd": None, "lr_adapter": 0.001, "lr_lora": None}
            row |= {"grad_norm_adapter": 0.5, "grad_norm_lora": 0.125 * step if has_lora else None}
            append_jsonl(folder / "diagnostics.jsonl", row | {"tokens_per_second": 1000.0})
    selection, test = one.done.selection, one.done.test
    for split, scores, found in (
        ("selection", selection, {"text_f1": selection.score, "text_em": selection.exact_match}),
        ("test", test, {"test_f1": test.score, "test_em": test.exact_match}),
    ):
        row = {"event": "evaluation", "split": split, "epoch": 1, "n": scores.n, **found}
        append_jsonl(folder / "diagnostics.jsonl", row | {"degeneration": scores.degeneration.model_dump()})


def edit(file: Path, change) -> None:
    """Change a JSON file in place, as if it had been written so; ``change`` gets its content."""
    content = read_json(file)
    is_sealed = content.pop(SEAL, None) is not None
    change(content)
    write_json(file, sealed(content) if is_sealed else content)


def load(file: Path):
    return json.loads(file.read_text(encoding="utf-8"))
