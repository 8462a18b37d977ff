"""One arm's books, from a folder, empty or begun, to the record: diagnostics, selection, the test, the checkpoint."""

from __future__ import annotations

import logging
import os
import time
import traceback
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

import thinwire
from thinwire.checkpoint import save_checkpoint, trainable_parameters
from thinwire.compilation import uncompiled
from thinwire.config import ArmConfig
from thinwire.errors import ThinwireError
from thinwire.evaluate import Prediction, answer_questions, summarize
from thinwire.learner import Learner, Outcome, StepMetrics
from thinwire.lora import StackedLora, adapted_modules
from thinwire.memory import decoding_pass_tokens
from thinwire.model import LanguageModel
from thinwire.plan import Planned
from thinwire.progress import Display, Task, clock
from thinwire.prompts import Encoded
from thinwire.provenance import environment, now
from thinwire.records import append_jsonl, content_hash, write_json, write_jsonl
from thinwire.report.results import record_folder
from thinwire.training_state import TrainingState, look_at
from thinwire.workbench import Workbench

logger = logging.getLogger(__name__)

DIAGNOSTICS_FILE = "diagnostics.jsonl"
STATE_FILE = "unfinished.safetensors"
"""Of an arm between two epochs; gone when the arm is done."""


class ArmRun:
    """An arm while it runs. ``record`` is written into its folder when it is over, however it ends."""

    def __init__(self, bench: Workbench, planned: Planned, folder: Path, display: Display) -> None:
        self.name, self.config, self.folder = planned.name, planned.config, folder
        self._bench, self._display = bench, display
        self._diagnostics = folder / DIAGNOSTICS_FILE
        self._selections: list[dict[str, Any]] = []
        self.seconds = 0.0
        """The arm's own time; of what it shares with others (a training together), its share."""
        config_json = planned.config.model_dump(mode="json")
        self.record: dict[str, Any] = {
            "name": planned.name,
            "arm": planned.arm,
            "kind": planned.kind,
            "status": "running",
            "error": None,
            "config": config_json,
            "config_hash": content_hash(config_json),
            "environment": environment(bench.lm.device),
            "model": bench.lm.identity(),
            "data": bench.questions(planned.config).hashes,
            "started_at": now(),
            "resumed": [],
        }
        self._log("info", "%s %s", planned.kind, planned.name)
        self.epochs_done = planned.epochs_done
        self._begun: TrainingState | None = None
        self._last_table: Tensor | None = None

    def _take_up(self) -> None:
        """Go on after the last whole epoch: what was written down after it is dropped, and will come again."""
        self._begun, books = TrainingState.load(self.folder / STATE_FILE)
        os.truncate(self._diagnostics, books["diagnostics_bytes"])
        (self.folder / "record.json").unlink(missing_ok=True)  # it says how the earlier run ended
        self._selections, self.seconds = books["selections"], books["seconds"]
        self.record |= {"started_at": books["started_at"], "resumed": books["runs"]}
        self._log("info", "%s: going on after epoch %d", self.name, self.epochs_done)

    def _keep(self, state: TrainingState) -> None:
        made_for = _identity(self.config, self.record["data"], self._bench.lm)
        books = {
            "diagnostics_bytes": self._diagnostics.stat().st_size,
            "selections": self._selections,
            "seconds": self.seconds,
            "started_at": self.record["started_at"],
            "runs": [*self.record["resumed"], {"epoch": state.epoch, "environment": self.record["environment"]}],
        }
        try:
            state.save(self.folder / STATE_FILE, made_for, books)
        except (OSError, SafetensorError) as error:
            self._log("warning", "%s: epoch %d cannot be gone on from: %s", self.name, state.epoch, error)

    def prepare(self) -> None:
        """Make what the arm reads, after a look at whether the model has what the arm's LoRA adapts."""
        bench, config = self._bench, self.config
        if self.epochs_done:
            self._take_up()
        adapted_modules(bench.lm.model, config.lora)
        bench.teacher(config)  # if there is none to be had, before the time that training takes
        self.reader = bench.reader(config)
        no_figures = {"reconstruction": None, "by_frequency": None}
        self._at_start = no_figures if config.reads == "text" else bench.at_start(config, self.reader)

    def attach(self, lora: StackedLora | None, number: int) -> None:
        """The arm's factors are number ``number`` of ``lora``."""
        self._lora, self._number = lora, number

    def learner(self, task: Task, arms_beside: int) -> Learner:
        """What ``train`` needs of the arm; its steps are written down, and shown by ``task``."""

        def on_step(metrics: StepMetrics, total: int) -> None:
            append_jsonl(self._diagnostics, {"event": "step", **metrics.as_dict()})
            figures = f"loss {metrics.loss:.4f}  {metrics.tokens_per_second:,.0f} tokens/s"
            if metrics.cosine is not None:
                figures = f"cosine {metrics.cosine:.3f}  {figures}"
            self._log("debug", "step %d/%d  %s", metrics.step, total, figures)
            if arms_beside:
                figures = f"{metrics.tokens_per_second:,.0f} tokens/s"
            task.update(metrics.step, total, figures)

        return Learner(
            config=self.config,
            reader=self.reader,
            on_step=on_step,
            select=self.select,
            keep=self._keep,
            begun=self._begun,
        )

    def select(self, epoch: int) -> float:
        """Score the present weights on the selection split: the figure that epochs and arms are chosen by."""
        questions = self._bench.encoded(self.config).selection
        predictions, seconds = self._answer(f"{self.name}: selection", questions, epoch)
        metrics = summarize(predictions)
        # The only lines with `text_f1`: its largest value in this file is the figure that arms are chosen by.
        self._write_evaluation("selection", epoch, metrics, f1="text_f1", exact_match="text_em")
        self._log("info", "%s epoch %d: selection F1 %.1f, %s", self.name, epoch, 100 * metrics["f1"], clock(seconds))
        self._selections.append(metrics)
        return float(metrics["f1"])

    def finish(self, outcome: Outcome | None) -> None:
        """Score the best epoch's weights, once, on the test split; save them; write the record."""
        bench, config = self._bench, self.config
        epoch = outcome.best_epoch if outcome else 0
        predictions, seconds = self._answer(f"{self.name}: test", bench.encoded(config).test, epoch)
        metrics = summarize(predictions)
        self._write_evaluation("test", epoch, metrics, f1="test_f1", exact_match="test_em")
        write_jsonl(self.folder / "predictions.jsonl", (prediction.as_dict() for prediction in predictions))
        if outcome:
            self.seconds += outcome.seconds
            save_checkpoint(self.folder / "checkpoint", self.reader, self._lora, self._number)
        self._log("info", "%s: test F1 %.1f, EM %.1f", self.name, 100 * metrics["f1"], 100 * metrics["exact_match"])
        at_end = self._at_start
        if outcome and config.reads == "adapter":
            at_end = bench.figures(config, self.reader)
        trained = trainable_parameters(self.reader, self._lora, self._number)
        self.record |= {
            "trainable_parameters": trained if outcome else dict.fromkeys(trained, 0),
            "codec": self._codec_figures() if config.reads != "text" else None,
            "reconstruction_at_start": self._at_start["reconstruction"],
            "reconstruction": at_end["reconstruction"],
            "reconstruction_by_frequency_at_start": self._at_start["by_frequency"],
            "reconstruction_by_frequency": at_end["by_frequency"],
            "training": outcome and asdict(outcome),
            "selection": self._selections[epoch - 1 if outcome else 0],
            "test": metrics,
            "seconds_test": seconds,
        }
        self._end("done")

    def fail(self, error: Exception) -> None:
        """Record what ended the arm, if it has not ended yet."""
        if self.record["status"] == "running":
            self._log("error", "%s failed: %s", self.name, error)
            self._log("debug", "%s", "".join(traceback.format_exception(error)))
            self._end("failed", f"{type(error).__name__}: {error}")

    def cancel(self) -> None:
        """Record that somebody interrupted the arm, if it has not ended yet."""
        if self.record["status"] == "running":
            self._end("cancelled", "interrupted")

    def _end(self, status: str, error: str | None = None) -> None:
        self.record |= {"status": status, "error": error, "finished_at": now(), "seconds_total": self.seconds}
        write_json(self.folder / "record.json", self.record)
        if status == "done":
            (self.folder / STATE_FILE).unlink(missing_ok=True)
            for half in self.folder.glob(f".{STATE_FILE}.*"):  # what a kill leaves of one that is being written
                half.unlink()

    def _answer(self, label: str, questions: list[Encoded], epoch: int) -> tuple[list[Prediction], float]:
        """Answer with the weights of ``epoch``, folded into a table and merged: what an exported arm would say."""
        started = time.perf_counter()
        bench = self._bench
        alone = self._lora.alone(self._number) if self._lora else nullcontext()
        with self._display.task(label) as task, uncompiled(), alone:
            predictions = answer_questions(
                bench.lm,
                self._table(epoch),
                bench.encoded(self.config).encoder,
                questions,
                max_new_tokens=self.config.evaluation.max_new_tokens,
                pass_tokens=decoding_pass_tokens(bench.lm, self.config.evaluation.pass_tokens, bench.memory_share),
                stop=self.config.evaluation.stop,
                score=self.config.evaluation.score,
                on_progress=task.update,
            )
        seconds = time.perf_counter() - started
        self.seconds += seconds
        return predictions, seconds

    def _table(self, epoch: int) -> Tensor:
        """What the model reads with the weights of ``epoch``. That of the last one is kept: if no epoch was better, the
        test follows its selection."""
        if epoch < self.config.training.epochs:
            self._last_table = None  # two might not fit
            return self.reader.table(self._bench.lm.dtype)
        if self._last_table is None:
            self._last_table = self.reader.table(self._bench.lm.dtype)
        return self._last_table

    def _write_evaluation(self, split: str, epoch: int, metrics: dict[str, Any], *, f1: str, exact_match: str) -> None:
        line = {"event": "evaluation", "split": split, "epoch": epoch, "n": metrics["n"]}
        scores = {f1: metrics["f1"], exact_match: metrics["exact_match"], "collapse": metrics["collapse"]}
        append_jsonl(self._diagnostics, line | scores)

    def _codec_figures(self) -> dict[str, Any]:
        codec, path = self._bench.codec(self.config)
        return {
            "file": f"codec/{path.name}",
            "code_width": codec.code_width,
            "code_bits": codec.code_bits,
            "parameters": sum(tensor.numel() for tensor in codec.state().values()),
            "bytes": codec.num_bytes(with_decoder=self.config.reads == "codec"),
            **codec.figures(),
            "alarms": codec.alarms(),
        }

    def _log(self, level: str, message: str, *values: object) -> None:
        # Named, so that the logs of arms that train together can be told apart.
        getattr(logger, level)(message, *values, extra={"arm": self.name})


