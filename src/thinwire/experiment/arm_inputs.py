"""The inputs of an arm: all that it is made of before it trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.adapter.metrics import measure_reconstruction
from thinwire.codecs.base import Codec
from thinwire.codecs.pca import PCACodec
from thinwire.config.experiment import ArmConfig
from thinwire.data.blocks import Blocks
from thinwire.data.encoding import EncodedQuestions
from thinwire.results.arm_record import AnswerFormDecision, Reconstruction, TextReconstruction
from thinwire.training.microbatch_loss import Teacher


@dataclass(frozen=True, kw_only=True)
class PreparedQuestions:
    """An arm's encoded questions, and the statistics of its training prompts."""

    encoded: EncodedQuestions
    counts: Tensor
    """``[V]`` float64, on the CPU: occurrences of each token in the training prompts."""
    counts_hash: str
    """SHA-256 of ``counts``: part of the key of all that depends on them."""
    mean_square: float
    """Count-weighted mean square of the embedding matrix, the unit of the squared error."""
    answer_form: AnswerFormDecision
    """The form of the supervised answers, and why."""
    blocks: Blocks | None
    """The blocks that the prompts are made of; None if they are made of tokens alone."""
    as_text: EncodedQuestions | None = None
    """The same questions before their contexts were put into blocks; None if they are made of tokens alone."""

    def training_tokens(self, arm: ArmConfig) -> int:
        """Return the number of prompt tokens that ``arm`` trains on, over all epochs."""
        epochs = arm.training.epochs if arm.has_trainable else 0
        return epochs * sum(len(question.prompt_ids) for question in self.encoded.train)

    def text_tokens(self, arm: ArmConfig) -> int:
        """Return about how many tokens ``arm``, in which ``auto`` is resolved, trains on before its questions: each
        request is taken to be as long as a question's prompt as text."""
        if not arm.reconstructs_text:
            return 0
        own, train = arm.blocks.reconstruction, self.encoded.train
        return own.num_passages * own.requests * sum(question.num_tokens for question in train) // len(train)


@dataclass(frozen=True, kw_only=True)
class FittedCodec:
    """A codec on the model's device, its file, and the codes of the embedding matrix."""

    codec: Codec
    file: Path
    codes: Tensor
    """``[V, K]``."""


@dataclass(frozen=True, kw_only=True)
class ArmInputs:
    """All inputs of an arm."""

    config: ArmConfig
    questions: PreparedQuestions
    fitted: FittedCodec | None
    """None if the input is not made of codes."""
    embeddings: InputEmbeddings
    """The arm's own, trained in place."""
    reconstruction_at_start: Reconstruction | None
    teacher: Teacher | None
    """The finished arm that serves as the teacher; None if none is named or nothing is distilled."""
    starting_lora: dict[str, Tensor] | None
    """The factors that LoRA starts from, by their names in peft's format; None if it starts without effect."""
    block_projection: PCACodec | None
    """Of the blocks' embeddings to codes, on the CPU; None if blocks have none."""
    text_reconstruction: TextReconstruction | None = None
    """What encoder and LoRA had learned of texts before the questions; None if they were not trained on any."""

    def reconstruction(self, matrix: Tensor) -> Reconstruction:
        """Measure how well the current embeddings rebuild ``matrix`` ``[V, D]``."""
        return measure_reconstruction(self.embeddings, matrix, self.questions.counts, self.questions.mean_square)
