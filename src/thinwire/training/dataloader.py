"""The batches of a training, cut into micro-batches: of any shape, or of a few shape buckets for CUDA graphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from thinwire.config.experiment import ArmConfig
from thinwire.data.order import epoch_batches
from thinwire.data.prompts import Encoded
from thinwire.training.microbatches import Batch, MicroBatch, make_batch, make_micro_batch
from thinwire.training.shape_buckets import ShapeBucket, fits_a_bucket, padded, plan_buckets, shape_of


class MicroBatchLoader:
    """Yields the batches of each epoch, cut into micro-batches."""

    def __init__(
        self,
        questions: Sequence[Encoded],
        config: ArmConfig,
        *,
        k_tokens: int,
        micro_batch_tokens: int,
        use_buckets: bool,
    ) -> None:
        """Load ``questions`` in the order and batches of ``config``, which is the same for all arms of a group.

        Args:
            k_tokens: most supervised tokens of an answer.
            micro_batch_tokens: most tokens in a micro-batch, counted for one arm.
            use_buckets: pad micro-batches to a few shape buckets, planned from the first epoch. A micro-batch that fits
                none of them is halved until its parts fit or are single questions.
        """
        self._questions, self._config = questions, config
        self._k_tokens, self._micro_batch_tokens = k_tokens, micro_batch_tokens
        self.buckets: list[ShapeBucket] = []
        """The shape buckets, ascending; empty if micro-batches are not padded."""
        if use_buckets:
            self.buckets = plan_buckets([shape_of(micro_batch) for micro_batch in self._first_epoch()])

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 1, on the CPU, from step ``first``, counted from 0."""
        config = self._config.training
        grouped = config.batching == "grouped"
        seed = self._config.seed
        for drawn in epoch_batches(self._questions, config.batch_size, seed, epoch, grouped=grouped, first=first):
            batch = make_batch(
                drawn,
                self._k_tokens,
                self._micro_batch_tokens,
                share=config.share_prefixes,
                fits=lambda micro_batch: not self.buckets or fits_a_bucket(micro_batch, self.buckets),
            )
            yield replace(batch, micro_batches=[padded(part, self.buckets) for part in batch.micro_batches])

    def warm_up_batches(self) -> list[MicroBatch]:
        """Return micro-batches to try the device's memory with, the largest first: one for each shape bucket (a single
        question and padding), or without buckets the largest of the first epoch."""
        if not self.buckets:
            return [max(self._first_epoch(), key=lambda micro_batch: len(micro_batch.indices))]
        shortest = min(self._questions, key=lambda question: len(question.prompt_ids))
        return [padded(make_micro_batch([shortest], self._k_tokens), [bucket]) for bucket in reversed(self.buckets)]

    def _first_epoch(self) -> Iterator[MicroBatch]:
        """Yield the micro-batches of the first epoch."""
        return (micro_batch for batch in self.batches(1) for micro_batch in batch.micro_batches)
