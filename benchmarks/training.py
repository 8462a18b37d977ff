"""Time training: Thinwire against the plain loop (``lib/baseline_loop.py``), same questions, in alternating pairs.

Both train the same arms for the same steps, and only steps are timed: building adapters and attaching LoRA takes as
long for a long training as for these short ones. The plain loop trains one arm after another, Thinwire trains them
together where it would by itself. The extra time of Thinwire's first run is compilation, and is printed.

    python benchmarks/training.py --steps 6                                    # the plan's 11 arms, the default model
    python benchmarks/training.py --shape 8b --arm r16_a32_full --plain-batch 8
    python benchmarks/training.py --shape 8b --arm r16_a32_full --card-gib 24 --pairs 0   # as on a smaller card
    python benchmarks/training.py --arm r16_a32_full --steps 2 --plain-batch 8 # two CPU cores
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import time
from pathlib import Path

import torch
from lib.baseline_loop import PlainInput, train_steps, with_lora
from lib.paired_timing import Timing, format_table, measure, summarize
from transformers import AutoModelForCausalLM, LlamaConfig

from thinwire.adapter.adapter import Adapter
from thinwire.adapter.input_embeddings import AdapterEmbeddings
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.reconstruction_loss import matrix_mean_square
from thinwire.codecs.token_weights import token_counts
from thinwire.config.experiment import ArmConfig
from thinwire.config.load import load_experiment
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.sources import load_questions
from thinwire.data.splits import draw_examples
from thinwire.determinism import deterministic_kernels, generator
from thinwire.experiment.scheduling import max_group_size
from thinwire.files import write_json
from thinwire.model.compile import compiled_layers, uncompiled
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.model.lora import attached, breadth
from thinwire.model.memory import training_micro_batch_tokens
from thinwire.results.arm_record import TrainingResult
from thinwire.results.provenance import environment
from thinwire.training.autotune import is_tried, uses_cuda_graphs
from thinwire.training.job import TrainingJob
from thinwire.training.trainer import train

SHAPES = {
    # Llama-3.1-8B (https://huggingface.co/meta-llama/Llama-3.1-8B), its embeddings tied to spare memory.
    "8b": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "rope_theta": 500_000.0,
        "max_position_embeddings": 131_072,
    },
}


def random_model(shape: str, like: LanguageModel) -> LanguageModel:
    """Make a model of another size with random weights and the tokenizer of ``like``."""
    torch.manual_seed(0)
    with torch.device(like.device):
        model = AutoModelForCausalLM.from_config(
            LlamaConfig(**SHAPES[shape], tie_word_embeddings=True), dtype=like.dtype
        )
    return LanguageModel(
        model=model.requires_grad_(False).eval(), tokenizer=like.tokenizer, name=f"random {shape}", revision="random"
    )


class Sides:
    """The two ways of training the same arms on the same questions."""

    def __init__(
        self,
        lm: LanguageModel,
        questions: list[Encoded],
        arms: list[ArmConfig],
        plain_batch: int,
        *,
        compiled: bool,
        plain_questions: int | None = None,
    ) -> None:
        self._lm, self._questions, self._arms, self._plain_batch = lm, questions, arms, plain_batch
        self._compiled = compiled
        self._plain_questions = questions[:plain_questions]
        counts = token_counts([question.prompt_ids for question in questions], len(lm.embedding_matrix))
        self._mean_square = matrix_mean_square(lm.embedding_matrix, counts)
        self._codec = PCACodec.fit(lm.embedding_matrix, counts, arms[0].codec, 0).to(lm.device)
        self._codes = self._codec.encode(lm.embedding_matrix)

    def plain(self) -> Timing:
        """Train one arm after the other with the plain loop."""
        tokens, seconds = 0, 0.0
        for arm in self._arms:
            training = arm.training.model_copy(update={"batch_size": self._plain_batch})
            plain_input = PlainInput(
                adapter=self._adapter(arm),
                codes=self._codes,
                matrix=self._lm.embedding_matrix,
                mean_square=self._mean_square,
            )
            with uncompiled(), with_lora(self._lm.model, arm.lora) as model:
                steps = train_steps(
                    model, plain_input, self._plain_questions, arm.model_copy(update={"training": training})
                )
            tokens += sum(step.tokens for step in steps)
            seconds += sum(step.seconds for step in steps)
        return Timing(seconds=seconds, units=tokens)

    def thinwire(self) -> Timing:
        """Train with Thinwire, as many arms together as it would choose, in its order."""
        most = max_group_size(self._lm, "auto", num_arms=len(self._arms), num_workers=1)
        arms = sorted(self._arms, key=lambda arm: breadth(arm.lora), reverse=True)
        results = [
            result for start in range(0, len(arms), most) for result in self._together(arms[start : start + most])
        ]
        return Timing(seconds=sum(r.seconds for r in results), units=sum(r.num_tokens for r in results))

    def _together(self, arms: list[ArmConfig]) -> list[TrainingResult]:
        with (
            deterministic_kernels(),
            attached(self._lm.model, [arm.lora for arm in arms], [arm.seed for arm in arms]) as lora,
        ):
            jobs = [
                TrainingJob(
                    config=arm,
                    inputs=AdapterEmbeddings(self._codes, self._codec, self._adapter(arm)),
                    on_step=lambda *_: None,
                    select=lambda _: 0.0,
                )
                for arm in arms
            ]
            results = train(
                self._lm,
                jobs,
                lora,
                self._questions,
                self._mean_square,
                micro_batch_tokens=training_micro_batch_tokens(self._lm, "auto", compiled=self._compiled),
                is_tried=is_tried(self._lm.device, "auto"),
                use_cuda_graphs=uses_cuda_graphs(self._lm, "auto"),
            )
        for result in results:
            if not isinstance(result, TrainingResult):
                raise result
        return [result for result in results if isinstance(result, TrainingResult)]

    def _adapter(self, arm: ArmConfig) -> Adapter:
        return Adapter(self._codec, arm.adapter, generator("cpu", arm.seed, "adapter")).to(self._lm.device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", type=Path, default=Path("experiments/phase1a_lora.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", help="change a setting")
    parser.add_argument("--arm", action="append", help="[all arms of the experiment]")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this size instead of the default model")
    parser.add_argument("--steps", type=int, default=6, help="of the experiment's batch size, in each run")
    parser.add_argument("--plain-batch", type=int, help="questions a step of the plain loop [as the experiment]")
    parser.add_argument(
        "--plain-steps",
        type=int,
        help="steps of the plain loop [all]: its rate does not depend on their number; Thinwire's does, because it "
        "captures CUDA graphs first",
    )
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--peak-tflops", type=float, help="bf16 rate of the device: gives the share of the floor")
    parser.add_argument("--pairs", type=int, default=5, help="0 runs Thinwire alone, once")
    parser.add_argument("--card-gib", type=float, help="leave only as much GPU memory as a card of this size has")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    args = parser.parse_args()
    ballast = torch.empty(0, dtype=torch.uint8)
    if args.card_gib:
        spare = torch.cuda.mem_get_info()[0] - int(args.card_gib * 2**30)
        ballast = torch.empty(spare, dtype=torch.uint8, device="cuda")
    experiment = load_experiment(args.experiment, [*args.set, "training.epochs=1"])
    lm = load(experiment.model)
    arms = [experiment.arm(name) for name in args.arm or experiment.arms]
    batch = arms[0].training.batch_size
    encoder = PromptEncoder(lm.tokenizer, arms[0].prompt)
    drawn = draw_examples(load_questions("squad", "train"), args.steps * batch, experiment.seed, "train")
    questions = [encoder.encode(example, keep_answer=True) for example in drawn]
    if args.shape:
        lm = random_model(args.shape, lm)
    plain_steps = min(args.plain_steps or args.steps, args.steps)
    sides = Sides(
        lm, questions, arms, args.plain_batch or batch, compiled=args.compile, plain_questions=plain_steps * batch
    )
    on_gpu = lm.device.type == "cuda"
    floor = None
    if args.peak_tflops:
        parameters = sum(p.numel() for name, p in lm.model.named_parameters() if ".layers." in name)
        # A multiplication and an addition for each weight, forwards, and as much again for the gradient of its input.
        floor = args.peak_tflops * 1e12 / (4 * parameters)
    with compiled_layers(lm, args.compile, 0):
        start = time.perf_counter()
        sides.thinwire()
        first = time.perf_counter() - start
        memory = (torch.cuda.max_memory_allocated() - len(ballast)) / 2**30 if on_gpu else None
        peak = f"first run {first:.1f} s" + (f", peak memory {memory:.1f} GiB" if memory else "")
        if not args.pairs:
            alone = sides.thinwire()
            print(f"{lm.name}, {len(arms)} arms: {alone.units / alone.seconds:,.0f} tokens/s; {peak}")
            return
        timings = measure({"plain": sides.plain, "thinwire": sides.thinwire}, device=lm.device, pairs=args.pairs)
    record = summarize(timings, unit="tokens", floor=floor) | {
        "model": lm.name,
        "arms": args.arm or list(experiment.arms),
        "batch": batch,
        "plain_batch": args.plain_batch or batch,
        "steps": args.steps,
        "plain_steps": plain_steps,
        "compiled": args.compile,
        "first_run_seconds": first,
        "peak_memory_gib": memory,
        "environment": environment(lm.device).model_dump(mode="json"),
    }
    print(
        f"{lm.name}, {len(arms)} arms, batch {batch} (plain {args.plain_batch or batch}), {args.steps} steps a run "
        f"(plain {plain_steps})"
    )
    print(format_table(record))
    print(peak)
    if args.output:
        write_json(args.output, record)


if __name__ == "__main__":
    main()
