"""Time padded batches against packed ones: one model that can do both, in training and in answering, in alternating
pairs. It is what models that cannot be packed cost more (docs/guide/models.md).

    python benchmarks/padded.py --arm r16_a32_full             # the default model: one step of 32 questions, 64 answers
    python benchmarks/padded.py --set training.batching=grouped --set evaluation.max_new_tokens=8
"""

# ruff: noqa: T201 (it prints its result)

import argparse
from dataclasses import replace
from pathlib import Path

from lib.paired_timing import format_table, measure, summarize
from training import Sides

from thinwire.config.load import load_experiment
from thinwire.data.prompts import PromptEncoder
from thinwire.data.sources import load_questions
from thinwire.data.splits import draw_examples
from thinwire.determinism import deterministic_kernels
from thinwire.evaluation.answering import answer_questions
from thinwire.files import write_json
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.model.memory import decoding_batch_tokens
from thinwire.results.provenance import environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", type=Path, default=Path("experiments/phase1a_lora.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="change a setting")
    parser.add_argument("--arm", default="r16_a32_full")
    parser.add_argument("--steps", type=int, default=1, help="of the experiment's batch size, in each run")
    parser.add_argument(
        "--answers", type=int, default=64, help="questions of the dev split that are answered from text"
    )
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    args = parser.parse_args()
    experiment = load_experiment(args.experiment, [*args.set, "training.epochs=1"])
    arm, lm = experiment.arm(args.arm), load(experiment.model)
    encoder = PromptEncoder(lm.tokenizer, arm.prompt)
    train = draw_examples(
        load_questions("squad", "train"), args.steps * arm.training.batch_size, experiment.seed, "train"
    )
    dev = draw_examples(load_questions("squad", "test"), args.answers, experiment.seed, "test")
    questions, asked = [encoder.encode(one, keep_answer=True) for one in train], [encoder.encode(one) for one in dev]
    models = {"packed": lm, "padded": replace(lm, batching="padded")}

    def answer(model: LanguageModel) -> float:
        with deterministic_kernels():
            answer_questions(
                model,
                model.embedding_matrix,
                encoder,
                asked,
                max_new_tokens=arm.evaluation.max_new_tokens,
                batch_tokens=decoding_batch_tokens(model, "auto"),
            )
        return len(asked)

    trained = {name: Sides(one, questions, [arm], 1, compiled=False).thinwire for name, one in models.items()}
    answered = {name: lambda one=one: answer(one) for name, one in models.items()}
    record = {"model": lm.name, "arm": args.arm, "environment": environment(lm.device).model_dump(mode="json")}
    for part, works, unit in (("training", trained, "tokens"), ("answering", answered, "questions")):
        record[part] = summarize(measure(works, device=lm.device, pairs=args.pairs), unit=unit)
        print(f"{lm.name}, {part}")
        print(format_table(record[part]))
    if args.output:
        write_json(args.output, record)


if __name__ == "__main__":
    main()
