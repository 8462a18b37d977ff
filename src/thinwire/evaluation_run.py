"""Scoring an arm's checkpoint, or a bare model, on any questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thinwire.config import EvaluationConfig, ModelConfig, PromptConfig
from thinwire.evaluate import answer_questions, summarize
from thinwire.finished import find_arm, opened
from thinwire.memory import decoding_pass_tokens
from thinwire.model import load
from thinwire.progress import Display
from thinwire.prompts import PromptEncoder
from thinwire.questions import load_questions
from thinwire.reader import Reader
from thinwire.squad import Unanswerable, draw


def evaluate_target(
    target: str,
    *,
    data: str,
    num: int | None,
    seed: int,
    model: ModelConfig,
    prompt: PromptConfig,
    evaluation: EvaluationConfig,
    unanswerable: Unanswerable,
    display: Display,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Answer ``num`` questions of ``data`` (all where it is None) with an arm's folder or a model called ``target``.

    An arm brings its own model, prompt and evaluation settings; ``model``, ``prompt`` and ``evaluation`` serve a bare
    model, which reads plain text.

    Returns:
        The metrics (fractions), and the scored answers by question id.
    """
    if (Path(target) / "record.json").is_file():
        arm = find_arm(Path(target), model.device)
        lm, reader = opened(arm)
        encoder = PromptEncoder(lm.tokenizer, arm.config.prompt, with_context=arm.config.context)
        evaluation = arm.config.evaluation
    else:
        lm = load(model)
        reader, encoder = Reader(lm.table), PromptEncoder(lm.tokenizer, prompt)
    examples = load_questions(data, "test", unanswerable)
    questions = [encoder.encode(example) for example in draw(examples, num or len(examples), seed, "test")]
    with display.task("answering") as task:
        predictions = answer_questions(
            lm,
            reader.table(lm.dtype),
            encoder,
            questions,
            max_new_tokens=evaluation.max_new_tokens,
            pass_tokens=decoding_pass_tokens(lm, evaluation.pass_tokens),
            stop=evaluation.stop,
            score=evaluation.score,
            on_progress=task.update,
        )
    return summarize(predictions), {prediction.id: prediction.text for prediction in predictions}
