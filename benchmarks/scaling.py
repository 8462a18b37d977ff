"""Measure how the cost of training grows with the number of questions and arms, the length of a question and the
vocabulary. One of them varies at a time, from a common middle; the model has random weights.

    python benchmarks/scaling.py --output scaling.json
    python benchmarks/scaling.py --layers 4 --questions 8 --length 64      # small enough for two CPU cores
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from training import Sides
from transformers import LlamaConfig, LlamaForCausalLM

from thinwire.config.experiment import ArmConfig
from thinwire.data.prompts import Encoded
from thinwire.data.squad import Example
from thinwire.files import write_json
from thinwire.model.compile import compiled_layers
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import choose_device
from thinwire.results.provenance import environment
from thinwire.schema import build


@dataclass(frozen=True, kw_only=True)
class Case:
    """One combination of the quantities that are varied."""

    questions: int
    arms: int
    length: int
    vocabulary: int


def variations(middle: Case) -> dict[str, list[Case]]:
    """Return, for each quantity, cases from a quarter to four times the middle."""
    factors = (0.25, 0.5, 1, 2, 4)
    return {
        name: [replace(middle, **{name: max(1, int(value * factor))}) for factor in factors]
        for name, value in vars(middle).items()
    }


def run(case: Case, layers: int, device: torch.device, *, compile_layers: bool) -> dict[str, float | None]:
    """Train once to warm up and once to measure."""
    torch.manual_seed(0)
    config = LlamaConfig(  # SmolLM2-135M's, but for the vocabulary and the number of layers
        vocab_size=case.vocabulary,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    with torch.device(device):
        model = LlamaForCausalLM(config).bfloat16().requires_grad_(False).eval()
    lm = LanguageModel(model=model, tokenizer=None, name="random", revision="random")
    arm = build(ArmConfig, {"lora": {"rank": 16, "alpha": 32}, "training": {"epochs": 1}}, where="")
    sides = Sides(lm, made_up(case), [arm] * case.arms, arm.training.batch_size, compiled=compile_layers)
    with compiled_layers(lm, compile_layers, 0):
        sides.thinwire()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        timing = sides.thinwire()
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    return {"seconds": timing.seconds, "tokens_per_second": timing.rate, "peak_memory_gib": memory}


def made_up(case: Case) -> list[Encoded]:
    """Make questions of random tokens, all of one length, with no common beginnings."""
    draw = random.Random(0)  # noqa: S311 - tokens, not secrets
    example = Example(id="q", article="a", paragraph_id="p", context="c", question="q", answers=("a",), answer_start=0)
    tokens = [[draw.randrange(case.vocabulary) for _ in range(case.length)] for _ in range(case.questions)]
    return [
        Encoded(example=example, prompt_ids=tuple(ids[:-4]), answer_ids=tuple(ids[-4:]), dropped=0) for ids in tokens
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--arms", type=int, default=4)
    parser.add_argument("--length", type=int, default=224, help="tokens of a question")
    parser.add_argument("--vocabulary", type=int, default=49_152)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    args = parser.parse_args()
    device = choose_device(args.device)
    middle = Case(questions=args.questions, arms=args.arms, length=args.length, vocabulary=args.vocabulary)
    rows: list[dict[str, Any]] = []
    for name, cases in variations(middle).items():
        for case in cases:
            found = run(case, args.layers, device, compile_layers=args.compile)
            rows.append({"varied": name, **vars(case), **found})
            memory = "" if found["peak_memory_gib"] is None else f"  {found['peak_memory_gib']:5.1f} GiB"
            print(
                f"{name:10} {vars(case)[name]:7,}  {found['seconds']:8.2f} s  "
                f"{found['tokens_per_second']:9,.0f} tokens/s{memory}",
                flush=True,
            )
    if args.output:
        write_json(
            args.output,
            {"layers": args.layers, "rows": rows, "environment": environment(device).model_dump(mode="json")},
        )


if __name__ == "__main__":
    main()
