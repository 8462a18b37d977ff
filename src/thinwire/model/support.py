"""Check that a loaded model is of a kind that Thinwire computes rightly; refuse all others with the cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from thinwire.errors import UsageError, foreign
from thinwire.model.language_model import LanguageModel
from thinwire.ops.packing import pack

_TOLERANCE = {torch.bfloat16: 0.15, torch.float32: 1e-3}
"""Largest relative difference of logits that is taken for rounding; in bf16 two kernels differ by a few per cent."""
_HEAD_TOLERANCE = 2e-3
"""The same for the output head alone, whose product is the same in both ways of computing it."""
_CAUSAL_TOLERANCE = {torch.bfloat16: 0.05, torch.float32: 1e-4}
"""The same for two sequences of the same length that begin alike."""
_MAGNITUDES = (1.0, 1024.0)
"""Factors of the last hidden state with which the output head is tried: a cap shows on large logits, whatever it is."""
_SHARED = 17
"""Tokens that two of the sequences have in common at their beginning."""
_KINDS = frozenset({"full_attention", "sliding_attention"})


def check_model(lm: LanguageModel) -> None:
    """Compare the parts that Thinwire computes by itself with the model's own forward pass.

    Raises:
        UsageError: the model is not supported; the message names the cause.
    """
    _check_layers(lm)
    sequences = _sequences(len(lm.embedding_matrix))
    with torch.no_grad():
        with foreign(f"model {lm.name} does not run"):
            own = [_own_pass(lm, sequence) for sequence in sequences]
        if not all(bool(one.logits.isfinite().all()) for one in own):
            raise UsageError(f"{lm.name}: its logits are NaN or infinite; its weights or configuration are damaged")
        _check_causal(lm, own)
        for magnitude in _MAGNITUDES:
            _check_head(lm, own[0].states, sequences[0], magnitude)
        try:
            _check_packed(lm, sequences, [one.logits for one in own])
        except UsageError as error:
            raise UsageError(f"{lm.name}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """What the model itself computes for a sequence."""

    states: Any
    """The decoder's output."""
    logits: Tensor
    """``[T, V]`` float32."""


def _sequences(vocabulary: int) -> list[list[int]]:
    """Return three sequences of ids, two of which begin alike."""
    stride = 97
    sequences = [[(start + stride * i) % vocabulary for i in range(20)] for start in (11, 12)]
    return [*sequences, [*sequences[0][:_SHARED], *(i % vocabulary for i in (5, 6, 7))]]


def _check_layers(lm: LanguageModel) -> None:
    """Refuse layers of other kinds than attention, by what the configuration and class say."""
    text = lm.model.config.get_text_config()
    if others := sorted(set(getattr(text, "layer_types", None) or ()) - _KINDS):
        raise UsageError(
            f"{lm.name}: {type(lm.model).__name__} has layers of the kind {', '.join(map(str, others))}; layers other "
            "than causal softmax attention are not supported yet"
        )
    if getattr(lm.model, "_is_stateful", False):
        raise UsageError(
            f"{lm.name}: {type(lm.model).__name__} keeps a recurrent state instead of keys and values, which is not "
            "supported; use a model with attention layers"
        )


def _own_pass(lm: LanguageModel, sequence: list[int]) -> _Pass:
    """Run the model's own forward pass."""
    seen: list[Any] = []
    hook = lm.model.get_decoder().register_forward_hook(lambda _, __, out: seen.append(out))
    try:
        logits = _own_logits(lm, sequence)
    finally:
        hook.remove()
    return _Pass(states=seen[-1], logits=logits)


def _own_logits(lm: LanguageModel, sequence: list[int]) -> Tensor:
    logits: Tensor = lm.model(input_ids=torch.tensor([sequence], device=lm.device), use_cache=False).logits
    return logits[0].float()


def _difference(ours: Tensor, own: Tensor) -> float:
    return float((ours - own).norm() / own.norm())


def _check_causal(lm: LanguageModel, own: list[_Pass]) -> None:
    """Refuse a model whose earlier logits depend on later tokens: the first and last sequence begin alike."""
    tolerance = _CAUSAL_TOLERANCE[torch.bfloat16 if lm.base_bits else lm.dtype]
    if not _difference(own[-1].logits[:_SHARED], own[0].logits[:_SHARED]) < tolerance:
        raise UsageError(
            f"{lm.name}: {type(lm.model).__name__} looks at later tokens, as an encoder does; use a causal LM"
        )


def _tolerance(lm: LanguageModel) -> float:
    # Quantised layers round their inputs, whatever the dtype.
    return _TOLERANCE[torch.bfloat16 if lm.base_bits else lm.dtype]


def _check_head(lm: LanguageModel, states: Any, sequence: list[int], magnitude: float) -> None:
    """Refuse a model whose logits are not its output head applied to the decoder's last hidden state.

    Args:
        states: the decoder's output for ``sequence``.
        magnitude: factor of the hidden state.
    """
    decoder, hidden = lm.model.get_decoder(), states.last_hidden_state * magnitude
    given = type(states)(last_hidden_state=hidden)
    decoder.forward = lambda *_, **__: given  # only what comes after the decoder is computed
    try:
        with foreign(f"model {lm.name} does not run"):
            own = _own_logits(lm, sequence)
    finally:
        del decoder.forward
    error = _difference(lm.logits(hidden[0]), own)
    if not error < _HEAD_TOLERANCE:
        raise UsageError(
            f"{lm.name}: its logits are not output head x last hidden state, scaled and capped as its configuration "
            f"says (relative difference {error:.2g}), which is not supported"
        )


def _check_packed(lm: LanguageModel, sequences: list[list[int]], own: list[Tensor]) -> None:
    """Refuse a model whose logits on packed sequences are not those on each alone."""
    packed = pack(sequences)
    with foreign(f"{type(lm.model).__name__} does not run on packed sequences"):
        embeddings = lm.embedding_matrix[torch.from_numpy(packed.ids).to(lm.device)][None]
        hidden = lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments)[0]
        ours = [lm.logits(hidden[torch.from_numpy(rows).to(lm.device)]) for rows in packed.rows]
    error = max(map(_difference, ours, own))
    if not error < _tolerance(lm):
        raise UsageError(
            f"its states of packed sequences are not those of each alone (relative difference {error:.2g}): attention "
            "other than causal softmax attention, or embeddings that are changed before the first layer, are "
            "not supported yet"
        )
