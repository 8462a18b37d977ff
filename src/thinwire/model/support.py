"""Find out how a loaded model can be computed rightly: packed, or else in padded batches by its own forward pass;
refuse all others with the cause."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from thinwire.errors import UsageError, foreign
from thinwire.model.language_model import LanguageModel
from thinwire.model.own_generation import generate
from thinwire.ops.packing import pack

logger = logging.getLogger(__name__)

_TOLERANCE = {torch.bfloat16: 0.15, torch.float32: 1e-3}
"""Largest relative difference of logits that is taken for rounding; in bf16 two kernels differ by a few per cent."""
_HEAD_TOLERANCE = 2e-3
"""The same for the output head alone, whose product is the same in both ways of computing it."""
_CAPPED_HEAD_TOLERANCE = 8e-3
"""The same where logits are capped, which a model does in its own dtype: in bf16, three more roundings."""
_CAUSAL_TOLERANCE = {torch.bfloat16: 0.05, torch.float32: 1e-4}
"""The same for two sequences of the same length that begin alike."""
_MAGNITUDES = (1.0, 1024.0)
"""Factors of the last hidden state with which the output head is tried: a cap shows on large logits, whatever it is."""
_SHARED = 17
"""Tokens that two of the sequences have in common at their beginning."""
_SHORT = 7
"""Tokens of a sequence that is cut for padded batches."""
_KINDS = frozenset({"full_attention", "sliding_attention"})


def check_model(lm: LanguageModel) -> LanguageModel:
    """Compare the parts that Thinwire computes by itself with the model's own forward pass.

    Returns:
        The model, with the first ``batching`` that gives its own logits. The log says why it is not packed.

    Raises:
        UsageError: the model is not supported; the message names the cause.
    """
    sequences = _sequences(len(lm.embedding_matrix))
    with torch.no_grad():
        with foreign(f"model {lm.name} does not run"):
            own = [_own_pass(lm, sequence) for sequence in sequences]
        if not all(bool(one.logits.isfinite().all()) for one in own):
            raise UsageError(f"{lm.name}: its logits are NaN or infinite; its weights or configuration are damaged")
        _check_causal(lm, own)
        for magnitude in _MAGNITUDES:
            _check_head(lm, own[0].states, sequences[0], magnitude)
        logits = [one.logits for one in own]
        try:
            _check_layers(lm)
            _check_packed(lm, sequences, logits)
        except UsageError as error:
            found = _in_padded_batches(lm, sequences, logits, str(error))
            together = "" if found.batching == "padded" else " (only prompts of equal length together)"
            logger.warning(
                "%s: %s; so it runs in padded batches by its own forward pass and generate()%s, which is slower",
                *(lm.name, error, together),
            )
            return found
    return lm


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
    """Refuse to pack layers of other kinds than attention, by what the configuration and class say."""
    text = lm.model.config.get_text_config()
    if others := sorted(set(getattr(text, "layer_types", None) or ()) - _KINDS):
        raise UsageError(
            f"{type(lm.model).__name__} has layers of the kind {', '.join(map(str, others))}, and only those of causal "
            "softmax attention take packed sequences"
        )
    if getattr(lm.model, "_is_stateful", False):
        raise UsageError(
            f"{type(lm.model).__name__} keeps a recurrent state instead of keys and values, which packed sequences need"
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
            error = _difference(lm.logits(hidden[0]), _own_logits(lm, sequence))
    finally:
        del decoder.forward
    capped = getattr(lm.model.config.get_text_config(), "final_logit_softcapping", None) is not None
    if not error < (_CAPPED_HEAD_TOLERANCE if capped else _HEAD_TOLERANCE):
        raise UsageError(
            f"{lm.name}: its logits are not output head x last hidden state, scaled and capped as its configuration "
            f"says (relative difference {error:.2g}), which is not supported"
        )


def _check_packed(lm: LanguageModel, sequences: list[list[int]], own: list[Tensor]) -> None:
    """Refuse a model whose logits on packed sequences are not those on each alone."""
    with foreign(f"{type(lm.model).__name__} does not run on packed sequences"):
        error = max(map(_difference, _logits_together(lm, sequences), own))
    if not error < _tolerance(lm):
        raise UsageError(
            f"its states of packed sequences are not those of each alone (relative difference {error:.2g}): it has "
            "attention other than causal softmax attention, or changes embeddings before the first layer"
        )


def _logits_together(lm: LanguageModel, sequences: list[list[int]]) -> list[Tensor]:
    """Return the logits ``[T, V]`` of each of several sequences that are computed together, as in training."""
    packed = pack(sequences)
    embeddings = lm.embedding_matrix[torch.from_numpy(packed.ids).to(lm.device)][None]
    hidden = lm.packed_states(embeddings, torch.from_numpy(packed.positions), packed.segments)[0]
    return [lm.logits(hidden[torch.from_numpy(rows).to(lm.device)]) for rows in packed.rows]


def _in_padded_batches(lm: LanguageModel, sequences: list[list[int]], own: list[Tensor], cause: str) -> LanguageModel:
    """Return the model with the way in which padded batches give its own logits; refuse it if there is none.

    Args:
        own: the model's own logits of each sequence.
        cause: why it cannot be packed.
    """
    if getattr(lm.model.config.get_text_config(), "rescale_every", 0):
        raise UsageError(f"{lm.name}: {cause}; nor as it is: it changes its weights when it runs (rescale_every)")
    padded = replace(lm, batching="padded")
    lengths = [len(sequences[0]), _SHORT, len(sequences[2])]
    sequences = [sequence[:length] for sequence, length in zip(sequences, lengths, strict=True)]
    own = [logits[:length] for logits, length in zip(own, lengths, strict=True)]
    doing = f"{lm.name}: {cause}; nor does it run in padded batches"
    with foreign(doing):
        error = max(map(_difference, _logits_together(padded, sequences), own))
    if not error < _tolerance(lm):
        raise UsageError(f"{doing}: its states of embeddings are not those of tokens (relative difference {error:.2g})")
    with foreign(doing):
        alone = [_generated(lm, [sequence])[0] for sequence in sequences]
        together = _generated(lm, sequences)
    error = max(_difference(one.logits[0], logits[-1]) for one, logits in zip(alone, own, strict=True))
    if not error < _tolerance(lm):
        raise UsageError(f"{doing}: its generate() has other logits than the model (relative difference {error:.2g})")
    error = max(map(_generated_difference, together, alone))
    return padded if error < _tolerance(lm) else replace(lm, batching="equal")


@dataclass(frozen=True, kw_only=True)
class _Generated:
    """What the model's own ``generate()`` adds to a sequence."""

    ids: list[int]
    logits: Tensor
    """``[N, V]`` float32."""


def _generated(lm: LanguageModel, sequences: list[list[int]]) -> list[_Generated]:
    """Continue ``sequences`` together, each by two tokens: the second is computed with a cache."""
    ids, logits = generate(lm, lm.embedding_matrix, sequences, max_new_tokens=2, with_logits=True)
    parts = zip(ids.tolist(), torch.stack(logits, dim=1), strict=True)
    return [_Generated(ids=ids, logits=logits.float()) for ids, logits in parts]


def _generated_difference(one: _Generated, other: _Generated) -> float:
    """Compare the logits of tokens that follow equal ones."""
    same = 2 if one.ids[0] == other.ids[0] else 1
    return _difference(one.logits[:same], other.logits[:same])
