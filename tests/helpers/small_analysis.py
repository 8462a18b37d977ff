"""A small analysis and its series, made by hand, for the tests of everything that renders them."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from sweep_folder import SWEEP_MODEL
from thinwire.evaluation.extractors import ExtractorScore
from thinwire.report.analysis_record import (
    AnalysedSweep,
    Analysis,
    CompressionSizes,
    Gain,
    InteractionSummary,
    VerdictSummary,
    WireSize,
)
from thinwire.report.rows import AnalysisRow, AnswerExample, AnswerSummary, Degeneration, Difference, ShareOfCeiling
from thinwire.results.arm_record import Environment
from thinwire.tasks.table import TASKS
from thinwire.tasks.task import TaskName

HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)> & \u2028 </script>'


def difference(estimate: float, low: float | None = None, high: float | None = None) -> Difference:
    known = low is not None and high is not None
    return Difference(
        estimate=estimate,
        low=low,
        high=high,
        pointwise_low=(estimate + low) / 2 if known else None,
        pointwise_high=(estimate + high) / 2 if known else None,
        p_adjusted=0.0125 if known else None,
        reason=None if known else "one question",
    )


def interaction(
    name: str, gain: tuple[float, float, float], reference: tuple[float, float, float], **changes: Any
) -> InteractionSummary:
    """Of estimates with their ends; the difference is exact, and its ends are half a point to either side."""
    ends = ("estimate", "low", "high")
    difference = gain[0] - reference[0]
    found: dict[str, Any] = {
        "arm": name,
        "baseline": "baseline",
        "reference_arm": "uncompressed_lora",
        "reference_baseline": "uncompressed",
        "of_compression": True,
        "gain": Gain(**dict(zip(ends, gain, strict=True))),
        "reference_gain": Gain(**dict(zip(ends, reference, strict=True))),
        "difference": Gain(estimate=difference, low=difference - 0.005, high=difference + 0.005),
        "p_adjusted": 0.0125,
        "reason": None,
        "covers": "questions",
    }
    return InteractionSummary(name=name, **found | changes)


def share(estimate: float, low: float | None = None, high: float | None = None) -> ShareOfCeiling:
    return ShareOfCeiling(estimate=estimate, low=low, high=high, num_seeds=1)


COLLAPSED = Degeneration(
    finding="collapsed",
    seed=0,
    metrics=AnswerSummary(
        distinct_share=0.96875,
        top_first_word="the",
        top_first_word_share=0.75,
        first_word_entropy=1.5,
        run_on_share=0.5,
    ),
    reasons=("repeated 31.0% (limit 10.0%)",),
)


def row(name: str, f1: float, **changes: Any) -> AnalysisRow:
    rank = changes.get("rank")
    metrics = AnswerSummary(
        distinct_share=0.975,
        top_first_word="the",
        top_first_word_share=0.0625,
        first_word_entropy=7.9375,
        run_on_share=0.015625,
    )
    degeneration = Degeneration(
        finding="healthy",
        seed=0,
        metrics=metrics,
        examples=(AnswerExample(id="q1", question=HOSTILE, golds=("<b>gold</b>",), raw_text="<i>raw\x00</i>"),),
    )
    found = {
        "kind": "arm",
        "status": "done",
        "input": "adapter",
        "num_layers": 0,
        "settings": {"lora.rank": rank or 0},
        "n": 500,
        "num_seeds": 1,
        "params": 1000 + 250 * (rank or 0),
        "adapter_params": 1000,
        "lora_params": 250 * (rank or 0),
        "matrix_bytes": 21468672,
        "code_bits": 2304,
        "minutes": 1.25,
        "score": f1,
        "em": f1 / 2,
        "raw_score": f1,
        "raw_em": f1 / 2,
        "selection_score": f1 - 0.03125,
        "cosine_at_start": 0.9735,
        "cosine": 0.9715,
        "rare_cosine": 0.8225,
        "relative_mse": 0.0625,
        "nearest_row_accuracy": 0.9984,
        "degeneration": degeneration,
        "extractors": {
            "first_line": ExtractorScore(f1=f1, exact_match=f1 / 2, changed_share=0.0),
            "first_clause": ExtractorScore(f1=f1 + 0.0078125, exact_match=f1 / 4, changed_share=0.25),
        },
    }
    return AnalysisRow(name=name, **found | changes)


def lora(name: str, f1: float, rank: int, alpha: float, layers: Any, num_layers: int, **changes: Any) -> AnalysisRow:
    gain = f1 - 0.25
    settings = {"rank": rank, "alpha": alpha, "layers": layers, "num_layers": num_layers}
    settings["settings"] = {"lora.rank": rank, "lora.alpha": alpha, "lora.layers": num_layers}
    judged = {
        "score_difference": difference(gain, gain - 0.03125, gain + 0.03125),
        "em_difference": difference(gain / 2, gain / 2 - 0.03125, gain / 2 + 0.03125),
        "observed_tier": "strong",
        "supported_tier": "significant",
        "share_of_ceiling": share(f1 / 0.5, f1 / 0.5 - 0.0625, f1 / 0.5 + 0.0625),
    }
    return row(name, f1, **{**settings, **judged, **changes})


def rows() -> list[AnalysisRow]:
    unresolved = {"observed_tier": "marginal", "supported_tier": "unresolved", "questions_needed": 2310}
    failed = {"name": "r64_a64_full", "kind": "arm", "status": "failed", "error": "ValueError: <loss> is nan"}
    text = {"input": "text", "cosine": None, "matrix_bytes": None, "code_bits": None}
    return [
        row("baseline", 0.25, is_baseline=True),
        lora("r4_a8_layers8", 0.28125, 4, 8.0, 8, 8, **unresolved),
        lora("r8_a8_layers12", 0.3125, 8, 8.0, 12, 12),
        lora("r8_a32_layers12", 0.328125, 8, 32.0, 12, 12),
        lora("r16_a32_full", 0.375, 16, 32.0, "all", 30, best=True),
        AnalysisRow(**failed, input="adapter", num_layers=0, minutes=0.5),
        row("text_lora", 0.5, kind="control", rank=16, alpha=32.0, layers="all", num_layers=30, **text),
        row("text_zero_shot", 0.15625, kind="control", params=0, **text),
        row("codec_only", 0.03125, kind="control", input="codec", cosine=0.894, params=0, degeneration=COLLAPSED),
    ]


def example() -> Analysis:
    """An analysis with every kind of row."""
    return Analysis(
        sweep=AnalysedSweep(
            name="phase1a_lora_sweep",
            description="with & without LoRA",
            baseline="baseline",
            experiment_hash="eeee",
            model=SWEEP_MODEL.model_copy(update={"name": "smollm2-135m", "revision": "b179c9523d0e"}),
            samples=5000,
            epochs=3,
            environment=Environment(
                thinwire="0.1.0",
                git_commit="f" * 40,
                git_dirty=True,
                python="3.12.3",
                packages={"torch": "2.11.0", "peft": "0.21.0"},
                platform="Linux x86_64",
                device="NVIDIA H200",
                cpu_threads=16,
                cpus=32,
            ),
            started_at="2026-01-02T03:04:05Z",
            finished_at="2026-01-02T04:04:05Z",
            seconds=3600.0,
            heading="2.9 LoRA",
            motivation="Can LoRA help?",
        ),
        thresholds={"marginal": 0.02, "significant": 0.05, "strong": 0.10},
        confidence=0.95,
        resamples=1000,
        verdict=VerdictSummary(
            headline="LoRA gains: at least significant",
            sentence="The chosen arm gains 12.5 points.",
            best="r16_a32_full",
            judged_by="r16_a32_full",
            tier="strong",
            supported_tier="significant",
            helped=True,
            questions_needed=None,
            baseline_check="25.0 against 15.6 for text",
            uncertainty_covers="questions only",
            about_lora=True,
            next_steps=("Use best LoRA config as baseline", "Update REPORT.md"),
        ),
        rows=tuple(rows()),
        bytes=CompressionSizes(
            arm="r16_a32_full",
            vocabulary=49152,
            embedding_width=576,
            code_width=144,
            matrix_bytes_original=56623104,
            matrix_bytes_codes=14155776,
            matrix_bytes_adapter=6981120,
            matrix_bytes_codec=331776,
            matrix_bytes_total=21468672,
            wire_bits=(
                WireSize(form="bf16 code", bits=2304, larger_than_id=True),
                WireSize(form="token id", bits=16, larger_than_id=False),
                WireSize(form="UTF-8 text", bits=34.5, larger_than_id=True),
            ),
        ),
        codecs=(),
        notes=("one seed an arm",),
    )


# An analysis is immutable: these make another one.


def with_rows(analysis: Analysis, rows: Iterable[AnalysisRow]) -> Analysis:
    return analysis.model_copy(update={"rows": tuple(rows)})


def with_row(analysis: Analysis, name: str, /, **changes: Any) -> Analysis:
    """The analysis with changes of one row."""
    assert name in [row.name for row in analysis.rows]
    return with_rows(analysis, (row.model_copy(update=changes) if row.name == name else row for row in analysis.rows))


def with_each(analysis: Analysis, change: Callable[[AnalysisRow], dict[str, Any]]) -> Analysis:
    """The analysis with changes of every row, which ``change`` makes from it."""
    return with_rows(analysis, (row.model_copy(update=change(row)) for row in analysis.rows))


def without(analysis: Analysis, *names: str) -> Analysis:
    return with_rows(analysis, (row for row in analysis.rows if row.name not in names))


def only(analysis: Analysis, *names: str) -> Analysis:
    return with_rows(analysis, (row for row in analysis.rows if row.name in names))


def with_verdict(analysis: Analysis, **changes: Any) -> Analysis:
    return analysis.model_copy(update={"verdict": analysis.verdict.model_copy(update=changes)})


def with_sweep(analysis: Analysis, **changes: Any) -> Analysis:
    return analysis.model_copy(update={"sweep": analysis.sweep.model_copy(update=changes)})


def with_sizes(analysis: Analysis, **changes: Any) -> Analysis:
    return analysis.model_copy(update={"bytes": analysis.bytes.model_copy(update=changes)})


def changed(name: str, f1: float, size: int, cosine: float = 0.96875, best: bool = False, **changes: Any) -> Any:
    """An arm of the study below; names of settings are written with ``__`` for the dot."""
    standard = {"prompt.style": "auto", "codec.ratio": 4.0, "supervision.k_tokens": 4, "supervision.ce_weight": 0.0625}
    settings = {**standard, "lora.rank": 0, **{path.replace("__", "."): value for path, value in changes.items()}}
    if settings["supervision.ce_weight"] == 0:
        del settings["supervision.k_tokens"]
    found: dict[str, Any] = {
        "settings": settings,
        "best": best,
        "matrix_bytes": size,
        "code_bits": int(9216 / settings["codec.ratio"]),
        "cosine": cosine,
        "params": size + 250 * settings["lora.rank"],
    }
    if settings == {**standard, "lora.rank": 0}:
        return row(name, f1, is_baseline=True, **found)
    gain = f1 - 0.25
    if settings["lora.rank"]:
        found |= {"rank": settings["lora.rank"], "alpha": 32.0, "layers": "all", "num_layers": 30}
    return row(name, f1, score_difference=difference(gain, gain - 0.03125, gain + 0.03125), **found)


def study() -> Analysis:
    """An analysis of arms that differ in more than LoRA: lines along two settings, and single changes of four kinds."""
    arms = [
        changed("ratio2", 0.28125, 3000, 0.984375, codec__ratio=2.0),
        changed("start", 0.25, 2000),
        changed("ratio8", 0.1875, 1500, 0.9375, codec__ratio=8.0),
        changed("ratio2_lora", 0.40625, 3000, 0.984375, best=True, codec__ratio=2.0, lora__rank=16),
        changed("start_lora", 0.375, 2000, lora__rank=16),
        changed("ratio8_lora", 0.3125, 1500, 0.9375, codec__ratio=8.0, lora__rank=16),
        changed("ce0", 0.125, 2000, supervision__ce_weight=0),
        changed("ce0_5", 0.28125, 2000, supervision__ce_weight=0.5),
        changed("ce1", 0.3125, 2000, supervision__ce_weight=1),
        changed("k8", 0.265625, 2000, supervision__k_tokens=8),
        changed("plain", 0.1875, 2000, prompt__style="plain"),
    ]
    controls = [found for found in rows() if found.kind == "control"]
    return with_rows(with_sizes(example(), matrix_bytes_original=3200), [*arms, *controls])


def rates() -> Analysis:
    """An analysis of ranks 0, 4, 8 and 16, of which the last three are trained at two rates."""
    arms = [row("base", 0.25, is_baseline=True)]
    for rate, gain in ((0.001, 0.0), (0.002, 0.0625)):
        for rank in (4, 8, 16):
            settings = {"lora.rank": rank, "training.lora_lr": rate}
            arms.append(lora(f"r{rank}_{rate}", 0.25 + rank / 64 + gain, rank, 8.0, "all", 30, settings=settings))
    return with_rows(example(), arms)


def answer(text: str, f1: float) -> dict[str, Any]:
    return {"text": text, "score": f1}


def questions() -> list[dict[str, Any]]:
    """60: numbers 0 to 9 fixed, 10 to 14 broken, the others right or half right under both; the first is hostile."""
    found = []
    for number in range(60):
        baseline, best = (0.0, 1.0) if number < 10 else (1.0, 0.5) if number < 15 else (number % 2, number % 2)
        found.append(
            {
                "id": f"id{number:02}",
                "question": f"Which number is number {number}?",
                "golds": [f"gold {number}", f"gold {number}", "zebra" if number == 20 else "other"],
                "text_control": answer("The answer", 0.25) if number % 3 else None,
                "baseline": answer(f"base {number}", float(baseline)),
                "best": answer(f"best {number}", float(best)),
            }
        )
    found[0] |= {"question": HOSTILE, "best": answer("<b>bold</b>", 1.0)}
    return found


def series() -> dict[str, Any]:
    def curve(shift: float, has_lora: bool = True) -> dict[str, Any]:
        steps = list(range(1, 9))
        return {
            "step": steps,
            "loss": [1 / step + shift for step in steps],
            "cosine": [0.9 + step / 100 for step in steps],
            "ce": [4 / step for step in steps],
            "grad_norm_adapter": [0.5 for _ in steps],
            "grad_norm_lora": [0.01 * step for step in steps] if has_lora else [None for _ in steps],
        }

    buckets = [("1-9", 0.125, 0.75, 0.875), ("10-99", 0.25, 0.875, 0.9375), ("100+", 0.625, 0.9375, 0.984375)]
    return {
        "training": {"baseline": curve(0, False), "r4_a8_layers8": curve(0.1), "r16_a32_full": curve(0.2)},
        "frequency": [
            dict(zip(("bucket", "share_of_tokens", "linear_cosine", "start_cosine"), bucket, strict=True))
            for bucket in buckets
        ],
        "questions": questions(),
    }


def big_series(num: int = 10_570) -> dict[str, Any]:
    """As many questions as SQuAD's development set, about as long as its own."""
    found = series()
    words = [hashlib.sha256(str(n).encode()).hexdigest()[:7] for n in range(3000)]
    some = lambda n, count: " ".join(words[(n * 31 + k * 97) % 3000] for k in range(count))  # noqa: E731
    found["questions"] = [
        {
            "id": hashlib.sha256(f"id {n}".encode()).hexdigest()[:24],
            "question": some(n, 9),
            "golds": [some(n + 1, 3), some(n + 2, 3), some(n + 1, 3)],
            "text_control": {"text": some(n + 3, 12), "score": 1 / 3},
            "baseline": {"text": some(n + 4, 4), "score": 1 / 7},
            "best": {"text": some(n + 5, 4), "score": 1.0},
        }
        for n in range(num)
    ]
    return found


def of_task(analysis: Analysis, name: TaskName) -> Analysis:
    """The analysis as that of another task: without what is measured of the model's own texts where there are none."""
    task = TASKS[name]
    found = with_sweep(analysis, task=name, metric=task.label)
    return found if task.has_texts else with_each(found, lambda row: {"degeneration": None, "extractors": {}})
