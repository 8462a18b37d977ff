"""Training on the tiny model: five questions, what arms read, and what training them together leaves."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.adapter.making import make_input_embeddings
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.reconstruction_loss import matrix_mean_square
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.token_weights import token_counts
from thinwire.config.experiment import ArmConfig
from thinwire.data.prompts import PromptEncoder
from thinwire.determinism import deterministic_kernels
from thinwire.model.lora import attached
from thinwire.schema import build
from thinwire.training.job import TrainingJob
from thinwire.training.state import TrainingState
from thinwire.training.trainer import train
from tiny_models import example, tiny_lm

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
    """The tiny model, its encoded questions, and fresh inputs for arms."""

    def __init__(self, lm=None) -> None:
        self.lm = lm or tiny_lm()
        encoder = PromptEncoder(self.lm.tokenizer, ArmConfig().prompt)
        self.questions = [encoder.encode(example(n, context=c, answer=a)) for n, (c, a) in enumerate(QUESTIONS)]
        counts = token_counts([question.prompt_ids for question in self.questions], len(self.lm.embedding_matrix))
        self.mean_square = matrix_mean_square(self.lm.embedding_matrix, counts)
        self._codec = PCACodec.fit(self.lm.embedding_matrix, counts, CodecConfig(compress_dim=8), 0)

    def inputs(self, config: ArmConfig) -> InputEmbeddings:
        return make_input_embeddings(config, self.lm.embedding_matrix, self._codec)

    def train(self, jobs, lora, micro_batch_tokens=WHOLE, use_cuda_graphs=False, **options):
        options = {"micro_batch_tokens": micro_batch_tokens, "use_cuda_graphs": use_cuda_graphs, **options}
        return train(self.lm, jobs, lora, self.questions, self.mean_square, **options)


@dataclass
class Trained:
    """One arm after training."""

    result: Any
    steps: list
    kept: list[TrainingState]
    """Its resume points: after each epoch, and where it was interrupted."""
    state: dict[str, torch.Tensor]
    """Copies of all that it trained, by name."""

    @property
    def metrics(self) -> list[dict[str, float | int | None]]:
        """Its steps without what depends on the clock."""
        return [{k: v for k, v in step.as_dict().items() if k != "tokens_per_second"} for step in self.steps]


def job(
    config,
    inputs,
    *,
    on_step=lambda *_: None,
    select=lambda epoch: float(epoch),
    resume_from=None,
) -> TrainingJob:
    """By default the last epoch is the best one."""
    return TrainingJob(config=config, inputs=inputs, on_step=on_step, select=select, resume_from=resume_from)


def trained_tensors(inputs, lora, arm=0) -> dict[str, torch.Tensor]:
    """Copies of an adapter's tensors and of an arm's LoRA factors, by name."""
    named = {**dict(inputs.named_parameters()), **(lora.factors(arm) if lora else {})}
    return {name: tensor.detach().clone() for name, tensor in named.items()}


def train_together(
    *configs,
    resume_from=None,
    change_inputs=lambda number, inputs: inputs,
    lm=None,
    micro_batch_tokens=WHOLE,
    use_cuda_graphs=False,
    is_tried=False,
    then=lambda metrics: None,
    kept=None,
    **hooks,
):
    """Train fresh arms together, or go on with those that have ``resume_from``; one ``Trained`` for each.

    ``then`` is called after each step of each arm; ``kept`` gets their resume points, for when training is interrupted.
    """
    setting = Setting(lm)
    inputs = [change_inputs(number, setting.inputs(config)) for number, config in enumerate(configs)]
    steps, kept = [[] for _ in configs], kept or [[] for _ in configs]

    def on_step(own):
        return lambda metrics, _: (own.append(metrics), then(metrics))

    with (
        deterministic_kernels(),
        attached(setting.lm.model, [c.lora for c in configs], [c.seed for c in configs]) as lora,
    ):
        jobs = [
            job(
                config,
                inputs,
                on_step=on_step(own),
                resume_from=before,
                **hooks,
            )
            for config, inputs, own, before in zip(
                configs, inputs, steps, resume_from or [None] * len(configs), strict=True
            )
        ]

        def save_states(states):
            for number, state in states:
                kept[number].append(deepcopy(state))

        results = setting.train(
            jobs, lora, micro_batch_tokens, use_cuda_graphs, is_tried=is_tried, save_states=save_states
        )
        states = [trained_tensors(inputs, lora, number) for number, inputs in enumerate(inputs)]
    return [Trained(*parts) for parts in zip(results, steps, kept, states, strict=True)]
