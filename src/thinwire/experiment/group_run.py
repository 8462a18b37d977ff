"""Run a group of arms: one alone, or several that see the same questions in the same order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from thinwire import interruption
from thinwire.claims import Claim, ClaimLostError
from thinwire.data.prompts import Encoded
from thinwire.determinism import deterministic_kernels
from thinwire.errors import StorageError, ThinwireError
from thinwire.experiment.arm_inputs import ArmInputs
from thinwire.experiment.arm_journal import ArmJournal
from thinwire.experiment.arm_run import ArmRun
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.attempts import MOST_ATTEMPTS, check_attempts, counted_alone
from thinwire.experiment.plan import Planned
from thinwire.experiment.resume import resume_key, set_aside, with_resume_point
from thinwire.experiment.resume_points import commit, committed
from thinwire.experiment.runtime import Runtime
from thinwire.experiment.text_progress import write_text_progress
from thinwire.experiment.text_start import with_text_start
from thinwire.files import make_folder
from thinwire.model.compile import compiled_layers
from thinwire.model.lora import StackedLora, attached
from thinwire.model.lora_modules import adapted_modules
from thinwire.model.memory import training_micro_batch_tokens
from thinwire.ops.threads import computing_with
from thinwire.results.arm_record import ArmRecord, TrainingResult
from thinwire.results.layout import arm_folder
from thinwire.results.provenance import environment
from thinwire.storage_errors import writing
from thinwire.training.autotune import is_tried
from thinwire.training.microbatch_loss import Teacher
from thinwire.training.state import TrainingState
from thinwire.training.teaching import reads_text, taught
from thinwire.training.text_reconstruction import TextTrainingError
from thinwire.training.trainer import train

logger = logging.getLogger(__name__)


def run_group(
    runtime: Runtime, artifacts: ArtifactCache, runs: Sequence[Planned], sweep_folder: Path, claim: Claim
) -> None:
    """Run a group of arms, each in its folder below ``sweep_folder``.

    If all of them fail together (out of memory, for example), or have ended several workers together, they are run one
    by one. An arm that has ended several workers alone fails. Unfinished runs in their folders are resumed or set
    aside.

    Args:
        claim: this process's claim on the group.

    Raises:
        ClaimLostError: another process has taken the group.
        StorageError: a file cannot be written.
    """
    folders = [arm_folder(sweep_folder, run.name, run.kind) for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folder.exists() and run.resume_point is None:
            set_aside(folder, sweep_folder / "unfinished")
    if len(runs) == 1:
        with counted_alone(runs[0], sweep_folder, claim) as own:
            run_arms(runtime, artifacts, runs, folders, sweep_folder, claim, partial(check_attempts, runs[0], own))
        return
    if claim.owner.attempt > MOST_ATTEMPTS:
        logger.warning(
            "%d workers in succession have ended while they ran %d arms together (%s); running them one by one (where "
            "memory ran out, a smaller group_size takes less)",
            claim.owner.attempt - 1,
            len(runs),
            ", ".join(run.name for run in runs),
        )
    else:
        records = run_arms(runtime, artifacts, runs, folders, sweep_folder, claim)
        if any(record.status != "failed" for record in records):
            return
        logger.warning("%d arms failed together (%s); running them one by one", len(runs), records[0].error)
    for run in runs:
        data = artifacts.questions(run.config).encoded.hashes
        again = with_resume_point(run, sweep_folder, data, runtime.lm, committed(sweep_folder))
        run_group(runtime, artifacts, [again], sweep_folder, claim)


def run_arms(
    runtime: Runtime,
    artifacts: ArtifactCache,
    runs: Sequence[Planned],
    folders: Sequence[Path],
    sweep_folder: Path,
    claim: Claim,
    check: Callable[[], None] = lambda: None,
) -> list[ArmRecord]:
    """Run one arm, or several that can train together, each in its own folder below ``sweep_folder``.

    A folder is new, or holds an unfinished run that is resumed. A failure is recorded and not raised, because an arm's
    error must not end the sweep. An interruption is recorded and raised, and so is a file that cannot be written.

    Args:
        claim: this process's claim on the group.
        check: called before anything is run; what it raises is the failure of the arms.

    Returns:
        The arms' records, which are also written to their folders as soon as each arm has ended.

    Raises:
        ClaimLostError: another process has taken the group.
        StorageError: a file cannot be written.
    """
    with ExitStack() as logs:
        for run, folder in zip(runs, folders, strict=True):
            make_folder(folder)
            logs.enter_context(_logging_to(folder, run.name))
        journals = [_journal(runtime, artifacts, run, folder) for run, folder in zip(runs, folders, strict=True)]
        try:
            with deterministic_kernels(), _failing(journals, claim):
                check()
                _run(runtime, artifacts, journals, sweep_folder, claim)
        except (KeyboardInterrupt, StorageError) as error:
            for journal in journals:
                journal.cancel(error)
            raise
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
        trackers=runtime.trackers,
    )


def _run(
    runtime: Runtime, artifacts: ArtifactCache, journals: Sequence[ArmJournal], sweep_folder: Path, claim: Claim
) -> None:
    states = [journal.resume() for journal in journals]
    for journal in journals:
        journal.report_start()
    # A resumed training goes on with as many threads, or sums would be rounded differently.
    with computing_with(next((state.cpu_threads for state in states if state), None)):
        _run_from(runtime, artifacts, journals, states, sweep_folder, claim)


def _run_from(
    runtime: Runtime,
    artifacts: ArtifactCache,
    journals: Sequence[ArmJournal],
    states: Sequence[TrainingState | None],
    sweep_folder: Path,
    claim: Claim,
) -> None:
    ready = _prepared(runtime, artifacts, journals, states, sweep_folder, claim)
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
            results = [*_train(runtime, arms, [state for _, _, state in ready], lora, sweep_folder, claim)]
        else:
            (untrained,) = arms
            untrained.select(0)
            results = [None]
        for arm, result in zip(arms, results, strict=True):
            if isinstance(result, ThinwireError):
                arm.journal.fail(result, is_final=True)
                continue
            with _failing([arm.journal], claim):
                arm.journal.finish(arm.test(result))


def _prepared(
    runtime: Runtime,
    artifacts: ArtifactCache,
    journals: Sequence[ArmJournal],
    states: Sequence[TrainingState | None],
    sweep_folder: Path,
    claim: Claim,
) -> list[tuple[ArmJournal, ArmInputs, TrainingState | None]]:
    """Make the inputs of each arm; arms whose inputs cannot be made fail.

    The time is divided among all arms, because codecs and adapters are shared.
    """
    prepared = []
    started = time.perf_counter()
    for journal, state in zip(journals, states, strict=True):
        with _failing([journal], claim):
            config = journal.planned.config
            adapted_modules(runtime.lm.model, config.lora)  # raises if the model lacks the modules to adapt
            inputs = _started(runtime, artifacts, journal, state, sweep_folder)
            prepared.append((journal, inputs, state))
    share = (time.perf_counter() - started) / len(journals)
    for journal in journals:
        journal.seconds += share
    return prepared


def _started(
    runtime: Runtime,
    artifacts: ArtifactCache,
    journal: ArmJournal,
    state: TrainingState | None,
    sweep_folder: Path,
) -> ArmInputs:
    """Make the inputs of an arm, trained on texts if they are to be; a resumed arm has all weights of it already."""
    inputs = artifacts.arm_inputs(journal.planned.config)
    if state is not None and journal.text_reconstruction is not None:
        return replace(inputs, text_reconstruction=journal.text_reconstruction)

    inputs = with_text_start(runtime, artifacts, inputs, partial(write_text_progress, sweep_folder, journal.name))
    journal.text_reconstruction = inputs.text_reconstruction
    return inputs


@contextmanager
def _failing(journals: Sequence[ArmJournal], claim: Claim) -> Iterator[None]:
    """Record an exception in the block as the failure of these arms; the sweep goes on, and exits with 1.

    Raises:
        ClaimLostError: another process has taken the arms.
        StorageError: a file cannot be written, which is no failure of an arm.
        Interrupted: a library has turned it into an error of its own.
    """
    try:
        yield
    except ClaimLostError:
        raise
    except StorageError:
        claim.check(at_once=True)  # who has taken the arms has moved the folders that were written to
        raise
    except Exception as error:  # noqa: BLE001 - recorded with its traceback
        interruption.check()
        claim.check(at_once=True)  # who has taken the arms may have removed what is missing here
        for journal in journals:
            journal.fail(error, is_final=isinstance(error, TextTrainingError))


def _train(
    runtime: Runtime,
    arms: Sequence[ArmRun],
    states: Sequence[TrainingState | None],
    lora: StackedLora | None,
    sweep_folder: Path,
    claim: Claim,
) -> list[TrainingResult | ThinwireError]:
    lm, first, questions = runtime.lm, arms[0].config, arms[0].inputs.questions
    teachers = [arm.inputs.teacher for arm in arms if arm.inputs.teacher is not None]
    epochs_done, steps_done = (states[0].epoch, states[0].step) if states[0] else (0, 0)
    label = arms[0].journal.name if len(arms) == 1 else f"{len(arms)} arms"
    epochs_left = first.training.epochs > epochs_done
    if epochs_left and len(arms) > 1:
        logger.info("training %d arms together: %s", len(arms), ", ".join(arm.journal.name for arm in arms))
    if epochs_left:
        logger.info("%s: training begins", label)
    # Count all epochs: a resumed arm must be compiled if its earlier epochs were, or it would round differently.
    num_tokens = len(arms) * questions.training_tokens(first)
    compilation = compiled_layers(lm, epochs_left and runtime.compile_layers, num_tokens)

    def save_states(states: Iterable[tuple[int, TrainingState]]) -> None:
        written = {arms[number].journal.name: arms[number].journal.write_state(state) for number, state in states}
        commit(sweep_folder, claim.path.name, written)

    with runtime.display.task(label, before=steps_done) as task, compilation as compiled:
        setting = first.training.micro_batch_tokens
        return train(
            lm,
            [arm.training_job(task, state, arms_beside=len(arms) - 1) for arm, state in zip(arms, states, strict=True)],
            lora,
            _taught_questions(runtime, arms, lora, teachers[0] if teachers else None),
            questions.mean_square,
            micro_batch_tokens=training_micro_batch_tokens(
                lm,
                setting,
                compiled=compiled,
                share=runtime.memory_share,
                blocks=first.blocks if first.block_kind else None,
            ),
            is_tried=is_tried(lm.device, setting),
            use_cuda_graphs=runtime.use_cuda_graphs,
            save_states=save_states,
            teacher=teachers[0] if teachers else None,
        )


def _taught_questions(
    runtime: Runtime, arms: Sequence[ArmRun], lora: StackedLora | None, teacher: Teacher | None
) -> Sequence[Encoded]:
    """Return the training questions of a group; with their teacher's states if it reads them at other positions."""
    lm, questions = runtime.lm, arms[0].inputs.questions
    as_text, train_questions = questions.as_text, questions.encoded.train
    if as_text is None or not any(arm.config.supervision.kd_weight > 0 for arm in arms):
        return train_questions
    logger.info("the teacher reads %d questions as text", len(train_questions))
    k_tokens = max(arm.config.supervision.num_tokens for arm in arms)
    with lora.disabled() if lora else nullcontext():
        return taught(train_questions, as_text.train, teacher or reads_text(lm), k_tokens)


@contextmanager
def _logging_to(folder: Path, arm: str) -> Iterator[None]:
    """Write this package's messages, down to single steps, to ``training_<time>.log`` during the block.

    Messages of other arms are left out.

    Raises:
        StorageError: the file cannot be made.
    """
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    with _LogFile(folder / f"training_{stamp}.log") as handler:
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


class _LogFile(logging.Handler):
    """Writes messages to a file, each at once and whole.

    A message that cannot be written is left out: it is no result, and the results that follow it will tell why.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        with writing(path):
            self._file = path.open("ab", buffering=0)

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._file.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))

    def __enter__(self) -> _LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.close()
