"""How many answers differ from those of transformers' own ``generate()``, in bfloat16 and in float32.

    thinwire export runs/phase1a_lora_sweep/r16_a32_full exported/r16_a32_full
    python benchmarks/agreement.py exported/r16_a32_full --questions 200 --output agreement.json

Thinwire answers in batches, ``generate()`` one question at a time. In float32 they should agree; in bfloat16, another
order of summation now and then tips a choice between two tokens. How often it does is what ``generate()`` in bfloat16
and in float32 disagree in.
"""

# ruff: noqa: T201 (the table is what it is for)

import argparse
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from plain_loop import Reading, answer

from thinwire.config import ModelConfig, PromptConfig
from thinwire.determinism import deterministic_kernels
from thinwire.evaluate import Prediction, answer_questions, summarize
from thinwire.memory import decoding_pass_tokens
from thinwire.model import LanguageModel, load
from thinwire.prompts import Encoded, PromptEncoder
from thinwire.provenance import environment
from thinwire.questions import load_questions
from thinwire.records import write_json
from thinwire.squad import draw

NEW_TOKENS = 24


def batched(lm: LanguageModel, encoder: PromptEncoder, questions: list[Encoded]) -> list[Prediction]:
    """Thinwire's answers."""
    tokens = decoding_pass_tokens(lm, "auto")
    with deterministic_kernels():
        return answer_questions(lm, lm.table, encoder, questions, max_new_tokens=NEW_TOKENS, pass_tokens=tokens)


def one_by_one(lm: LanguageModel, encoder: PromptEncoder, questions: list[Encoded]) -> list[Prediction]:
    """``generate()``'s answers, the model reading its own embeddings."""
    own = Reading(adapter=torch.nn.Identity(), codes=lm.table, table=lm.table, mean_square=1.0)
    stops = lm.stop_ids(encoder.end_id)
    return answer(
        lm.model,
        lm.tokenizer,
        own,
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
        drawn = draw(load_questions("squad", "test"), args.questions, 0, "test")
        questions = [encoder.encode(example) for example in drawn]
        for name, said in (("Thinwire", batched), ("generate()", one_by_one)):
            started = time.perf_counter()
            found = answers[f"{name} {dtype}"] = said(lm, encoder, questions)
            f1 = record["f1"][f"{name} {dtype}"] = summarize(found)["f1"]
            print(f"{name} {dtype}: F1 {100 * f1:.2f}, {time.perf_counter() - started:.0f} s", flush=True)
    for one, other in combinations(answers, 2):
        differing = sum(a.text != b.text for a, b in zip(answers[one], answers[other], strict=True))
        record["differing"][f"{one} / {other}"] = differing
        print(f"{one} and {other}: {differing} of {args.questions} answers differ")
    if args.output:
        write_json(args.output, record | {"environment": environment(lm.device)})


if __name__ == "__main__":
    main()
