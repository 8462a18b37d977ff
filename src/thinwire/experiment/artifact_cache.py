"""Make the inputs of arms, and keep those that several arms share.

``ArtifactCache.arm_inputs`` makes one ``ArmInputs``, top-down: questions, token counts, codec, codes, input embeddings,
teacher, starting LoRA. What several arms have in common is made once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import thinwire
from thinwire import interruption
from thinwire.adapter.input_embeddings import AdapterEmbeddings, InputEmbeddings
from thinwire.adapter.making import make_input_embeddings
from thinwire.adapter.metrics import measure_reconstruction
from thinwire.adapter.pretraining import train_reconstruction
from thinwire.adapter.starting import StartingPoint
from thinwire.checkpoints.load import check_has_matrix, find_arm, load_arm, starting_factors
from thinwire.claims import make_file_alone
from thinwire.codecs.base import Codec
from thinwire.codecs.settings import CodecConfig
from thinwire.codecs.table import codec_class
from thinwire.config.experiment import ArmConfig, Experiment
from thinwire.data.passages import Passages
from thinwire.data.splits import Splits
from thinwire.errors import StorageError, ThinwireError, UsageError
from thinwire.experiment.arm_inputs import ArmInputs, FittedCodec, PreparedQuestions
from thinwire.experiment.block_codes import block_projection
from thinwire.experiment.question_cache import PromptKey, QuestionCache, prompt_key
from thinwire.hashes import content_hash
from thinwire.model.first_layers import copy_of_first_layers
from thinwire.model.language_model import LanguageModel
from thinwire.ops.device import fast_dtype
from thinwire.progress import Display
from thinwire.results.arm_record import Reconstruction
from thinwire.tasks.table import TASKS
from thinwire.training.microbatch_loss import Teacher

logger = logging.getLogger(__name__)


class ArtifactCache:
    """Makes the inputs of arms, and keeps what other arms may share."""

    def __init__(
        self,
        experiment: Experiment,
        lm: LanguageModel,
        codec_folder: Path,
        display: Display,
        splits: Splits | None = None,
    ) -> None:
        self._lm, self._display = lm, display
        self._seed = experiment.seed
        self._splits = splits or Splits(experiment.data, experiment.seed, TASKS[experiment.task])
        self._codec_folder = codec_folder
        self._matrix_hash: str | None = None
        self._questions = QuestionCache(lm, self._splits)
        self._codecs: dict[tuple[PromptKey, CodecConfig], FittedCodec] = {}
        self._codec_reconstructions: dict[Path, Reconstruction] = {}
        self._starting: dict[str, tuple[dict[str, Tensor], Reconstruction]] = {}
        self._teachers: dict[str, Teacher] = {}

    def arm_inputs(self, arm: ArmConfig) -> ArmInputs:
        """Make all inputs of ``arm``, in which ``auto`` is already resolved.

        Raises:
            UsageError: its prompts, codec, teacher or LoRA cannot be made as its settings require.
        """
        # First, because an error in these costs the least time.
        teacher, starting_lora = self._teacher(arm), self._starting_lora(arm)
        return replace(self._own_inputs(arm), teacher=teacher, starting_lora=starting_lora)

    def _own_inputs(self, arm: ArmConfig) -> ArmInputs:
        """Make the inputs of ``arm`` that do not come from other arms."""
        prepared = self.questions(arm)
        matrix = self._lm.embedding_matrix
        fitted = self.codec(arm) if arm.uses_codec else None
        projection = block_projection(arm, self._lm, prepared, self._codec_folder)
        if fitted is None:
            blocks, at_start = prepared.blocks, None
            decoder = copy_of_first_layers(self._lm, arm.blocks.layers) if arm.copies_layers else None
            embeddings = make_input_embeddings(arm, matrix, blocks=blocks, projection=projection, decoder=decoder)
        else:
            embeddings = make_input_embeddings(arm, matrix, fitted.codec, fitted.codes)
            at_start = self._reconstruction_at_start(arm, embeddings, fitted)
        return ArmInputs(
            config=arm,
            questions=prepared,
            fitted=fitted,
            embeddings=embeddings,
            reconstruction_at_start=at_start,
            teacher=None,
            starting_lora=None,
            block_projection=projection,
        )

    def make_shared(self, arms: Iterable[ArmConfig]) -> None:
        """Save the arms' codecs and starting adapters in folder and cache, where worker processes find them.

        Raises:
            StorageError: one cannot be written.
        """
        for arm in arms:
            if arm.uses_codec or arm.has_block_codes:
                try:
                    self._own_inputs(arm)
                except StorageError:
                    raise
                except (ThinwireError, RuntimeError, OSError):
                    # An arm that cannot be prepared fails again in its worker process, which records the error.
                    logger.debug("not made beforehand", exc_info=True)

    def questions(self, arm: ArmConfig) -> PreparedQuestions:
        """Return the questions of ``arm``, in which ``auto`` is already resolved.

        Raises:
            UsageError: as ``QuestionCache.questions``.
        """
        return self._questions.questions(arm)

    def passages(self, arm: ArmConfig) -> tuple[Passages, Passages]:
        """Return the passages that ``arm`` learns from before its questions, and held-out ones to measure that.

        Raises:
            UsageError: as ``QuestionCache.passages``.
        """
        return self._questions.passages(arm)

    def codec(self, arm: ArmConfig) -> FittedCodec:
        """Return the arm's codec: read from its file in the sweep's folder, or fitted and saved there."""
        key = prompt_key(arm), arm.codec
        if key not in self._codecs:
            kind, matrix = codec_class(arm.codec), self._lm.embedding_matrix
            file = self._codec_folder / f"{arm.codec.kind}-{content_hash(self._codec_key(arm))[:12]}.safetensors"
            if not os.path.lexists(file):
                # The experiment's seed and not the arm's: all seeds of an arm share the codec.
                make_file_alone(
                    file,
                    f"the codec {arm.codec.kind}",
                    lambda: kind.fit(matrix, self.questions(arm).counts, arm.codec, self._seed).save(file),
                )
            # The adapters of finished arms depend on this very file, so a resumed sweep never fits again.
            codec = kind.load(file, arm.codec, matrix.shape[1]).to(self._lm.device)
            metrics = ", ".join(f"{metric.name} {metric.value:.3f}" for metric in codec.metrics())
            logger.info(
                "codec %s: %d to %d numbers a token, %s", arm.codec.kind, matrix.shape[1], codec.code_width, metrics
            )
            for warning in codec.warnings():
                logger.warning("codec %s: %s", arm.codec.kind, warning)
            self._codecs[key] = FittedCodec(codec=codec, file=file, codes=codec.encode(matrix))
        return self._codecs[key]

    def _reconstruction_at_start(
        self, arm: ArmConfig, embeddings: InputEmbeddings, fitted: FittedCodec
    ) -> Reconstruction:
        """Give an adapter its starting weights, and return how well the embeddings rebuild the matrix."""
        if isinstance(embeddings, AdapterEmbeddings):
            return self._start(arm, embeddings, fitted)
        questions = self.questions(arm)
        if fitted.file not in self._codec_reconstructions:
            self._codec_reconstructions[fitted.file] = measure_reconstruction(
                embeddings, self._lm.embedding_matrix, questions.counts, questions.mean_square
            )
        return self._codec_reconstructions[fitted.file]

    def _start(self, arm: ArmConfig, embeddings: AdapterEmbeddings, fitted: FittedCodec) -> Reconstruction:
        """Load the starting adapter's weights into ``embeddings``; returns its reconstruction metrics."""
        questions, matrix = self.questions(arm), self._lm.embedding_matrix
        starting = StartingPoint(content_hash(self._adapter_key(arm, fitted.codec)))
        if starting.key not in self._starting:
            weights = {}
            if arm.reconstruction.steps != 0:
                own = dict(embeddings.adapter.named_parameters())
                weights = starting.weights(own, lambda: self._pretrain(arm, embeddings, questions))
                embeddings.adapter.load_state_dict(weights)
            reconstruction = starting.measures(
                Reconstruction,
                "reconstruction",
                lambda: measure_reconstruction(embeddings, matrix, questions.counts, questions.mean_square),
            )
            self._starting[starting.key] = weights, reconstruction
        weights, reconstruction = self._starting[starting.key]
        if weights:
            embeddings.adapter.load_state_dict(weights)
        return reconstruction

    def _pretrain(self, arm: ArmConfig, inputs: AdapterEmbeddings, questions: PreparedQuestions) -> dict[str, Tensor]:
        with self._display.task("reconstruction") as task:

            def on_step(step: int, total: int, cosine: float) -> None:
                interruption.check()
                task.update(step, total, f"cosine {cosine:.3f}")

            train_reconstruction(
                inputs,
                self._lm.embedding_matrix,
                questions.counts,
                questions.mean_square,
                questions.encoded.train,
                arm.reconstruction,
                arm.seed,
                on_step,
            )
        return dict(inputs.adapter.named_parameters())

    def _teacher(self, arm: ArmConfig) -> Teacher | None:
        folder = arm.supervision.teacher
        if folder is None or arm.supervision.kd_weight == 0:
            return None
        if folder not in self._teachers:
            logger.info("opening %s, which teaches", folder)
            finished = find_arm(Path(folder), device=self._lm.device_setting)
            check_has_matrix(finished.folder, finished.config)
            lm, inputs = load_arm(finished)
            teacher_size, own_size = len(lm.embedding_matrix), len(self._lm.embedding_matrix)
            if teacher_size != own_size:
                raise UsageError(
                    f"{folder} cannot teach: the vocabulary of its {lm.name} has {teacher_size:,} entries, that of "
                    f"{self._lm.name} {own_size:,}; choose an arm of the same model (supervision.teacher)"
                )
            self._teachers[folder] = lm, inputs
        return self._teachers[folder]

    def _starting_lora(self, arm: ArmConfig) -> dict[str, Tensor] | None:
        folder = arm.lora.start_from
        if folder is None or arm.lora.rank == 0:
            return None
        logger.info("starting LoRA from %s", folder)
        return starting_factors(find_arm(Path(folder), device=self._lm.device_setting), arm.lora, self._lm)

    def _codec_key(self, arm: ArmConfig) -> dict[str, Any]:
        """Return everything that determines a codec, except for rounding."""
        if self._matrix_hash is None:
            self._matrix_hash = self._lm.embedding_hash()
        return {
            "matrix": self._matrix_hash,
            "counts": self.questions(arm).counts_hash,
            "codec": arm.codec.effective(),
            "codec_seed": self._seed,
        }

    def _adapter_key(self, arm: ArmConfig, codec: Codec) -> dict[str, Any]:
        """Return everything that determines a starting adapter."""
        train, device = self.questions(arm).encoded.train, self._lm.device
        return {
            **self._codec_key(arm),
            "codes": codec.cache_key(),
            "made_by": [thinwire.__version__, torch.__version__, device.type, str(fast_dtype(device))],
            "prompts": [question.prompt_ids for question in train] if arm.reconstruction.mode == "sequence" else None,
            "adapter": arm.adapter.model_dump(),
            "reconstruction": arm.reconstruction.model_dump(),
            "seed": arm.seed,
        }
