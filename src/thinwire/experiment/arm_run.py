"""Run or resume one arm: selection after each epoch, test of the best epoch, checkpoint and results."""

from __future__ import annotations

import time
from contextlib import nullcontext

import torch
from torch import Tensor

from thinwire import interruption
from thinwire.checkpoints.save import is_saved, save_checkpoint, trainable_parameters
from thinwire.data.prompts import Encoded
from thinwire.evaluation.answering import answer_questions
from thinwire.evaluation.prediction import Prediction, summarize
from thinwire.evaluation.prompt_costs import prompt_sizes
from thinwire.experiment.arm_inputs import ArmInputs
from thinwire.experiment.arm_journal import ArmJournal, Split
from thinwire.experiment.block_codes import block_codes
from thinwire.experiment.runtime import Runtime
from thinwire.model.compile import uncompiled
from thinwire.model.lora import StackedLora
from thinwire.model.memory import decoding_batch_tokens
from thinwire.progress import Task, clock
from thinwire.results.arm_record import ArmResults, CodecRecord, TrainableParameters, TrainingResult
from thinwire.results.integrity import hash_of
from thinwire.results.layout import CHECKPOINT_FOLDER
from thinwire.tasks.table import TASKS
from thinwire.training.job import StepMetrics, TrainingJob
from thinwire.training.state import TrainingState


