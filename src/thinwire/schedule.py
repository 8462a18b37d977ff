"""The batches of one training, cut into passes: of any size, or of the few sizes that graphs are made for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from thinwire.batching import Batch, Pass, epoch_batches, make_batch, make_pass
from thinwire.config import ArmConfig
from thinwire.padding import Sizes, is_held, padded, plan_sizes, sizes_of
from thinwire.prompts import Encoded


class Schedule:
    """Which questions each step sees, and which of them go through the model together."""

    def __init__(
        self, questions: Sequence[Encoded], config: ArmConfig, *, k_tokens: int, pass_tokens: int, few_sizes: bool
    ) -> None:
        """Plan for arms that all see ``questions`` as ``config`` has it.

        Args:
            k_tokens: supervised tokens of an answer, at most.
            pass_tokens: most tokens in a pass, those of one arm.
            few_sizes: pad passes to sizes like those of the first epoch's. A later pass that none of them holds is cut
                in halves until one does, or it is a single question.
        """
        self._questions, self._config = questions, config
        self._k_tokens, self._pass_tokens = k_tokens, pass_tokens
        self.sizes: list[Sizes] = []
        """The few sizes, ascending; none where passes keep the size that they have."""
        if few_sizes:
            self.sizes = plan_sizes([sizes_of(one) for one in self._first_passes()])

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, counted from 1, on the CPU."""
        config = self._config.training
        grouped = config.batching == "grouped"
        for some in epoch_batches(self._questions, config.batch_size, self._config.seed, epoch, grouped=grouped):
            batch = make_batch(
                some,
                self._k_tokens,
                self._pass_tokens,
                share=config.share_prefixes,
                fits=lambda one: not self.sizes or is_held(one, self.sizes),
            )
            yield replace(batch, passes=[padded(one, self.sizes) for one in batch.passes])

    def rehearsal(self) -> list[Pass]:
        """What to try the device's memory with, the largest first: a pass of each of the few sizes (of a single
        question, and padding), or else the largest of the first epoch."""
        if not self.sizes:
            return [max(self._first_passes(), key=lambda one: len(one.indices))]
        shortest = min(self._questions, key=lambda question: len(question.prompt_ids))
        return [padded(make_pass([shortest], self._k_tokens), [size]) for size in reversed(self.sizes)]

    def _first_passes(self) -> Iterator[Pass]:
        return (one for batch in self.batches(1) for one in batch.passes)
