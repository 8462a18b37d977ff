"""Running arms: alone, or together where they see the same questions in the same order."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from thinwire.arm import ArmRun, as_left
from thinwire.compilation import compiled_layers
from thinwire.determinism import deterministic_kernels
from thinwire.errors import ThinwireError
from thinwire.learner import Outcome
from thinwire.lora import StackedLora, attached, breadth
from thinwire.memory import is_tried, training_pass_tokens
from thinwire.plan import Planned
from thinwire.progress import Display
from thinwire.report.results import record_folder
from thinwire.train import can_train_together, train
from thinwire.workbench import Workbench

logger = logging.getLogger(__name__)


def group(planned: Sequence[Planned], most: int) -> list[list[Planned]]:
    """Arms that can train together, in groups of at most ``most`` and of about equal size: a few arms take a GPU
    hardly less time than some more. Within a group, those of which LoRA adapts the most come first."""
    alike: list[list[Planned]] = []
    for one in planned:
        for others in alike:
            if all(_can_train_together(one, other) for other in others):
                others.append(one)
                break
        else:
            alike.append([one])
    return [part for members in alike for part in _evenly(members, most)]


def _can_train_together(one: Planned, other: Planned) -> bool:
    return one.epochs_done == other.epochs_done and can_train_together(one.config, other.config)


def _evenly(members: list[Planned], most: int) -> Iterator[list[Planned]]:
    num_parts = -(-len(members) // most)
    for part in range(num_parts):
        some = members[part * len(members) // num_parts : (part + 1) * len(members) // num_parts]
        yield sorted(some, key=lambda one: breadth(one.config.lora), reverse=True)


def run_group(bench: Workbench, runs: Sequence[Planned], sweep_folder: Path, display: Display) -> None:
    """Run arms together, or one after the other should all of them fail together (memory, say), each in its folder
    below ``sweep_folder``; what an unfinished run left there is gone on with, or set aside."""
    folders = [record_folder(sweep_folder, run.name, run.kind) for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folder.exists() and not run.epochs_done:
            _set_aside(folder, sweep_folder / "unfinished")
    records = run_arms(bench, runs, folders, display)
    if len(runs) > 1 and all(record["status"] == "failed" for record in records):
        logger.warning("%d arms failed together (%s); running them one by one", len(runs), records[0]["error"])
        for run in runs:
            run_group(bench, [as_left(run, sweep_folder, bench)], sweep_folder, display)


def _set_aside(folder: Path, attic: Path) -> None:
    """Move what an unfinished arm left out of the way, where it cannot be gone on with."""
    number = 1
    while (target := attic / f"{folder.name}-{number}").exists():
        number += 1
    attic.mkdir(exist_ok=True)
    folder.rename(target)
    logger.info("moved what the unfinished %s left to %s", folder.name, target)


def run_arms(
    bench: Workbench, planned: Sequence[Planned], folders: Sequence[Path], display: Display
) -> list[dict[str, Any]]:
    """Run one arm, or several that can train together, each in its own folder: an empty one, or that of an unfinished
    run which it goes on with.

    A failure is recorded, not raised: one arm's error must not end a sweep. An interruption is recorded and raised.

    Returns:
        The arms' records, which are also written into their folders, each as soon as its arm is over.
    """
    with ExitStack() as logs:
        for one, folder in zip(planned, folders, strict=True):
            folder.mkdir(parents=True, exist_ok=one.epochs_done > 0)
            logs.enter_context(_logging_to(folder, one.name))
        runs = [ArmRun(bench, one, folder, display) for one, folder in zip(planned, folders, strict=True)]
        try:
            with deterministic_kernels():
                _run(bench, runs, display)
        except KeyboardInterrupt:
            for run in runs:
                run.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - recorded with its traceback; the sweep goes on and exits with 1
            for run in runs:
                run.fail(error)
    return [run.record for run in runs]


def _run(bench: Workbench, runs: Sequence[ArmRun], display: Display) -> None:
    ready = _prepared(runs)
    if not ready:
        return
    configs = [run.config for run in ready]
    with attached(bench.lm.model, [c.lora for c in configs], [c.seed for c in configs]) as lora:
        for number, run in enumerate(ready):
            run.attach(lora, number)
        if configs[0].has_trainable:
            outcomes = _train(bench, ready, lora, display)
        else:
            (alone,) = ready
            alone.select(0)
            outcomes = [None]
        for run, outcome in zip(ready, outcomes, strict=True):
            with _failing_alone(run):
                if isinstance(outcome, ThinwireError):
                    raise outcome
                run.finish(outcome)


def _prepared(runs: Sequence[ArmRun]) -> list[ArmRun]:
    """Those that can begin; the time that it takes is shared, for codecs and starting adapters are."""
    started = time.perf_counter()
    for run in runs:
        with _failing_alone(run):
            run.prepare()
    share = (time.perf_counter() - started) / len(runs)
    for run in runs:
        run.seconds += share
    return [run for run in runs if run.record["status"] == "running"]


@contextmanager
def _failing_alone(run: ArmRun) -> Iterator[None]:
    """What goes wrong in here ends this arm; those beside it go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - recorded with its traceback
        run.fail(error)


def _train(
    bench: Workbench, runs: Sequence[ArmRun], lora: StackedLora | None, display: Display
) -> list[Outcome | ThinwireError | None]:
    lm, first = bench.lm, runs[0].config
    questions = bench.encoded(first).train
    label = runs[0].name if len(runs) == 1 else f"{len(runs)} arms"
    epochs_left = first.training.epochs > runs[0].epochs_done
    if epochs_left and len(runs) > 1:
        logger.info("training %d arms together: %s", len(runs), ", ".join(run.name for run in runs))
    # All epochs: an arm that goes on after some must be compiled if it was in those, or its sums round otherwise.
    num_tokens = len(runs) * bench.training_tokens(first)
    if epochs_left:
        logger.info("%s: training begins", label)
    steps_done = runs[0].epochs_done * -(-len(questions) // first.training.batch_size)
    compilation = compiled_layers(lm, epochs_left and bench.compile_layers, num_tokens)
    with display.task(label, before=steps_done) as task, compilation as compiled:
        learners = [run.learner(task, arms_beside=len(runs) - 1) for run in runs]
        replay, mean_square = bench.replay_passes, bench.mean_square(first)
        setting = first.training.pass_tokens
        teachers = [teacher for run in runs if (teacher := bench.teacher(run.config)) is not None]
        return list(
            train(
                lm,
                learners,
                lora,
                questions,
                mean_square,
                pass_tokens=training_pass_tokens(lm, setting, compiled=compiled, share=bench.memory_share),
                is_tried=is_tried(lm.device, setting),
                replay=replay,
                teacher=teachers[0] if teachers else None,
            )
        )


@contextmanager
def _logging_to(folder: Path, arm: str) -> Iterator[None]:
    """Send this package's messages, down to single steps, to ``training_<time>.log`` for the length of the block:
    all of them but those of other arms."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    handler = logging.FileHandler(folder / f"training_{stamp}.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.DEBUG)
    handler.addFilter(lambda message: getattr(message, "arm", arm) == arm)
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