class ArmRun:
    """One arm with its inputs, until its results are returned. It is number ``number`` in ``lora``."""

    def __init__(
        self, runtime: Runtime, journal: ArmJournal, inputs: ArmInputs, lora: StackedLora | None, number: int
    ) -> None:
        self.journal, self.inputs, self.config = journal, inputs, inputs.config
        self._task = TASKS[self.config.task]
        self._runtime, self._lora, self._number = runtime, lora, number
        self._last_matrix: Tensor | None = None
        self._seconds_of_last_matrix = self._seconds_made_before = 0.0

    def training_job(self, task: Task, resume_from: TrainingState | None, *, arms_beside: int) -> TrainingJob:
        """Return the inputs and callbacks of ``train()``; steps are written to the journal and shown by ``task``."""

        def on_step(metrics: StepMetrics, total: int) -> None:
            self.journal.write_step(metrics)
            numbers = f"loss {metrics.loss:.4f}  {metrics.tokens_per_second:,.0f} tokens/s"
            if metrics.cosine is not None:
                numbers = f"cosine {metrics.cosine:.3f}  {numbers}"
            self.journal.log("debug", "step %d/%d  %s", metrics.step, total, numbers)
            if arms_beside:
                numbers = f"{metrics.tokens_per_second:,.0f} tokens/s"
            task.update(metrics.step, total, numbers)

        return TrainingJob(
            config=self.config,
            inputs=self.inputs.embeddings,
            on_step=on_step,
            select=self.select,
            resume_from=resume_from,
        )

    def select(self, epoch: int) -> float:
        """Score the current weights on the selection split; epochs and arms are chosen by the returned score."""
        name = self.journal.name
        predictions, seconds = self._answer("selection", self.inputs.questions.encoded.selection, epoch)
        scores = summarize(predictions)
        self.journal.write_selection(epoch, scores)
        found = f"{self._task.label} {100 * scores.score:.1f}"
        self.journal.log("info", "%s epoch %d: selection %s, %s", name, epoch, found, clock(seconds))
        return scores.score

    def test(self, training: TrainingResult | None) -> ArmResults:
        """Score the current weights, those of the best epoch, once on the test split, and save them.

        Args:
            training: None if the arm was not trained.
        """
        name, inputs = self.journal.name, self.inputs
        epoch = training.best_epoch if training else 0
        predictions, seconds = self._answer("test", inputs.questions.encoded.test, epoch)
        scores = summarize(predictions)
        self.journal.write_test(epoch, scores, (prediction.as_dict() for prediction in predictions))
        if training:
            self.journal.seconds += training.seconds
        if is_saved(self.config):
            save_checkpoint(self.journal.folder / CHECKPOINT_FOLDER, inputs.embeddings, self._lora, self._number)
        exact = f", EM {100 * scores.exact_match:.1f}" if self._task.shows_exact_match else ""
        self.journal.log("info", "%s: test %s %.1f%s", name, self._task.label, 100 * scores.score, exact)
        reconstruction = inputs.reconstruction_at_start
        if training and self.config.input == "adapter":
            reconstruction = inputs.reconstruction(self._runtime.lm.embedding_matrix)
        lora = self._lora if self.config.learns_lora else None
        trained = trainable_parameters(inputs.embeddings, lora, self._number)
        return ArmResults(
            trainable_parameters=trained if self.config.learns else TrainableParameters(adapter=0, lora=0),
            codec=self._codec_record(),
            reconstruction_at_start=inputs.reconstruction_at_start,
            reconstruction=reconstruction,
            training=training,
            selection=self.journal.selections[epoch - 1 if training else 0],
            test=scores,
            seconds_test=seconds,
            seconds_embeddings=self._seconds_made_before,
            answer_form=inputs.questions.answer_form,
            text_reconstruction=inputs.text_reconstruction,
            block_codes=block_codes(inputs.block_projection),
            prompts=prompt_sizes(
                inputs.questions.encoded.test,
                self.config.blocks if self.config.block_kind is not None else None,
                self._runtime.lm.embedding_matrix.shape[1],
                shape := self._runtime.lm.shape(),
            ),
            model_shape=shape,
            labels=inputs.questions.encoded.test[0].example.choices if self._task.has_labels else None,
        )

    def _answer(self, split: Split, questions: list[Encoded], epoch: int) -> tuple[list[Prediction], float]:
        """Answer with the weights of ``epoch``, as an embedding matrix and with merged LoRA, as the exported arm would.

        Returns:
            The predictions, and the seconds that they took.
        """
        started = time.perf_counter()
        runtime, evaluation = self._runtime, self.config.evaluation

        def on_progress(done: int, total: int) -> None:
            interruption.check()
            task.update(done, total)

        def chosen() -> int:
            return decoding_batch_tokens(runtime.lm, evaluation.batch_tokens, runtime.memory_share)

        alone = self._lora.alone(self._number) if self._lora else nullcontext()
        with runtime.display.task(f"{self.journal.name}: {split}") as task, uncompiled(), alone:
            predictions = answer_questions(
                runtime.lm,
                self._matrix(epoch),
                self.inputs.questions.encoded.encoder,
                questions,
                task=self._task,
                max_new_tokens=evaluation.max_new_tokens,
                batch_tokens=self.journal.batch_tokens(split, chosen),
                stop=evaluation.stop,
                score=evaluation.score,
                on_progress=on_progress,
            )
        seconds = time.perf_counter() - started
        self.journal.seconds += seconds
        return predictions, seconds

    def _matrix(self, epoch: int) -> Tensor:
        """Return the embedding matrix with the weights of ``epoch``.

        The matrix of the last epoch is kept: if that is the best one, its test follows its selection.
        """
        self._seconds_made_before = 0.0
        if epoch < self.config.training.epochs:
            self._last_matrix = None  # two matrices might not fit into memory
            return self.inputs.embeddings.matrix(self._runtime.lm.dtype)
        if self._last_matrix is None:
            started = time.perf_counter()
            self._last_matrix = self.inputs.embeddings.matrix(self._runtime.lm.dtype)
            if self._last_matrix.is_cuda:
                torch.cuda.synchronize(self._last_matrix.device)
            self._seconds_of_last_matrix = time.perf_counter() - started
        else:
            self._seconds_made_before = self._seconds_of_last_matrix
        return self._last_matrix

    def _codec_record(self) -> CodecRecord | None:
        if self.inputs.fitted is None:
            return None
        codec, file = self.inputs.fitted.codec, self.inputs.fitted.file
        return CodecRecord(
            file=f"{file.parent.name}/{file.name}",
            label=codec.label(self.config.codec),
            code_width=codec.code_width,
            code_bits=codec.code_bits,
            num_parameters=sum(tensor.numel() for tensor in codec.state().values()),
            num_bytes=codec.num_bytes(with_decoder=self.config.input == "codec"),
            metrics=codec.metrics(),
            warnings=codec.warnings(),
            sha256=hash_of(file, file.parent),
        )
