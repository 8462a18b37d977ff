"""One arm from start to record: train, choose the epoch, score once on the test split, save, report."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from thinwire.checkpoint import save_checkpoint, trainable_parameters
from thinwire.config import ArmConfig
from thinwire.determinism import deterministic_kernels, seeded
from thinwire.errors import ThinwireError
from thinwire.evaluate import Prediction, answer_questions, summarize
from thinwire.lora import AttachedLora, attached
from thinwire.memory import decoding_pass_tokens
from thinwire.progress import Display, clock
from thinwire.prompts import Encoded
from thinwire.provenance import environment, now
from thinwire.reader import Reader
from thinwire.records import append_jsonl, content_hash, write_json, write_jsonl
from thinwire.train import Outcome, StepMetrics, train
from thinwire.workbench import Workbench

logger = logging.getLogger(__name__)

Kind = Literal["arm", "control"]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One training to be done: an arm with one of its seeds, or a control."""

    name: str
    """Of its folder: the arm's, with the seed behind it where there are several."""
    arm: str
    kind: Kind
    config: ArmConfig


def run_arm(bench: Workbench, planned: Planned, folder: Path, display: Display) -> dict[str, Any]:
    """Run one arm in its empty ``folder`` and return its record, which is also written there last.

    A failure is recorded, not raised: one arm's error must not end a sweep. An interruption is recorded and raised.
    """
    folder.mkdir(parents=True)
    started = time.perf_counter()
    name, config = planned.name, planned.config
    record: dict[str, Any] = {
        "name": name,
        "arm": planned.arm,
        "kind": planned.kind,
        "status": "failed",
        "error": None,
        "config": config.model_dump(mode="json"),
        "config_hash": content_hash(config.model_dump(mode="json")),
        "environment": environment(bench.lm.device),
        "model": {"name": bench.lm.name, "revision": bench.lm.revision, "dtype": str(bench.lm.dtype)[6:]},
        "data": bench.questions(config).hashes(),
        "started_at": now(),
    }
    with _logging_to(folder):
        logger.info("%s %s", planned.kind, name)
        try:
            with deterministic_kernels():
                record.update(_run(bench, name, config, folder, display))
            record["status"] = "done"
        except KeyboardInterrupt:
            record.update(status="cancelled", error="interrupted")
            raise
        except Exception as error:  # noqa: BLE001 - recorded with its traceback; the sweep goes on and exits with 1
            record["error"] = f"{type(error).__name__}: {error}"
            logger.error("%s failed: %s", name, error)
            logger.debug("%s", traceback.format_exc())
        finally:
            record["finished_at"] = now()
            record["seconds_total"] = time.perf_counter() - started
            write_json(folder / "record.json", record)
    return record


def _run(bench: Workbench, name: str, config: ArmConfig, folder: Path, display: Display) -> dict[str, Any]:
    questions = bench.encoded(config)
    reader = bench.reader(config)
    at_start = by_frequency = None
    if config.reads != "text":
        at_start, by_frequency = bench.measure(config, reader).as_dict(), bench.measure_by_frequency(config, reader)
    diagnostics = folder / "diagnostics.jsonl"
    with seeded(config.seed, "lora"), attached(bench.lm.model, config.lora) as lora:
        evaluator = _Evaluator(bench, config, reader, display)
        selections: list[dict[str, Any]] = []

        def select(epoch: int) -> float:
            predictions, seconds = evaluator(f"{name}: selection", questions.selection)
            metrics = summarize(predictions)
            # The only lines with `text_f1`: its largest value in this file is the figure that arms are chosen by.
            append_jsonl(
                diagnostics,
                {"event": "evaluation", "split": "selection", "epoch": epoch, "n": metrics["n"]}
                | {
                    "text_f1": metrics["f1"],
                    "text_em": metrics["exact_match"],
                    "collapse": metrics["collapse"],
                },
            )
            logger.info("%s epoch %d: selection F1 %.1f, %s", name, epoch, 100 * metrics["f1"], clock(seconds))
            selections.append(metrics)
            return float(metrics["f1"])

        outcome: Outcome | None = None
        if config.has_trainable:
            outcome = _train(bench, name, config, reader, lora, display, diagnostics, select, questions.train)
        else:
            select(0)
        best = selections[outcome.best_epoch - 1 if outcome else 0]
        predictions, seconds = evaluator(f"{name}: test", questions.test)
        metrics = summarize(predictions)
        append_jsonl(
            diagnostics,
            {
                "event": "evaluation",
                "split": "test",
                "epoch": outcome.best_epoch if outcome else 0,
                "n": metrics["n"],
            }
            | {"test_f1": metrics["f1"], "test_em": metrics["exact_match"], "collapse": metrics["collapse"]},
        )
        write_jsonl(folder / "predictions.jsonl", (prediction.as_dict() for prediction in predictions))
        if outcome:
            save_checkpoint(folder / "checkpoint", reader, lora)
        logger.info("%s: test F1 %.1f, EM %.1f", name, 100 * metrics["f1"], 100 * metrics["exact_match"])
        codec = bench.codec(config) if config.reads != "text" else None
        return {
            "trainable_parameters": trainable_parameters(reader, lora) if outcome else {"adapter": 0, "lora": 0},
            "codec": codec
            and {
                "file": f"codec/{codec[1].name}",
                "code_width": config.codec.code_width(bench.lm.table.shape[1]),
                "parameters": sum(tensor.numel() for tensor in codec[0].state().values()),
                **codec[0].figures(),
            },
            "reconstruction_at_start": at_start,
            "reconstruction": bench.measure(config, reader).as_dict() if outcome and at_start else at_start,
            "reconstruction_by_frequency_at_start": by_frequency,
            "reconstruction_by_frequency": bench.measure_by_frequency(config, reader) if at_start else None,
            "training": outcome and asdict(outcome),
            "selection": best,
            "test": metrics,
            "seconds_test": seconds,
        }


