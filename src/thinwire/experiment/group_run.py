"""Run a group of arms: one alone, or several that see the same questions in the same order."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path

from thinwire.determinism import deterministic_kernels
from thinwire.errors import ThinwireError
from thinwire.experiment.arm_inputs import ArmInputs
from thinwire.experiment.arm_journal import ArmJournal
from thinwire.experiment.arm_run import ArmRun
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.plan import Planned
from thinwire.experiment.resume import resume_key, set_aside, with_epochs_done
from thinwire.experiment.runtime import Runtime
from thinwire.model.compile import compiled_layers
from thinwire.model.lora import StackedLora, adapted_modules, attached
from thinwire.model.memory import training_micro_batch_tokens
from thinwire.results.arm_record import ArmRecord, TrainingResult
from thinwire.results.layout import arm_folder
from thinwire.results.provenance import environment
from thinwire.training.autotune import is_tried
from thinwire.training.state import TrainingState
from thinwire.training.trainer import train

logger = logging.getLogger(__name__)


def run_group(runtime: Runtime, artifacts: ArtifactCache, runs: Sequence[Planned], sweep_folder: Path) -> None:
    """Run a group of arms, each in its folder below ``sweep_folder``.

    If all of them fail together (out of memory, for example), they are run one by one. Unfinished runs in their folders
    are resumed or set aside.
    """
    folders = [arm_folder(sweep_folder, run.name, run.kind) for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folder.exists() and not run.epochs_done:
            set_aside(folder, sweep_folder / "unfinished")
    records = run_arms(runtime, artifacts, runs, folders)
    if len(runs) > 1 and all(record.status == "failed" for record in records):
        logger.warning("%d arms failed together (%s); running them one by one", len(runs), records[0].error)
        for run in runs:
            data = artifacts.questions(run.config).encoded.hashes
            again = with_epochs_done(run, sweep_folder, data, runtime.lm)
            run_group(runtime, artifacts, [again], sweep_folder)


def run_arms(
    runtime: Runtime, artifacts: ArtifactCache, runs: Sequence[Planned], folders: Sequence[Path]
) -> list[ArmRecord]:
    """Run one arm, or several that can train together, each in its own folder.

    A folder is new, or holds an unfinished run that is resumed. A failure is recorded and not raised, because an arm's
    error must not end the sweep. An interruption is recorded and raised.

    Returns:
        The arms' records, which are also written to their folders as soon as each arm has ended.
    """
    with ExitStack() as logs:
        for run, folder in zip(runs, folders, strict=True):
            folder.mkdir(parents=True, exist_ok=run.epochs_done > 0)
            logs.enter_context(_logging_to(folder, run.name))
        journals = [_journal(runtime, artifacts, run, folder) for run, folder in zip(runs, folders, strict=True)]
        try:
            with deterministic_kernels():
                _run(runtime, artifacts, journals)
        except KeyboardInterrupt:
            for journal in journals:
                journal.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - recorded with its traceback; the sweep goes on and exits with 1
            for journal in journals:
                journal.fail(error)
    return [journal.record for journal in journals if journal.record is not None]


def _journal(runtime: Runtime, artifacts: ArtifactCache, run: Planned, folder: Path) -> ArmJournal:
    data = artifacts.questions(run.config).encoded.hashes
    return ArmJournal(
        run,
        folder,
        model=runtime.lm.identity(),
        data=data,
        environment=environment(runtime.lm.device),
        resume_key=resume_key(run.config, data, runtime.lm),
    )


def _run(runtime: Runtime, artifacts: ArtifactCache, journals: Sequence[ArmJournal]) -> None:
    ready = _prepared(runtime, artifacts, journals)
    if not ready:
        return
    configs = [inputs.config for _, inputs, _ in ready]
    with attached(runtime.lm.model, [c.lora for c in configs], [c.seed for c in configs]) as lora:
        for number, (_, inputs, _) in enumerate(ready):
            if lora and inputs.starting_lora:
                lora.start(number, inputs.starting_lora)
        arms = [ArmRun(runtime, journal, inputs, lora, n) for n, (journal, inputs, _) in enumerate(ready)]
        results: list[TrainingResult | ThinwireError | None]
        if configs[0].has_trainable:
            results = [*_train(runtime, arms, [state for _, _, state in ready], lora)]
        else:
            (untrained,) = arms
            untrained.select(0)
            results = [None]
        for arm, result in zip(arms, results, strict=True):
            with _failing_alone(arm.journal):
                if isinstance(result, ThinwireError):
                    raise result
                arm.journal.finish(arm.test(result))


def _prepared(
    runtime: Runtime, artifacts: ArtifactCache, journals: Sequence[ArmJournal]
) -> list[tuple[ArmJournal, ArmInputs, TrainingState | None]]:
    """Make the inputs of each arm; arms whose inputs cannot be made fail.

    The time is divided among all arms, because codecs and adapters are shared.
    """
    prepared = []
    started = time.perf_counter()
    for journal in journals:
        with _failing_alone(journal):
            state, config = journal.resume(), journal.planned.config
            adapted_modules(runtime.lm.model, config.lora)  # raises if the model lacks the modules to adapt
            prepared.append((journal, artifacts.arm_inputs(config), state))
    share = (time.perf_counter() - started) / len(journals)
    for journal in journals:
        journal.seconds += share
    return prepared


@contextmanager
def _failing_alone(journal: ArmJournal) -> Iterator[None]:
    """Record an exception in the block as the failure of this arm only."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - recorded with its traceback
        journal.fail(error)


def _train(
    runtime: Runtime, arms: Sequence[ArmRun], states: Sequence[TrainingState | None], lora: StackedLora | None
) -> list[TrainingResult | ThinwireError]:
    lm, first, questions = runtime.lm, arms[0].config, arms[0].inputs.questions
    train_questions, epochs_done = questions.encoded.train, arms[0].journal.planned.epochs_done
    label = arms[0].journal.name if len(arms) == 1 else f"{len(arms)} arms"
    epochs_left = first.training.epochs > epochs_done
    if epochs_left and len(arms) > 1:
        logger.info("training %d arms together: %s", len(arms), ", ".join(arm.journal.name for arm in arms))
    if epochs_left:
        logger.info("%s: training begins", label)
    # Count all epochs: a resumed arm must be compiled if its earlier epochs were, or it would round differently.
    num_tokens = len(arms) * questions.training_tokens(first)
    steps_done = epochs_done * first.training.steps_per_epoch(len(train_questions))
    compilation = compiled_layers(lm, epochs_left and runtime.compile_layers, num_tokens)
    with runtime.display.task(label, before=steps_done) as task, compilation as compiled:
        setting = first.training.micro_batch_tokens
        teachers = [arm.inputs.teacher for arm in arms if arm.inputs.teacher is not None]
        return train(
            lm,
            [arm.training_job(task, state, arms_beside=len(arms) - 1) for arm, state in zip(arms, states, strict=True)],
            lora,
            train_questions,
            questions.mean_square,
            micro_batch_tokens=training_micro_batch_tokens(lm, setting, compiled=compiled, share=runtime.memory_share),
            is_tried=is_tried(lm.device, setting),
            use_cuda_graphs=runtime.use_cuda_graphs,
            teacher=teachers[0] if teachers else None,
        )


@contextmanager
def _logging_to(folder: Path, arm: str) -> Iterator[None]:
    """Write this package's messages, down to single steps, to ``training_<time>.log`` during the block.

    Messages of other arms are left out.
    """
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
