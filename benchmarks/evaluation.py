"""Time answering questions: Thinwire against ``generate()``, with the same finished arm, in alternating pairs.

    python benchmarks/evaluation.py runs/phase1a_lora_sweep/r16_a32_full --questions 2000 --batch 256

Prints both rates, both scores, and how many answers differ. Some differ because in bfloat16 another order of summation
can change the choice between two tokens, and because LoRA is merged on one side only.
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import time
from pathlib import Path
from typing import Any

import peft
from lib.baseline_loop import PlainInput, answer
from lib.paired_timing import format_table, measure, summarize

from thinwire.adapter.input_embeddings import AdapterEmbeddings
from thinwire.checkpoints.load import find_arm, load_arm
from thinwire.checkpoints.save import LORA_FOLDER
from thinwire.data.prompts import PromptEncoder
from thinwire.data.sources import load_questions
from thinwire.data.splits import draw_examples
from thinwire.determinism import deterministic_kernels
from thinwire.errors import UsageError
from thinwire.evaluation.answering import Prediction, answer_questions
from thinwire.evaluation.prediction import summarize as scores
from thinwire.files import write_json
from thinwire.model.loading import load
from thinwire.model.memory import decoding_batch_tokens
from thinwire.results.provenance import environment


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
    lm, inputs = load_arm(arm)
    if not isinstance(inputs, AdapterEmbeddings):
        raise UsageError("this benchmark is for arms whose input comes from an adapter")
    stock_lm = load(arm.model)
    stock = stock_lm.model
    if (arm.checkpoint / LORA_FOLDER).exists():
        stock = peft.PeftModel.from_pretrained(stock, arm.checkpoint / LORA_FOLDER).eval()
    features = inputs.codec.features(inputs.source)
    plain_input = PlainInput(adapter=inputs.adapter, codes=features, matrix=stock_lm.embedding_matrix, mean_square=1.0)
    encoder = PromptEncoder(lm.tokenizer, arm.config.prompt, with_context=arm.config.context)
    dev = load_questions("squad", "test")
    everything = [encoder.encode(example) for example in draw_examples(dev, len(dev), 0, "test")]
    questions = everything[: args.questions]
    last: dict[str, list[Prediction]] = {}

    def plain() -> float:
        last["plain"] = answer(
            stock,
            lm.tokenizer,
            plain_input,
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
                inputs.matrix(lm.dtype),
                encoder,
                chosen,
                max_new_tokens=arm.config.evaluation.max_new_tokens,
                batch_tokens=decoding_batch_tokens(lm, "auto"),
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
        "f1": {name: scores(predictions).score for name, predictions in last.items()},
        "share_of_answers_that_differ": sum(one.text != other.text for one, other in pairs) / len(questions),
        "environment": environment(lm.device).model_dump(mode="json"),
    }
    print(f"{lm.name}, {args.arm.name}, {len(questions)} questions; generate() in batches of {args.batch}")
    print(format_table(record))
    print(f"F1 {record['f1']}, answers that differ {record['share_of_answers_that_differ']:.2%}")
    if args.all:
        start = time.perf_counter()
        thinwire(everything)
        record["all"] = {"questions": len(everything), "seconds": time.perf_counter() - start}
        record["all"] |= {"f1": scores(last["thinwire"]).score}
        print(f"all {len(everything)} questions: {record['all']}")
    if args.output:
        write_json(args.output, record)


if __name__ == "__main__":
    main()
