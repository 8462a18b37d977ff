"""Score an arm's checkpoint, or a bare model, on any questions."""

from __future__ import annotations

import os
from pathlib import Path

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.checkpoints.load import FinishedArm, find_arm, is_inside_arm, load_arm
from thinwire.checkpoints.reading import as_read
from thinwire.config.settings import ColumnsConfig, EvaluationConfig, ModelConfig, PromptConfig
from thinwire.data.labels import with_options
from thinwire.data.prompts import PromptEncoder
from thinwire.data.sources import check_columns_apply, load_questions
from thinwire.data.splits import draw_examples
from thinwire.data.squad import Mismatched, Unanswerable
from thinwire.errors import UsageError
from thinwire.evaluation.answering import answer_questions
from thinwire.evaluation.prediction import summarize
from thinwire.model.loading import choose_device, load
from thinwire.model.memory import decoding_batch_tokens
from thinwire.progress import Display
from thinwire.results.arm_record import Scores, has_arm_record
from thinwire.results.layout import run_of
from thinwire.results.sweep_header import has_header
from thinwire.tasks.table import TASKS
from thinwire.tasks.task import Task, TaskName

_BLOCK_ENCODER = "block_encoder"
"""Lies in the export of an arm that reads blocks."""

_DEFAULT_COLUMNS = ColumnsConfig()


def task_of(target: str, of_bare_model: TaskName) -> Task:
    """Return the task that ``evaluate_target`` scores: the arm's, or that of a bare model.

    Raises:
        UsageError: ``target`` is a folder of a sweep that contains no finished arm.
        ThinwireError: its record is damaged, or that of another arm.
    """
    arm = _find(Path(target), "cpu")
    return TASKS[of_bare_model] if arm is None else arm.task


def is_arm(target: str) -> bool:
    """Whether ``evaluate_target`` takes ``target`` for an arm, not for a bare model; it raises as ``task_of``."""
    return _find(Path(target), "cpu") is not None


def _find(folder: Path, device: str) -> FinishedArm | None:
    """Find an arm; None if ``folder`` is the name of a model, as none lies in a sweep's folder, or is one."""
    resolved = Path(os.path.realpath(folder))
    in_sweep = has_arm_record(folder) or has_header(folder) or has_header(run_of(resolved))
    in_sweep = in_sweep or is_inside_arm(resolved)  # refused with the name of the arm
    return find_arm(folder, device) if in_sweep else None


def evaluate_target(
    target: str,
    *,
    data: str,
    num: int | None,
    seed: int,
    model: ModelConfig,
    prompt: PromptConfig,
    evaluation: EvaluationConfig,
    task: TaskName = "extractive_qa",
    unanswerable: Unanswerable,
    mismatched: Mismatched = "refuse",
    columns: ColumnsConfig = _DEFAULT_COLUMNS,
    display: Display,
) -> tuple[Scores, dict[str, str]]:
    """Answer ``num`` questions of ``data`` (all if None) with the arm in the folder ``target``, or a model of that
    name.

    An arm uses its own model, prompt, task and evaluation settings. ``model``, ``prompt``, ``task`` and ``evaluation``
    are for a bare model, whose input is the text itself; the labels of a classification are then those of ``data``.

    Returns:
        The scores, and the scored answers by question id.

    Raises:
        UsageError: ``target`` is the export of an arm that reads blocks, which would be asked with plain tokens.
    """
    check_columns_apply(columns, data)
    folder = Path(target)
    arm = _find(folder, model.device)
    if arm is None and (folder / _BLOCK_ENCODER).is_dir():
        raise UsageError(
            f"{target} is the export of an arm that reads blocks of tokens, which a bare model does not; evaluate the "
            "arm's own folder, or ask the export by the lines of its README.md"
        )
    asked = TASKS[task] if arm is None else arm.task
    choose_device(model.device)
    checked: Mismatched = mismatched if asked.answers_are_spans else "keep"
    examples = load_questions(data, "test", unanswerable, checked, columns)  # before the model, which takes longer
    examples = with_options(asked, examples, None if arm is None else arm.record.done.labels)
    if arm is not None:
        lm, inputs = load_arm(arm)
        encoder, evaluation = arm.prompt_encoder(lm.tokenizer), arm.config.evaluation
    else:
        lm = load(model)
        inputs, encoder = InputEmbeddings(lm.embedding_matrix), PromptEncoder(lm.tokenizer, prompt, asked)
    questions = list(encoder.encode_all(draw_examples(examples, num or len(examples), seed, "test")))
    questions, inputs = as_read(inputs, questions)
    with display.task("answering") as progress:
        predictions = answer_questions(
            lm,
            inputs.matrix(lm.dtype),
            encoder,
            questions,
            task=asked,
            max_new_tokens=evaluation.max_new_tokens,
            batch_tokens=decoding_batch_tokens(lm, evaluation.batch_tokens),
            stop=evaluation.stop,
            score=evaluation.score,
            on_progress=progress.update,
        )
    return summarize(predictions), {prediction.id: prediction.text for prediction in predictions}
