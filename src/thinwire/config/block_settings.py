"""Settings of blocks: several tokens of the context in one position."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator
from typing_extensions import Self

from thinwire.errors import UsageError
from thinwire.schema import Auto, ByDevice, PositiveInt, Rate, Section, Weight, Width

Request = Literal["autoencoding", "continuation", "recall", "cloze"]
"""What is asked of a text that is read in blocks."""

FOR_PLACES: frozenset[Request] = frozenset({"recall", "cloze"})
"""Requests for a place in a text, of which there are many; others are for all of it."""


class BlockKind(NamedTuple):
    """What makes two blocks the same one."""

    size: int
    """Tokens in a block."""
    reads_context: bool
    """Whether a block's embedding depends on its context and its place there, and not on its own tokens alone."""


class TextReconstructionConfig(Section):
    """Training of encoder and LoRA before the questions: the model writes texts out of their blocks. It needs no
    questions and no answers: its texts are the contexts of the training articles, whether or not their questions were
    drawn."""

    modes: Annotated[tuple[Request, ...], Field(min_length=1)] = ("autoencoding",)
    """What is asked of each passage, drawn by seed. ``autoencoding``: to repeat the text that the blocks
    stand for. ``continuation``: to go on where they end, as the paragraph does. ``recall``: to go on after some quoted
    words. ``cloze``: to fill a blank in some quoted words. Every token to be written is supervised by its
    cross-entropy."""
    requests: Annotated[int, Field(ge=1, le=1_000)] = 1
    """How much is asked of each passage: so many of ``modes``, drawn by seed, all in the same step, where those that
    ask for the whole text are drawn once at most. Requests for places share the passage's blocks in a micro-batch
    (``training.share_prefixes``)."""
    ce_weight: Weight = 1.0
    """Weight of that cross-entropy."""
    kd_weight: Weight = 0.0
    """Weight of KL(teacher || student) at the same tokens, where the teacher is the model itself with the text in the
    prompt, without LoRA. Its last hidden states are kept in memory, two or four bytes for each number."""
    passages: Annotated[PositiveInt | Auto | Literal[0], ByDevice(cuda=40_000, cpu=500)] = "auto"
    """Passages to train on; once all paragraphs have been seen they are seen again, many cut into other blocks.
    ``auto`` is 40,000 on a GPU and 500 on a CPU; 0 leaves this training out."""
    distractors: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Other paragraphs of the same article that stand beside a passage's own, as ``data.distractors`` puts them beside
    a question's; the same ones if the numbers are equal. With ``n`` of them, a text to be repeated is about ``n + 1``
    times as long."""
    batch_size: Annotated[int, Field(gt=0, le=1_000_000)] = 32
    """Passages per optimiser step."""
    encoder_lr: Rate = 3e-4
    """Peak learning rate of AdamW for the encoder."""
    lora_lr: Rate = 1e-3
    """Peak learning rate of AdamW for LoRA, where the arm has it."""
    lora: Literal["kept", "restarted", "absent"] = "kept"
    """Whether LoRA is trained with the encoder and goes on from there with the questions (``kept``), is trained with it
    and begins anew with the questions (``restarted``), or is left out until the questions (``absent``)."""

    @property
    def num_passages(self) -> int:
        """``passages``, in which ``auto`` is already resolved."""
        assert self.passages != "auto", "config.auto puts the number in"
        return self.passages

    @model_validator(mode="after")
    def _enough_to_ask(self) -> Self:
        if self.requests > len(set(self.modes)) and FOR_PLACES.isdisjoint(self.modes):
            raise ValueError(
                f"requests is {self.requests}, but a whole text is asked for once in each of modes, "
                f"{' and '.join(dict.fromkeys(self.modes))}; add recall or cloze to modes, or ask for less"
            )
        return self


class BlocksConfig(Section):
    """How consecutive tokens of the context become one position (``input: blocks``). Instruction, question and answer
    stay tokens."""

    size: Annotated[int, Field(ge=1, le=64)] = 2
    """Tokens in a block; 1 changes nothing but what is trained."""
    encoder: Literal["mean", "weighted_mean", "mlp", "pca", "transformer", "first_layers"] = "mlp"
    """What makes one embedding of those of a block: their ``mean``, which is not trained; a ``weighted_mean`` with a
    weight for each place and dimension; an ``mlp`` of one hidden layer beside a linear map; ``pca``, the same two over
    a code of ``code_width`` numbers, the principal components of the block's embeddings end to end; a ``transformer``
    beside a linear map, in which a context's tokens attend to each other in both directions; or ``first_layers`` in its
    place, a copy of the model's own first layers, which is trained. All begin as the mean, ``pca`` as that of the
    embeddings that its code keeps."""
    code_width: Width | None = None
    """Numbers in the code of a block (``pca``), at most those of its tokens' embeddings; null is a quarter of those of
    one embedding."""
    hidden: Width = 2304
    """Width of the hidden layer of the ``mlp`` and of ``pca``, or of those of the ``transformer``."""
    layers: Annotated[int, Field(ge=1, le=64)] = 2
    """Layers of the ``transformer``, or how many ``first_layers`` copies."""
    reconstruction: TextReconstructionConfig = TextReconstructionConfig()

    @property
    def kind(self) -> BlockKind:
        """What makes two blocks the same one."""
        return BlockKind(self.size, self.reads_context)

    @property
    def reads_context(self) -> bool:
        """Whether a block's embedding depends on its context."""
        return self.encoder in ("transformer", "first_layers")

    def numbers_in_code(self, embedding_width: int) -> int:
        """Return how many numbers the code of a block has (``pca``).

        Raises:
            UsageError: they would be more than those of the block's embeddings.
        """
        most = self.size * embedding_width
        width = self.code_width or max(1, round(embedding_width / 4))
        if width > most:
            raise UsageError(
                f"blocks.code_width is {width}, but the code of a block has at most as many numbers as its {self.size} "
                f"embeddings, {most}; choose 1 to {most}, or null for {max(1, round(embedding_width / 4))}"
            )
        return width

    @property
    def is_trained(self) -> bool:
        """Whether the encoder has parameters."""
        return self.encoder != "mean"
