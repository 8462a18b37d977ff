"""Count the answers that differ from those of transformers' own ``generate()``, in bfloat16 and in float32.

    thinwire export runs/phase1a_lora_sweep/r16_a32_full exported/r16_a32_full
    python benchmarks/agreement.py exported/r16_a32_full --questions 200 --output agreement.json

Thinwire answers in batches, ``generate()`` one question at a time. In float32 they should agree. In bfloat16 another
order of summation sometimes changes the choice between two tokens; how often is shown by comparing ``generate()`` in
bfloat16 with ``generate()`` in float32.
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from lib.baseline_loop import PlainInput, answer

from thinwire.config.settings import ModelConfig, PromptConfig
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.sources import load_questions
from thinwire.data.splits import draw_examples
from thinwire.determinism import deterministic_kernels
from thinwire.evaluation.answering import answer_questions
from thinwire.evaluation.prediction import Prediction, summarize
from thinwire.files import write_json
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.model.memory import decoding_batch_tokens
from thinwire.results.provenance import environment

NEW_TOKENS = 24


def batched(lm: LanguageModel, encoder: PromptEncoder, questions: list[Encoded]) -> list[Prediction]:
    """Answer with Thinwire."""
    tokens = decoding_batch_tokens(lm, "auto")
    with deterministic_kernels():
        return answer_questions(
            lm, lm.embedding_matrix, encoder, questions, max_new_tokens=NEW_TOKENS, batch_tokens=tokens
        )


def one_by_one(lm: LanguageModel, encoder: PromptEncoder, questions: list[Encoded]) -> list[Prediction]:
    """Answer with ``generate()``, with the model's own embeddings as input."""
    own_embeddings = PlainInput(
        adapter=torch.nn.Identity(), codes=lm.embedding_matrix, matrix=lm.embedding_matrix, mean_square=1.0
    )
    stops = lm.stop_ids(encoder.end_id)
    return answer(
        lm.model,
        lm.tokenizer,
        own_embeddings,
        questions,
        stop_ids=stops,
        batch_size=1,
        max_new_tokens=NEW_TOKENS,
        autocast=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="what model.name takes: an exported arm's folder, say")
    parser.add_argument("--questions", type=int, default=200, help="of the dev split")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    args = parser.parse_args()
    answers: dict[str, list[Prediction]] = {}
    record: dict[str, Any] = {"model": Path(args.model).name, "questions": args.questions, "f1": {}, "differing": {}}
    for dtype in ("bfloat16", "float32"):
        lm = load(ModelConfig(name=args.model, dtype=dtype))
        encoder = PromptEncoder(lm.tokenizer, PromptConfig())
        drawn = draw_examples(load_questions("squad", "test"), args.questions, 0, "test")
        questions = [encoder.encode(example) for example in drawn]
        for name, answer_with in (("Thinwire", batched), ("generate()", one_by_one)):
            started = time.perf_counter()
            found = answers[f"{name} {dtype}"] = answer_with(lm, encoder, questions)
            f1 = record["f1"][f"{name} {dtype}"] = summarize(found).score
            print(f"{name} {dtype}: F1 {100 * f1:.2f}, {time.perf_counter() - started:.0f} s", flush=True)
    for one, other in combinations(answers, 2):
        differing = sum(a.text != b.text for a, b in zip(answers[one], answers[other], strict=True))
        record["differing"][f"{one} / {other}"] = differing
        print(f"{one} and {other}: {differing} of {args.questions} answers differ")
    if args.output:
        write_json(args.output, record | {"environment": environment(lm.device).model_dump(mode="json")})


if __name__ == "__main__":
    main()
