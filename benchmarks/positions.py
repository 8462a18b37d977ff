"""Time reading a context in fewer positions: text against blocks of 2, 4 and 8 tokens, whatever the weights.

Each prompt has a context of its own, of real SQuAD paragraphs put together and cut to the same number of tokens. Two
things are timed: the first token of one prompt (its prefill), and a batch of prompts that are answered and scored. The
embeddings of the blocks are encoded within the timed part, for the prompts at hand. Answers do not end before
`max_new_tokens`, so that all take the same number of steps. Tokenising, and numbering the different blocks, are not
timed with the rest; the record has the seconds of the latter.

    python benchmarks/positions.py --output FILE.json
    python benchmarks/positions.py --shape 8b --questions 64                      # random weights
    python benchmarks/positions.py --questions 4 --context-tokens 60 --repetitions 2  # a CPU
"""

# ruff: noqa: T201 (it prints its result)

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from lib.paired_timing import Quantiles, number, wait_for
from torch import Tensor
from training import SHAPES, random_model

from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.making import make_block_encoder
from thinwire.config.block_settings import BlocksConfig
from thinwire.config.settings import EvaluationConfig, ModelConfig, PromptConfig
from thinwire.data.blocks import Blocks, in_blocks
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.sources import load_questions
from thinwire.data.splits import draw_examples
from thinwire.data.squad import Example
from thinwire.determinism import deterministic_kernels, generator
from thinwire.evaluation.answering import answer_questions
from thinwire.evaluation.generation import PREFILL_TOKENS, lay_out_prompts, prefill
from thinwire.evaluation.prompt_costs import cache_bytes, prefill_flops, prompt_sizes
from thinwire.files import write_json
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import load
from thinwire.model.memory import decoding_batch_tokens
from thinwire.results.provenance import environment


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Encoded prompts, and what their input embeddings are made from."""

    questions: list[Encoded]
    blocks: Blocks | None
    """None for text."""
    numbering_seconds: float
    """For finding and numbering the different blocks."""


def long_questions(
    encoder: PromptEncoder, tokenizer: Any, examples: Sequence[Example], num: int, context_tokens: int
) -> list[Encoded]:
    """Encode ``num`` questions, each with a context of exactly ``context_tokens`` tokens that begins with its own
    paragraph; no paragraph is used twice before all of ``examples`` are."""
    unused = cycle({example.paragraph_id: example for example in examples}.values())
    return [_long_question(encoder, tokenizer, unused, index, context_tokens) for index in range(num)]


def _long_question(
    encoder: PromptEncoder, tokenizer: Any, unused: Iterator[Example], index: int, context_tokens: int
) -> Encoded:
    own = next(unused)
    texts, num_tokens = [own.context.strip()], 0
    while True:
        num_tokens += len(tokenizer(texts[-1], add_special_tokens=False)["input_ids"])
        if num_tokens >= context_tokens:
            # Neighbouring texts may share a token: the whole says whether it is long enough.
            example = replace(own, paragraph_id=f"context {index}", context="\n\n".join(texts), answer_start=-1)
            encoded = encoder.encode(example)
            if len(encoded.context) >= context_tokens:
                return _cut(encoded, context_tokens)
        texts.append(next(unused).context.strip())


def _cut(question: Encoded, context_tokens: int) -> Encoded:
    """Leave the first ``context_tokens`` tokens of the context."""
    ids, start = question.prompt_ids, question.context.start
    context = range(start, start + context_tokens)
    return replace(question, prompt_ids=(*ids[: context.stop], *ids[question.context.stop :]), context=context)


class Reading:
    """One way of reading contexts: as text (blocks of 1), or in blocks of ``size`` tokens."""

    def __init__(self, lm: LanguageModel, size: int) -> None:
        self._lm, self.size = lm, size
        self.config = BlocksConfig(size=size, encoder="mlp") if size > 1 else None
        if self.config is not None:
            seeds = generator("cpu", 0, "blocks")
            self._encoder = make_block_encoder(self.config, lm.embedding_matrix, seeds)

    def prompts(self, questions: list[Encoded]) -> Prompts:
        """Put contexts into blocks, unless they are read as text."""
        if self.config is None:
            return Prompts(questions=questions, blocks=None, numbering_seconds=0.0)
        started = time.perf_counter()
        (found,), _, blocks = in_blocks([questions], [], self.config.kind, len(self._lm.embedding_matrix))
        return Prompts(questions=found, blocks=blocks, numbering_seconds=time.perf_counter() - started)

    def matrix(self, prompts: Prompts) -> Tensor:
        """Return the embeddings of all ids of the prompts, ``[V + B, D]``: blocks are encoded here."""
        if prompts.blocks is None:
            return self._lm.embedding_matrix
        return BlockEmbeddings(self._lm.embedding_matrix, self._encoder, prompts.blocks).matrix(self._lm.dtype)

    def first_token(self, prompts: Prompts) -> None:
        """Compute the first new token of the first prompt."""
        layout = lay_out_prompts([prompts.questions[0].prompt_ids], 1, PREFILL_TOKENS[self._lm.device.type])
        _, chosen = prefill(self._lm, self.matrix(prompts), layout)
        chosen.cpu()

    def answers(self, prompts: Prompts, encoder: PromptEncoder, max_new_tokens: int, batch_tokens: int) -> None:
        """Answer and score all prompts."""
        answer_questions(
            self._lm,
            self.matrix(prompts),
            encoder,
            prompts.questions,
            max_new_tokens=max_new_tokens,
            batch_tokens=batch_tokens,
            stop="length",
        )


def timed(works: dict[int, Callable[[], None]], device: torch.device, repetitions: int) -> dict[int, list[float]]:
    """Return the seconds of each way, which take turns, in the other order every second time; a first run of each does
    not count."""
    seconds: dict[int, list[float]] = {size: [] for size in works}
    for repetition in range(-1, repetitions):
        for size in works if repetition % 2 == 0 else reversed(list(works)):
            wait_for(device)
            started = time.perf_counter()
            works[size]()
            wait_for(device)
            if repetition >= 0:
                seconds[size].append(time.perf_counter() - started)
    return seconds


def measure_context(
    lm: LanguageModel,
    encoder: PromptEncoder,
    questions: list[Encoded],
    readings: Sequence[Reading],
    options: argparse.Namespace,
    context_tokens: int,
) -> list[dict[str, Any]]:
    """Time all ways of reading contexts of one length; a row for each."""
    many = {one.size: one.prompts(questions) for one in readings}
    single = {one.size: one.prompts(questions[:1]) for one in readings}
    batch_tokens = decoding_batch_tokens(lm, "auto")
    new = options.max_new_tokens
    first = timed(
        {one.size: lambda one=one: one.first_token(single[one.size]) for one in readings},
        lm.device,
        max(options.repetitions, options.first_token_repetitions),
    )
    whole = timed(
        {one.size: lambda one=one: one.answers(many[one.size], encoder, new, batch_tokens) for one in readings},
        lm.device,
        options.repetitions,
    )
    shape, rows = lm.shape(), []
    for one in readings:
        prompts = many[one.size]
        sizes = prompt_sizes(prompts.questions, one.config, lm.embedding_matrix.shape[1], shape)
        rows.append(
            {
                "block_size": one.size,
                "context_tokens": context_tokens,
                "tokens": sizes.tokens,
                "positions": sizes.positions,
                "different_blocks": 0 if prompts.blocks is None else len(prompts.blocks.members),
                "prefill_flops": prefill_flops(shape, sizes.positions, sizes.squared_positions or 0.0),
                "encoder_flops": sizes.encoder_flops,
                "cache_bytes": cache_bytes(shape, sizes.positions),
                "first_token_seconds": asdict(Quantiles.of(first[one.size])),
                "batch_seconds": asdict(Quantiles.of(whole[one.size])),
                "questions_per_second": asdict(Quantiles.of([len(questions) / s for s in whole[one.size]])),
                "first_token_speedup": statistics.median(first[readings[0].size]) / statistics.median(first[one.size]),
                "batch_speedup": statistics.median(whole[readings[0].size]) / statistics.median(whole[one.size]),
                "numbering_seconds": prompts.numbering_seconds,
            }
        )
    return rows


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """Format rows as text: medians, ranges in brackets, and how many times as fast as the first way."""
    heads = ("context", "k", "positions", "GFLOPs", "encoder", "KV MB", "first token, ms", "x", "questions/s", "x")
    lines = [heads]
    for row in rows:
        lines.append(
            (
                f"{row['context_tokens']:,}",
                str(row["block_size"]),
                f"{row['positions']:,.0f}",
                number(row["prefill_flops"] / 1e9),
                number(row["encoder_flops"] / 1e9),
                number(row["cache_bytes"] / 1e6),
                _with_range(row["first_token_seconds"], 1e3),
                f"{row['first_token_speedup']:.2f}",
                _with_range(row["questions_per_second"]),
                f"{row['batch_speedup']:.2f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


def _with_range(found: dict[str, float], unit: float = 1.0) -> str:
    return f"{number(unit * found['median'])} [{number(unit * found['low'])}, {number(unit * found['high'])}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="auto", help="as the setting model.name")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this size instead of the model's")
    parser.add_argument(
        "--block-sizes",
        type=int,
        nargs="+",
        default=[1, 2, 4, 8],
        help="1 is text; the first is the one that others are compared with",
    )
    parser.add_argument("--context-tokens", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--questions", type=int, default=512, help="in a batch, each with a context of its own")
    parser.add_argument("--max-new-tokens", type=int, default=EvaluationConfig().max_new_tokens)
    parser.add_argument("--repetitions", type=int, default=3, help="of a batch, after one that does not count")
    parser.add_argument("--first-token-repetitions", type=int, default=20, help="at least those of a batch")
    parser.add_argument("--output", type=Path, help="write the results as JSON")
    options = parser.parse_args()
    lm = load(ModelConfig(name=options.model))
    if options.shape:
        lm = random_model(options.shape, lm)
    encoder = PromptEncoder(lm.tokenizer, PromptConfig(max_tokens=4 * max(options.context_tokens) + 1024))
    train = load_questions("squad", "train")
    examples = draw_examples(train, len(train), 0, "benchmark")
    readings = [Reading(lm, size) for size in options.block_sizes]
    print(f"{lm.name}, {options.questions} questions of {options.max_new_tokens} new tokens; medians, [range]")
    rows: list[dict[str, Any]] = []
    with deterministic_kernels(), torch.no_grad():
        for context_tokens in options.context_tokens:
            questions = long_questions(encoder, lm.tokenizer, examples, options.questions, context_tokens)
            rows += measure_context(lm, encoder, questions, readings, options, context_tokens)
            # Printed at once: a borrowed machine may be gone before the last length.
            print(format_rows(rows), flush=True)
    record = {
        "model": lm.name,
        "encoder": "mlp",
        "questions": options.questions,
        "max_new_tokens": options.max_new_tokens,
        "repetitions": options.repetitions,
        "rows": rows,
        "environment": environment(lm.device).model_dump(mode="json"),
    }
    if options.output:
        write_json(options.output, record)


if __name__ == "__main__":
    main()
