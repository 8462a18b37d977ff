"""Training on the tiny model: five questions, what arms read, and what training them together leaves."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from doubles import example, tiny_lm
from thinwire.adapter import Adapter
from thinwire.batching import token_counts
from thinwire.codecs import PCACodec
from thinwire.config import ArmConfig, CodecConfig, build
from thinwire.determinism import deterministic_kernels, generator
from thinwire.learner import Learner
from thinwire.lora import attached
from thinwire.objective import table_mean_square
from thinwire.prompts import PromptEncoder
from thinwire.reader import AdapterReader, CodecReader, Reader
from thinwire.train import train
from thinwire.training_state import TrainingState

QUESTIONS = [
    ("Ada wrote the first program in 1843.", "1843"),
    ("The mill has 12 wheels and one miller, and stands by the river since the flood.", "12"),
    ("Rain fell.", "Rain"),
    ("Oslo lies by a fjord.", "Oslo"),
    ("It took 3 days.", "3 days"),
]
WHOLE = 100_000
"""Tokens in a pass, enough for every batch."""


def arm_config(**changes) -> ArmConfig:
    """An arm of rank 2 without dropout: two epochs of two steps (three questions, then two)."""
    defaults = {
        "lora": {"rank": 2, "alpha": 4, "dropout": 0.0},
        "adapter": {"hidden": 8},
        "training": {"epochs": 2, "batch_size": 3, "warmup_steps": 0},
    }
    return build(ArmConfig, {**defaults, **changes}, where="")


class Setting:
    """The tiny model, its encoded questions, and fresh readers for arms."""

    def __init__(self, lm=None) -> None:
        self.lm = lm or tiny_lm()
        encoder = PromptEncoder(self.lm.tokenizer, ArmConfig().prompt)
        self.questions = [encoder.encode(example(n, context=c, answer=a)) for n, (c, a) in enumerate(QUESTIONS)]
        counts = token_counts(self.questions, len(self.lm.table))
        self.mean_square = table_mean_square(self.lm.table, counts)
        self._codec = PCACodec.fit(self.lm.table, counts, CodecConfig(compress_dim=8), 0)

    def reader(self, config: ArmConfig) -> Reader:
        if config.reads == "text":
            return Reader(self.lm.table)
        codes = self._codec.encode(self.lm.table)
        if config.reads == "codec":
            return CodecReader(codes, self._codec)
        adapter = Adapter(self._codec, config.adapter, generator("cpu", config.seed, "adapter"))
        return AdapterReader(codes, self._codec, adapter)

    def train(self, learners, lora, pass_tokens=WHOLE, replay=False, **options):
        options = {"pass_tokens": pass_tokens, "replay": replay, **options}
        return train(self.lm, learners, lora, self.questions, self.mean_square, **options)


@dataclass
class Trained:
    """One arm after training."""

    outcome: Any
    steps: list
    kept: list[TrainingState]
    """After each epoch."""
    state: dict[str, torch.Tensor]
    """Copies of all that it trained, by name."""

    @property
    def figures(self) -> list[dict[str, float | int | None]]:
        """Its steps without what depends on the clock."""
        return [{k: v for k, v in step.as_dict().items() if k != "tokens_per_second"} for step in self.steps]


def learner(
    config, reader, *, on_step=lambda *_: None, select=lambda epoch: float(epoch), keep=lambda _: None, begun=None
) -> Learner:
    """By default the last epoch is the best one."""
    return Learner(config=config, reader=reader, on_step=on_step, select=select, keep=keep, begun=begun)


def trained_numbers(reader, lora, arm=0) -> dict[str, torch.Tensor]:
    """Copies of an adapter's tensors and of an arm's LoRA factors, by name."""
    named = {**dict(reader.named_parameters()), **(lora.factors(arm) if lora else {})}
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def train_together(
    *configs,
    begun=None,
    change_reader=lambda number, reader: reader,
    lm=None,
    pass_tokens=WHOLE,
    replay=False,
    is_tried=False,
    **hooks,
):
    """Train fresh arms together, or go on with those that have ``begun``; one ``Trained`` for each."""
    setting = Setting(lm)
    readers = [change_reader(number, setting.reader(config)) for number, config in enumerate(configs)]
    steps, kept = [[] for _ in configs], [[] for _ in configs]
    with (
        deterministic_kernels(),
        attached(setting.lm.model, [c.lora for c in configs], [c.seed for c in configs]) as lora,
    ):
        learners = [
            learner(
                config,
                reader,
                on_step=lambda metrics, _, own=own: own.append(metrics),
                keep=lambda state, own_states=own_states: own_states.append(deepcopy(state)),
                begun=before,
                **hooks,
            )
            for config, reader, own, own_states, before in zip(
                configs, readers, steps, kept, begun or [None] * len(configs), strict=True
            )
        ]
        outcomes = setting.train(learners, lora, pass_tokens, replay, is_tried=is_tried)
        states = [trained_numbers(reader, lora, number) for number, reader in enumerate(readers)]
    return [Trained(*parts) for parts in zip(outcomes, steps, kept, states, strict=True)]
