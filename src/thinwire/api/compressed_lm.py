"""Use a finished arm as a language model: generate text, answer questions, get input embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from thinwire.adapter.input_embeddings import InputEmbeddings
from thinwire.api.given import count_of, pairs_of, path_of, texts_of
from thinwire.checkpoints.load import find_arm, load_arm
from thinwire.checkpoints.reading import as_read
from thinwire.config.experiment import ArmConfig
from thinwire.data.prompts import Encoded, PromptEncoder
from thinwire.data.squad import Example
from thinwire.errors import UsageError
from thinwire.evaluation.answering import answer_texts, stop_rule
from thinwire.evaluation.extractors import first_line
from thinwire.evaluation.generation import StopRule
from thinwire.model.language_model import LanguageModel
from thinwire.model.memory import decoding_batch_tokens


@dataclass(frozen=True, kw_only=True)
class CompressedLM:
    """A language model that reads the embeddings rebuilt from an arm's codes, or contexts in blocks of tokens, with the
    arm's LoRA merged."""

    lm: LanguageModel = field(repr=False)
    config: ArmConfig
    matrix: Tensor = field(repr=False)
    """``[V, D]``, the input embedding of each token id, in the model's dtype. Blocks have theirs in
    ``embed_questions``."""
    inputs: InputEmbeddings = field(repr=False)
    """The arm's, which make the embeddings of tokens and of blocks."""
    encoder: PromptEncoder = field(repr=False)
    """The arm's prompts."""

    @classmethod
    def from_run(cls, arm: Path | str, device: str = "auto") -> CompressedLM:
        """Load an arm of a sweep.

        Args:
            arm: its folder, ``runs/SWEEP/ARM``.
            device: as the setting ``model.device``.

        Raises:
            UsageError: it is no finished arm's folder, or its model is not the one that it was trained on.
            ThinwireError: a file is missing or damaged.
        """
        found = find_arm(path_of(arm, "arm's folder"), device)
        lm, inputs = load_arm(found)
        encoder = found.prompt_encoder(lm.tokenizer)
        matrix = lm.as_exported(inputs.matrix(lm.dtype))
        return cls(lm=lm, config=found.config, matrix=matrix, inputs=inputs, encoder=encoder)

    @property
    def model(self) -> Any:
        """The ``transformers`` model. Its own embedding layer is the original one, so give it ``inputs_embeds``."""
        return self.lm.model

    @property
    def tokenizer(self) -> Any:
        """The ``transformers`` tokenizer."""
        return self.lm.tokenizer

    def answer(self, questions: Sequence[tuple[str, str]]) -> list[str]:
        """Answer questions as in the arm's evaluation: with its prompt, its length limit, and the first line taken.

        Args:
            questions: pairs of a context and a question about it. Either may be empty, as in data that have none.

        Raises:
            UsageError: questions are no list of pairs of texts, or a prompt is too long even without its context.
        """
        prompts, matrix = self._prompts(questions)
        settings = self.config.evaluation
        rule = stop_rule(self.lm, self.encoder, settings.stop, settings.max_new_tokens)
        texts = self._continued(prompts, matrix, rule)
        return [first_line(text) for text in texts] if settings.score == "first_line" else texts

    def generate(self, texts: Sequence[str], *, max_new_tokens: int = 64, chat: bool | None = None) -> list[str]:
        """Continue texts with the most probable tokens, up to an end token; they stay tokens where an arm reads blocks,
        which are a context's.

        Args:
            max_new_tokens: most tokens of a continuation.
            chat: whether a text is a user's message in the model's chat template; by default, if the arm's prompts are.

        Raises:
            UsageError: the model has no chat template, a text is empty, or it has more tokens than the model has
                positions.
        """
        max_new_tokens = count_of(max_new_tokens, "max_new_tokens")
        texts = texts_of(texts)
        prompts = [
            Encoded(example=_example(str(number), "", text), prompt_ids=ids, answer_ids=(), dropped=0)
            for number, (text, ids) in enumerate(zip(texts, self._ids(texts, chat), strict=True))
        ]
        ends = self.lm.stop_ids(self.encoder.end_id)
        rule = StopRule(end_ids=ends, newline_ids=frozenset(), max_new_tokens=max_new_tokens)
        return self._continued(prompts, self.matrix, rule)

    def embed(self, texts: Sequence[str], *, chat: bool | None = None) -> list[Tensor]:
        """Return the input embeddings of each text, ``[T, D]``, for ``model(inputs_embeds=...)``; ``chat`` as in
        ``generate``."""
        return [self.matrix[torch.tensor(ids, device=self.matrix.device)] for ids in self._ids(texts, chat)]

    def embed_questions(self, questions: Sequence[tuple[str, str]]) -> list[Tensor]:
        """Return the input embeddings of the prompts of ``answer``, ``[T, D]`` each, a row for each position.

        Args:
            questions: as in ``answer``.

        Raises:
            UsageError: as ``answer``.
        """
        prompts, matrix = self._prompts(questions)
        return [matrix[torch.tensor(prompt.prompt_ids, device=matrix.device)] for prompt in prompts]

    def _prompts(self, questions: Sequence[tuple[str, str]]) -> tuple[list[Encoded], Tensor]:
        """Return the arm's prompts, in blocks if it reads these, and a matrix that has a row for each of their ids."""
        examples = [_example(str(number), *pair) for number, pair in enumerate(pairs_of(questions))]
        prompts, inputs = as_read(self.inputs, list(self.encoder.encode_prompts(examples)))
        if inputs is self.inputs:
            return prompts, self.matrix
        return prompts, self.lm.as_exported(inputs.matrix(self.lm.dtype))

    def _ids(self, texts: Sequence[str], chat: bool | None) -> list[tuple[int, ...]]:
        texts = texts_of(texts)
        if chat is None:
            chat = self.encoder.style == "chat"
        if chat and self.encoder.style != "chat":
            raise UsageError("the arm's prompts are plain (prompt.style), so there is no chat template; use chat=False")
        found = [
            self.encoder.encode_message(text) if chat else tuple(self.tokenizer(text)["input_ids"]) for text in texts
        ]
        if not all(found):
            raise UsageError("a text is empty, so it has no tokens that could be continued")
        return found

    def _continued(self, prompts: Sequence[Encoded], matrix: Tensor, rule: StopRule) -> list[str]:
        batch_tokens = decoding_batch_tokens(self.lm, self.config.evaluation.batch_tokens)
        found = answer_texts(self.lm, matrix, prompts, rule, batch_tokens=batch_tokens)
        return [text for _, text, _ in sorted(answer for batch in found for answer in batch)]


def _example(id_: str, context: str, question: str) -> Example:
    """Return a question without a gold answer."""
    return Example(
        id=id_,
        article=context,
        paragraph_id=context or id_,
        context=context,
        question=question,
        answers=(),
        answer_start=-1,
    )
