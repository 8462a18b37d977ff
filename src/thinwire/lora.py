"""LoRA on the frozen model through peft, attached for the length of a ``with`` block."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from torch import Tensor, nn

from thinwire.config import LoraSettings
from thinwire.errors import UsageError

_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class AttachedLora:
    """LoRA factors living inside a model; valid until the block that attached them ends."""

    peft_model: Any

    def parameters(self) -> list[nn.Parameter]:
        """The trained factors, float32, in a fixed order."""
        return [parameter for _, parameter in self._named()]

    def _named(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.peft_model.named_parameters() if p.requires_grad]

    def state(self) -> dict[str, Tensor]:
        """A copy of the factors on the CPU."""
        return {name: parameter.detach().cpu().clone() for name, parameter in self._named()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what ``state`` returned."""
        for name, parameter in self._named():
            parameter.data.copy_(state[name])

    def set_dropout(self, active: bool) -> None:
        """Switch LoRA dropout alone: the frozen model stays in evaluation mode always."""
        for name, module in self.peft_model.named_modules():
            if name.endswith("lora_dropout"):
                module.train(active)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The model as it was without LoRA, for a teacher's forward pass."""
        with self.peft_model.disable_adapter():
            yield

    def save(self, folder: Path) -> None:
        """Write the factors in peft's own format."""
        self.peft_model.save_pretrained(folder)


@contextmanager
def attached(model: Any, settings: LoraSettings) -> Iterator[AttachedLora | None]:
    """Attach fresh LoRA factors (B = 0, so nothing changes yet); detach them when the block ends.

    Gives None where ``settings.rank`` is 0. Factors are float32 on any base.

    Raises:
        UsageError: more layers than the model has, or a target that matches no module.
    """
    if settings.rank == 0:
        yield None
        return
    layers = _check(model, settings)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(settings.targets),
        layers_to_transform=layers,
        task_type="CAUSAL_LM",
    )
    with _quiet_peft():
        peft_model = peft.get_peft_model(model, config)
    with _held(peft_model, model) as lora:
        yield lora


@contextmanager
def loaded(model: Any, folder: Path) -> Iterator[AttachedLora]:
    """Attach factors that ``AttachedLora.save`` wrote, for as long as the block lasts."""
    with _quiet_peft():
        peft_model = peft.PeftModel.from_pretrained(model, folder)
    with _held(peft_model, model) as lora:
        yield lora


@contextmanager
def _quiet_peft() -> Iterator[None]:
    """Drop peft's advice on tied output heads (LoRA here leaves them alone) and on names that transformers renamed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def _held(peft_model: Any, model: Any) -> Iterator[AttachedLora]:
    """Give the attached factors for the length of a block, and restore ``model`` whatever happens in it."""
    try:
        peft_model.eval()
        yield AttachedLora(peft_model=peft_model)
    finally:
        peft_model.unload()
        # peft leaves its settings on the model, and warns of "a second adapter" when it sees them again.
        if hasattr(model, "peft_config"):
            del model.peft_config
        model.requires_grad_(False)


def _check(model: Any, settings: LoraSettings) -> list[int] | None:
    """The layers to adapt (null: all), once every target is known to match a linear module in them."""
    linear: dict[str, set[int]] = {}
    for name, module in model.named_modules():
        match = _LAYER.search(name)
        if match and isinstance(module, nn.Linear):
            linear.setdefault(name.rsplit(".", 1)[-1], set()).add(int(match[1]))
    depth = int(model.config.get_text_config().num_hidden_layers)
    if settings.layers != "all" and settings.layers > depth:
        raise UsageError(f"lora.layers={settings.layers}, but the model has {depth} layers; use 1 to {depth}, or all")
    layers = None if settings.layers == "all" else list(range(settings.layers))
    wanted = set(range(depth) if layers is None else layers)
    for target in settings.targets:
        if not wanted & linear.get(target, set()):
            raise UsageError(
                f"lora.targets: {target!r} matches no linear module of these layers; there are: "
                f"{', '.join(sorted(linear))}"
            )
    return layers


def merge_into(model: Any, folder: Path) -> Any:
    """Add saved factors to the weights of ``model`` for good, and return the plain model."""
    with torch.no_grad(), _quiet_peft():
        return peft.PeftModel.from_pretrained(model, folder).merge_and_unload()
