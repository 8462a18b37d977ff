"""What a model card says of an arm's training on texts, which it writes out of their blocks before the questions."""

from __future__ import annotations

from collections.abc import Mapping

from thinwire.config.block_settings import Request, TextReconstructionConfig
from thinwire.config.experiment import ArmConfig
from thinwire.results.arm_record import TextReconstruction
from thinwire.stats.words import count

_ASKED: Mapping[Request, str] = {
    "autoencoding": "repeat the text",
    "continuation": "go on where the text ends",
    "recall": "go on after quoted words of the text",
    "cloze": "fill a blank in quoted words of the text",
}


def text_training_rows(config: ArmConfig, found: TextReconstruction | None, data: str) -> list[tuple[str, str]]:
    """Return rows of a card's table, each a name and a value; none if the arm was not trained on texts.

    Args:
        config: the arm's resolved settings.
        found: what was measured on held-out texts, None if nothing was.
        data: the name of the training data.
    """
    if found is None:
        return []
    own = config.blocks.reconstruction
    beside = f", {count(own.distractors, 'other paragraph')} beside each" if own.distractors else ""
    passages = f"{count(own.num_passages, 'passage')} of the contexts of {data}{beside}"
    requests = count(own.num_passages * own.requests, "request")
    goals = "; ".join(f"{_ASKED[mode]} (`{mode}`)" for mode in dict.fromkeys(own.modes))
    encoder = f"trained at a peak rate of {own.encoder_lr:g}" if config.has_trained_input else "not trained"
    first, before = ("first, ", ", before the questions") if config.has_trainable else ("", "")
    right = f"{100 * found.accuracy:.1f} % of {count(found.tokens, 'token')} of {count(found.passages, 'text')}"
    rows = [
        ("training on texts", f"{first}{passages}; {requests}, {own.requests} each; {_losses(own)}"),
        ("asked of a text", goals),
        ("encoder, on texts", encoder),
        ("LoRA, on texts", _lora(config)),
        (
            "held-out texts",
            f"{right} written rightly out of their blocks, each after the right ones before it{before}; cross-entropy "
            f"{found.cross_entropy:.3g} nats a token",
        ),
    ]
    return [(name, value) for name, value in rows if value]


def _lora(config: ArmConfig) -> str:
    """Say what the texts did to LoRA; nothing of an arm without it."""
    own, lora = config.blocks.reconstruction, config.lora
    if lora.rank == 0:
        return ""
    if own.lora == "absent":
        return "left out until the questions (`absent`)" if config.has_trainable else "left out (`absent`)"
    if not lora.is_trained:
        return "in place, but not trained"
    trained = f"trained at a peak rate of {own.lora_lr:g}"
    if own.lora == "restarted":
        return f"{trained}, then set back to where it began (`restarted`); held-out texts were measured before that"
    return (
        f"{trained}, and went on from there with the questions (`kept`)"
        if config.has_trainable
        else f"{trained} (`kept`)"
    )


def _losses(own: TextReconstructionConfig) -> str:
    if own.kd_weight == 0:
        return "cross-entropy"
    return (
        f"cross-entropy (weight {own.ce_weight:g}) and KL to the model that reads the text (weight {own.kd_weight:g})"
    )
