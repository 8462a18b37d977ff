"""Start an arm that reads blocks from an encoder, and LoRA, that have learned to write texts out of their blocks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

import thinwire
from thinwire.adapter.block_embeddings import BlockEmbeddings
from thinwire.adapter.block_encoders import FORMULAS
from thinwire.adapter.starting import StartingPoint
from thinwire.config.experiment import ArmConfig
from thinwire.data.blocks import in_blocks
from thinwire.data.passages import DRAWING, Passages, draw_passages, longest_text, to_be_measured
from thinwire.data.prompts import Encoded
from thinwire.experiment.arm_inputs import ArmInputs
from thinwire.experiment.artifact_cache import ArtifactCache
from thinwire.experiment.runtime import Runtime
from thinwire.experiment.text_start_files import TextStartFiles
from thinwire.hashes import content_hash
from thinwire.model.compile import compiled_layers
from thinwire.model.lora import StackedLora, attached
from thinwire.model.memory import training_micro_batch_tokens
from thinwire.ops.device import fast_dtype
from thinwire.ops.threads import computing_with
from thinwire.results.arm_record import TextReconstruction
from thinwire.training.autotune import is_tried
from thinwire.training.job import StepMetrics
from thinwire.training.state import TrainingState
from thinwire.training.teaching import reads_text, taught
from thinwire.training.text_reconstruction import TextTrainingError, measure_writing, train_to_write
from thinwire.training.trainer import SaveStates

logger = logging.getLogger(__name__)

_MEASURED_PASSAGES = 200
"""Most held-out passages that are measured on; of fewer passages that were learned from, as many."""

_ENCODER, _LORA = "encoder.", "lora."
"""What the names of the weights in the cache begin with."""


def with_text_start(
    runtime: Runtime,
    artifacts: ArtifactCache,
    inputs: ArmInputs,
    on_keeping: Callable[[int], None] = lambda _: None,
) -> ArmInputs:
    """Return the inputs with trained encoder and LoRA, if they are to be trained on texts first: out of the cache, or
    trained now, from the resume point in the cache if an earlier training was interrupted.

    Args:
        on_keeping: called before a resume point is written, with the number of steps done; may raise.

    Raises:
        UsageError: there is no text to learn from.
        TextTrainingError: the training diverges, or did so before.
        StorageError: a resume point cannot be written.
        Interrupted: a signal has asked for the end, and a resume point is saved.
    """
    arm, embeddings, lm = inputs.config, inputs.embeddings, runtime.lm
    if not isinstance(embeddings, BlockEmbeddings) or not arm.reconstructs_text:
        return inputs
    passages, held_out = artifacts.passages(arm)
    room = lm.longest_sequence
    size = 1 if arm.blocks.reconstruction.kd_weight > 0 else embeddings.kind.size  # a teacher reads text
    longest, longest_held_out = longest_text(passages, size, room), longest_text(held_out, size, room)
    start = StartingPoint(content_hash(_key(runtime, inputs, passages, longest)))
    num_measured = min(_MEASURED_PASSAGES, arm.blocks.reconstruction.num_passages)
    texts = [to_be_measured(held_out, one, longest_held_out) for one in held_out.prompts[:num_measured]]
    # Other held-out texts, as of changed data, do not change the weights.
    result = StartingPoint(content_hash([start.key, [(text.prompt_ids, text.answer_ids) for text in texts]]))
    beside = arm.blocks.reconstruction.lora
    lora_settings = arm.lora.model_copy(update={"rank": 0}) if beside == "absent" else arm.lora
    with attached(lm.model, [lora_settings], [arm.seed]) as lora:
        if lora and inputs.starting_lora:
            lora.start(0, inputs.starting_lora)
        own, files = _weights(embeddings, lora), TextStartFiles(start.folder, start.key)

        def trained() -> dict[str, Tensor]:
            files.check_not_failed()
            state = files.resume_point()
            if state is not None:
                logger.info("text reconstruction: going on after step %d", state.step)
            try:
                # A resumed training goes on with as many threads, or sums would be rounded differently.
                with computing_with(state.cpu_threads if state else None):
                    _train(
                        runtime,
                        arm,
                        embeddings,
                        lora,
                        passages,
                        longest,
                        state,
                        partial(files.save, on_keeping=on_keeping),
                    )
            except TextTrainingError as error:
                files.fail(error)
                raise
            return own

        def measured() -> TextReconstruction:
            logger.info("measuring how %d held-out texts are written", len(texts))
            (in_blocks_,), _, blocks = in_blocks([texts], [], embeddings.kind, len(embeddings.source))
            return measure_writing(lm, embeddings.with_blocks(blocks), in_blocks_)

        for name, weight in start.weights(own, trained).items():
            own[name].copy_(weight)
        found = result.measures(TextReconstruction, "text reconstruction", measured)
        factors = inputs.starting_lora
        if lora and beside == "kept":
            factors = {name: factor.clone() for name, factor in lora.factors(0).items()}
    logger.info(
        "texts written out of blocks of %d tokens: %.1f %% of held-out tokens right, %.2f nats a token",
        embeddings.kind.size,
        100 * found.accuracy,
        found.cross_entropy,
    )
    return replace(inputs, starting_lora=factors, text_reconstruction=found)


def _train(
    runtime: Runtime,
    arm: ArmConfig,
    embeddings: BlockEmbeddings,
    lora: StackedLora | None,
    passages: Passages,
    longest: int | None,
    resume_from: TrainingState | None,
    save_states: SaveStates,
) -> None:
    """Train the encoder of ``embeddings`` and LoRA in place, on texts of at most ``longest`` tokens."""
    lm, setting, config = runtime.lm, arm.training.micro_batch_tokens, arm.blocks.reconstruction
    drawn = list(
        draw_passages(
            passages, config.modes, config.num_passages, embeddings.kind.size, arm.seed, longest, config.requests
        )
    )
    _, visits, blocks = in_blocks([], drawn, embeddings.kind, len(embeddings.source))
    lengths = [len(visit.prompt_ids) + len(visit.answer_ids) for visit in visits]
    logger.info(
        "learning to write texts out of blocks of %d tokens: %d passages, %d requests, %d positions",
        embeddings.kind.size,
        config.num_passages,
        len(visits),
        sum(lengths),
    )
    taught_visits: Sequence[Encoded] = visits
    if config.kd_weight > 0:
        with lora.disabled() if lora else nullcontext():
            taught_visits = taught(visits, drawn, reads_text(lm), max(len(visit.answer_ids) for visit in visits))
    with (
        runtime.display.task("text reconstruction", before=resume_from.step if resume_from else 0) as task,
        compiled_layers(lm, runtime.compile_layers, sum(lengths)) as compiled,
    ):

        def on_step(metrics: StepMetrics, total: int) -> None:
            numbers = f"{metrics.loss:.2f} nats  {metrics.tokens_per_second:,.0f} tokens/s"
            task.update(metrics.step, total, numbers)
            logger.debug("text reconstruction step %d/%d  %s", metrics.step, total, numbers)

        train_to_write(
            lm,
            embeddings.with_blocks(blocks),
            lora,
            arm,
            taught_visits,
            micro_batch_tokens=training_micro_batch_tokens(
                lm, setting, compiled=compiled, share=runtime.memory_share, predicts_all=True, blocks=arm.blocks
            ),
            is_tried=is_tried(lm.device, setting),
            use_cuda_graphs=runtime.use_cuda_graphs,
            on_step=on_step,
            resume_from=resume_from,
            save_states=save_states,
        )


def _weights(embeddings: BlockEmbeddings, lora: StackedLora | None) -> dict[str, Tensor]:
    """Return all trained tensors by their names in the cache: those in use, no copies."""
    encoder = {f"{_ENCODER}{name}": parameter.data for name, parameter in embeddings.encoder.named_parameters()}
    factors = lora.factors(0) if lora else {}
    return encoder | {f"{_LORA}{name}": factor for name, factor in factors.items()}


def _key(runtime: Runtime, inputs: ArmInputs, passages: Passages, longest: int | None) -> dict[str, Any]:
    """Return everything that determines the weights, except for rounding."""
    arm, lm = inputs.config, runtime.lm
    has_lora = arm.lora.rank > 0 and arm.blocks.reconstruction.lora != "absent"
    start = inputs.starting_lora or {}
    blocks = arm.blocks.model_dump()
    blocks["reconstruction"].pop("lora")  # what is done with it afterwards changes no weights
    return {
        "model": lm.identity().model_dump(),
        "matrix": lm.embedding_hash(),
        "layers": lm.layers_hash(),
        "made_by": [thinwire.__version__, torch.__version__, lm.device.type, str(fast_dtype(lm.device))],
        "contexts": [passage.prompt_ids for passage in passages.prompts],
        "requests": [passages.slot, dict(passages.requests), passages.end_id],
        "blocks": blocks,
        "formulas": [FORMULAS, DRAWING],
        "projection": inputs.block_projection.fingerprint() if inputs.block_projection else None,
        "lora": arm.lora.model_dump() if has_lora else None,
        "lora_start": [hashlib.sha256(factor.cpu().numpy().tobytes()).hexdigest() for factor in start.values()],
        "longest": longest,
        "clip_norm": arm.training.clip_norm,
        # With dropout, texts that share a beginning share its mask.
        "share_prefixes": arm.training.share_prefixes,
        "seed": arm.seed,
    }
