"""Answering questions: Thinwire against ``generate()``, with the same finished arm, in alternating pairs.

    python benchmarks/evaluation.py runs/phase1a_lora_sweep/r16_a32_full --questions 2000 --batch 256

Prints both rates, both scores, and how many answers differ: in bfloat16, another order of summation now and then
tips a choice between two tokens, and LoRA is merged on one side and not on the other.
"""

# ruff: noqa: T201 (the table is what it is for)

import argparse
import time
from pathlib import Path
from typing import Any

import peft
from paired import measure, summarize, table
from plain_loop import Reading, answer

from thinwire.checkpoint import LORA_FOLDER
from thinwire.determinism import deterministic_kernels
from thinwire.errors import UsageError
from thinwire.evaluate import Prediction, answer_questions
from thinwire.evaluate import summarize as scores
from thinwire.finished import find_arm, opened
from thinwire.memory import decoding_pass_tokens
from thinwire.model import load
from thinwire.prompts import PromptEncoder
from thinwire.provenance import environment
from thinwire.questions import load_questions
from thinwire.reader import AdapterReader
from thinwire.records import write_json
from thinwire.squad import draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arm", type=Path, help="the folder of a finished arm with an adapter")
    parser.add_argument("--questions", type=int, default=2000, help="of the dev split, in the timed runs")
    parser.add_argument("--batch", type=int, default=256, help="of generate()")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="also answer the whole dev split, once, with Thinwire")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    args = parser.parse_args()
    arm = find_arm(args.arm)
    lm, reader = opened(arm)
    if not isinstance(reader, AdapterReader):
        raise UsageError("this benchmark is for arms that read the adapter")
    stock_lm = load(arm.model)
    stock = stock_lm.model
    if (arm.checkpoint / LORA_FOLDER).exists():
        stock = peft.PeftModel.from_pretrained(stock, arm.checkpoint / LORA_FOLDER).eval()
    features = reader.codec.features(reader.source)
    reading = Reading(adapter=reader.adapter, codes=features, table=stock_lm.table, mean_square=1.0)
    encoder = PromptEncoder(lm.tokenizer, arm.config.prompt, with_context=arm.config.context)
    dev = load_questions("squad", "test")
    everything = [encoder.encode(example) for example in draw(dev, len(dev), 0, "test")]
    questions = everything[: args.questions]
    last: dict[str, list[Prediction]] = {}

    def plain() -> float:
        last["plain"] = answer(
            stock,
            lm.tokenizer,
            reading,
            questions,
            stop_ids=lm.stop_ids(encoder.end_id),
            batch_size=args.batch,
            max_new_tokens=arm.config.evaluation.max_new_tokens,
        )
        return len(questions)

    def thinwire(chosen: list[Any] = questions) -> float:
        with deterministic_kernels():
            last["thinwire"] = answer_questions(
                lm,
                reader.table(lm.dtype),
                encoder,
                chosen,
                max_new_tokens=arm.config.evaluation.max_new_tokens,
                pass_tokens=decoding_pass_tokens(lm, "auto"),
            )
        return len(chosen)

    record = summarize(
        measure({"plain": plain, "thinwire": thinwire}, device=lm.device, pairs=args.pairs), unit="questions"
    )
    pairs = zip(last["plain"], last["thinwire"], strict=True)
    record |= {
        "arm": args.arm.name,
        "questions": len(questions),
        "plain_batch": args.batch,
        "f1": {name: scores(predictions)["f1"] for name, predictions in last.items()},
        "share_of_answers_that_differ": sum(one.text != other.text for one, other in pairs) / len(questions),
        "environment": environment(lm.device),
    }
    print(f"{lm.name}, {args.arm.name}, {len(questions)} questions; generate() in batches of {args.batch}")
    print(table(record))
    print(f"F1 {record['f1']}, answers that differ {record['share_of_answers_that_differ']:.2%}")
    if args.all:
        start = time.perf_counter()
        thinwire(everything)
        record["all"] = {"questions": len(everything), "seconds": time.perf_counter() - start}
        record["all"] |= {"f1": scores(last["thinwire"])["f1"]}
        print(f"all {len(everything)} questions: {record['all']}")
    if args.output:
        write_json(args.output, record)


if __name__ == "__main__":
    main()