def as_left(planned: Planned, sweep_folder: Path, bench: Workbench) -> Planned:
    """``planned`` with the epochs that an unfinished run of the same settings, questions, model and versions left of
    it."""
    folder = record_folder(sweep_folder, planned.name, planned.kind)
    made_for = _identity(planned.config, bench.questions(planned.config).hashes, bench.lm)
    found, diagnostics = look_at(folder / STATE_FILE, made_for), folder / DIAGNOSTICS_FILE
    if found and diagnostics.exists() and diagnostics.stat().st_size >= found[1]["diagnostics_bytes"]:
        return replace(planned, epochs_done=found[0])
    return replace(planned, epochs_done=0)


def _identity(config: ArmConfig, data: dict[str, str], lm: LanguageModel) -> str:
    made_by = [thinwire.__version__, torch.__version__, lm.device.type]
    return content_hash([config.model_dump(mode="json"), data, lm.identity(), made_by])


def check_done(
    record: dict[str, Any], config: ArmConfig, data: dict[str, str], lm: LanguageModel | None = None
) -> None:
    """Refuse to count a finished arm of another configuration, model or data as an arm of this sweep.

    Args:
        data: content hash of each split of the arm's questions.
        lm: the sweep's model; without it, models are not compared.
    """
    config_now = config.model_dump(mode="json")
    if record["config_hash"] != content_hash(config_now):
        differing = sorted(key for key in config_now if record["config"].get(key) != config_now[key])
        what = f"other settings ({', '.join(differing)})"
    elif lm and (then := record["model"]) != (model := lm.identity()):
        keys = [key for key in {**then, **model} if then.get(key) != model.get(key)]
        what = f"another model ({'; '.join(f'{key} {then.get(key)}, now {model.get(key)}' for key in keys)})"
    elif record["data"] != data:
        what = "other questions"
    else:
        return
    raise ThinwireError(
        f"{record['name']} was finished with {what}; results of two experiments must not mix: "
        "use the same settings, or another output folder"
    )
