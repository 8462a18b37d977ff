"""Greedy decoding by the model's own ``generate()``, for models whose prompts cannot be packed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from thinwire.model.language_model import LanguageModel
from thinwire.model.own_generation import generate


def own_continuations(
    lm: LanguageModel,
    matrix: Tensor,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end_ids: Collection[int],
) -> NDArray[np.int64]:
    """Continue a batch of prompts: together, padded on the left, or those of equal length together (``lm.batching``).

    Args:
        matrix: ``[V, D]``, the input embedding of each token id, for prompts and generated tokens alike.

    Returns:
        ``[B, max_new_tokens]`` token ids; those after one of ``end_ids`` have no meaning.
    """
    groups = defaultdict(list)
    for index, prompt in enumerate(prompts):
        groups[len(prompt) if lm.batching == "equal" else 0].append(index)
    generated = np.zeros((len(prompts), max_new_tokens), dtype=np.int64)
    for members in groups.values():
        own = [prompts[index] for index in members]
        tokens, _ = generate(lm, matrix, own, max_new_tokens=max_new_tokens, end_ids=end_ids)
        generated[members, : tokens.shape[1]] = tokens.cpu().numpy()
    return generated
