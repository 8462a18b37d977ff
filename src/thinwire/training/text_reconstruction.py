"""Train a block encoder, and LoRA beside it, to let the frozen model write texts out of their blocks; measure it.

The objectives are those of in-context autoencoders (Ge et al. 2023, arXiv:2307.06945): repeating a text, and
continuing it. The training is the one of answers (``thinwire.training.trainer``), with a passage for a question, and
the passage or its continuation for the answer, of which all tokens are supervised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.config.experiment import ArmConfig
from thinwire.data.prompts import Encoded
from thinwire.errors import ThinwireError
from thinwire.model.language_model import LanguageModel
from thinwire.model.lora import StackedLora
from thinwire.results.arm_record import TextReconstruction
from thinwire.training.job import StepMetrics, TrainingJob
from thinwire.training.losses import cross_entropy
from thinwire.training.microbatch_loss import answer_logits
from thinwire.training.microbatches import fill_micro_batches, make_micro_batch
from thinwire.training.state import TrainingState
from thinwire.training.trainer import SaveStates, train

_MEASURED_TOKENS = 4_096
"""Tokens in a micro-batch of ``measure_writing``: few enough for the logits of all supervised tokens."""


class TextTrainingError(ThinwireError):
    """The training on texts has diverged, and would again."""


def train_to_write(
    lm: LanguageModel,
    inputs: InputEmbeddings,
    lora: StackedLora | None,
    config: ArmConfig,
    passages: Sequence[Encoded],
    *,
    micro_batch_tokens: int,
    is_tried: bool,
    use_cuda_graphs: bool,
    on_step: Callable[[StepMetrics, int], None] = lambda *_: None,
    resume_from: TrainingState | None = None,
    save_states: SaveStates = lambda _: None,
) -> None:
    """Train ``inputs`` and the only LoRA of ``lora`` in place, one visit a request, in their order's batches.

    Args:
        config: the arm's settings; those of ``blocks.reconstruction`` count.
        passages: in blocks, one for each request, with the texts to write as their answers.
        micro_batch_tokens: as in ``train``; so are the two below and ``save_states``.
        resume_from: the resume point; None to start from the beginning.

    Raises:
        TextTrainingError: the loss is no longer finite.
        Interrupted: as in ``train``.
    """
    job = TrainingJob(
        config=_settings(config, max(len(passage.answer_ids) for passage in passages)),
        inputs=inputs,
        on_step=on_step,
        select=float,  # the last epoch is the best
        resume_from=resume_from,
    )
    (result,) = train(
        lm,
        [job],
        lora,
        passages,
        mean_square=1.0,  # of the reconstruction loss, which blocks do not have
        micro_batch_tokens=micro_batch_tokens,
        is_tried=is_tried,
        use_cuda_graphs=use_cuda_graphs,
        save_states=save_states,
    )
    if isinstance(result, ThinwireError):
        raise TextTrainingError(
            f"text reconstruction: {result} (blocks.reconstruction.encoder_lr and lora_lr)"
        ) from result


def _settings(config: ArmConfig, longest: int) -> ArmConfig:
    """Return the settings of the arm's own training with those of its reconstruction in their place."""
    own = config.blocks.reconstruction
    weights = {"ce_weight": own.ce_weight, "first_token_ce_weight": 0.0, "kd_weight": own.kd_weight}
    supervision = {"k_tokens": longest, **weights, "teacher": None}
    training = {
        "epochs": 1,
        "batch_size": own.batch_size * own.requests,
        "batching": "shuffled" if own.requests == 1 else "grouped",  # all requests of a passage in one step
        "warmup_steps": "auto",
        "adapter_lr": own.encoder_lr,
        "lora_lr": own.lora_lr,
        "weight_decay": 0.0,
    }
    return config.model_copy(
        update={
            "supervision": config.supervision.model_copy(update=supervision),
            "training": config.training.model_copy(update=training),
        }
    )


@torch.no_grad()
def measure_writing(lm: LanguageModel, inputs: InputEmbeddings, passages: Sequence[Encoded]) -> TextReconstruction:
    """Measure how well texts are written out of their blocks, each token after the right ones before it.

    Args:
        passages: at least one, in blocks, with the texts to write as their answers.
    """
    longest = max(len(passage.answer_ids) for passage in passages)
    lengths = [len(passage.prompt_ids) + len(passage.answer_ids) for passage in passages]
    losses, hits, number = 0.0, 0, 0
    for group in fill_micro_batches(lengths, _MEASURED_TOKENS):
        micro_batch = make_micro_batch(passages[group.start : group.stop], longest).to(lm.device)
        (logits,) = answer_logits(lm, inputs(micro_batch.tokens)[None], micro_batch)
        losses += float(cross_entropy(logits, micro_batch.answer_ids).sum())
        hits += int((logits.argmax(-1) == micro_batch.answer_ids).sum())
        number += len(micro_batch.answer_ids)
    return TextReconstruction(
        passages=len(passages), tokens=number, cross_entropy=losses / number, accuracy=hits / number
    )