def _train(
    bench: Workbench,
    name: str,
    config: ArmConfig,
    reader: Reader,
    lora: AttachedLora | None,
    display: Display,
    diagnostics: Path,
    select: Callable[[int], float],
    questions: list[Encoded],
) -> Outcome:
    with display.task(name) as task:

        def on_step(metrics: StepMetrics, total: int) -> None:
            append_jsonl(diagnostics, {"event": "step", **metrics.as_dict()})
            figures = f"loss {metrics.loss:.4f}  {metrics.tokens_per_second:,.0f} tokens/s"
            if metrics.cosine is not None:
                figures = f"cosine {metrics.cosine:.3f}  {figures}"
            task.update(metrics.step, total, figures)
            logger.debug("step %d/%d  %s", metrics.step, total, figures)

        return train(
            bench.lm,
            reader,
            lora,
            questions,
            config,
            bench.mean_square(config),
            on_step=on_step,
            select=select,
        )


class _Evaluator:
    """Answers questions with the arm's present weights, folded into a table."""

    def __init__(self, bench: Workbench, config: ArmConfig, reader: Reader, display: Display) -> None:
        self._bench, self._config, self._reader, self._display = bench, config, reader, display
        self._pass_tokens = decoding_pass_tokens(bench.lm, config.evaluation.pass_tokens)

    def __call__(self, label: str, questions: list[Encoded]) -> tuple[list[Prediction], float]:
        started = time.perf_counter()
        table: Tensor = self._reader.table(self._bench.lm.dtype)
        with self._display.task(label) as task:
            predictions = answer_questions(
                self._bench.lm,
                table,
                self._bench.encoded(self._config).encoder,
                questions,
                max_new_tokens=self._config.evaluation.max_new_tokens,
                pass_tokens=self._pass_tokens,
                on_progress=task.update,
            )
        return predictions, time.perf_counter() - started


@contextmanager
def _logging_to(folder: Path) -> Iterator[None]:
    """Send this package's messages, down to single steps, to ``training_<time>.log`` for the length of the block."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    handler = logging.FileHandler(folder / f"training_{stamp}.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.DEBUG)
    package = logging.getLogger("thinwire")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        package.setLevel(level)
        package.removeHandler(handler)
        handler.close()


def check_done(record: dict[str, Any], config: ArmConfig, bench: Workbench) -> None:
    """Refuse to count a finished arm of another configuration, model or data as an arm of this sweep."""
    config_now = config.model_dump(mode="json")
    if record["config_hash"] != content_hash(config_now):
        differing = sorted(key for key in config_now if record["config"].get(key) != config_now[key])
        what = f"other settings ({', '.join(differing)})"
    elif record["model"]["revision"] != bench.lm.revision or record["model"]["name"] != bench.lm.name:
        what = f"another model ({record['model']['name']}, now {bench.lm.name})"
    elif record["data"] != bench.questions(config).hashes():
        what = "other questions"
    else:
        return
    raise ThinwireError(
        f"{record['name']} was finished with {what}; results of two experiments must not mix: "
        "use the same settings, or another output folder"
    )
