"""LoRA on the frozen model (Hu et al. 2021, arXiv:2106.09685), for several arms at once.

All arms of a sweep share one frozen model. Their factors are stacked: each adapted linear module runs once on the
tokens of all arms, and two batched products add each arm's update to its own tokens. Ranks are padded with zeros to the
largest. A module's stack ends with the last arm that adapts it, so arms that adapt the most should come first
(``breadth``); an earlier arm that does not adapt the module has zeros there. A factor pair that is zero has zero
gradients, so padding stays zero in training. A single arm is a stack of one.

Factors are saved in peft's format and merged through peft.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from thinwire.config.lora_settings import LoraSettings
from thinwire.determinism import generator
from thinwire.files import write_json
from thinwire.model.lora_modules import adapted_modules, depth_of, linear_modules, target_names, widths
from thinwire.model.lora_peft import CONFIG_FILE, FACTORS_FILE, saved_config
from thinwire.ops.dropout import keep_mask
from thinwire.results.tensor_file import Layout, TensorType, write_tensors


def breadth(settings: LoraSettings) -> tuple[float, int]:
    """Return a sort key for how much of a model is adapted: number of layers, then of modules in each."""
    if settings.rank == 0:
        return 0, 0
    return float("inf") if settings.layers == "all" else settings.layers, settings.most_targets


class _StackedLinear(nn.Module):
    """A frozen linear module with a low-rank update for each of the first ``n`` of ``A`` arms."""

    def __init__(self, base: nn.Module, down: Tensor, up: Tensor, scale: Tensor, dropout: float, target: str) -> None:
        super().__init__()
        self.base = base
        # Plain tensors: a compiler takes the shapes of parameters and buffers for constants, but n differs by layer.
        self.down = down.requires_grad_()
        """``[n, r, in]`` float32."""
        self.up = up.requires_grad_()
        """``[n, out, r]`` float32."""
        self.scale = scale
        """``[A, 1, 1]`` float32: alpha over rank; zero for an arm that does not adapt this module."""
        self.dropout = dropout
        self.target = target
        """The module's own name, such as ``q_proj``."""
        self.dropping = False
        """Whether dropout is on."""
        self.active = True
        """Whether updates are added."""
        self.alone: int | None = None
        """The only arm whose update is added, to any input; None: each arm's update to its own."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[A, T, in]`` to ``[A, T, out]``; the same with ``A * b`` for ``b`` sequences of each arm, those of an
        arm together; any shape ``[..., in]`` if updates are off or of one arm alone."""
        out: Tensor = self.base(x)
        if self.alone is None and not self.active:
            return out
        # The factors of all modules are on one device; the module may be on another (model.device=auto_map).
        down, up, scale = (tensor.to(x.device) for tensor in (self.down, self.up, self.scale))
        if self.alone is not None:
            down, up = down[self.alone], up[self.alone] * scale[self.alone]
            return out + nn.functional.linear(nn.functional.linear(x, down.to(x.dtype)), up.to(x.dtype))
        num_arms = len(down)
        rows = x if x.dim() == 3 and len(x) == len(scale) else x.reshape(len(scale), -1, x.shape[-1])
        own = rows[:num_arms]
        kept = own * keep_mask(own, self.dropout, self.target) * (1 / (1 - self.dropout)) if self.dropping else own
        small = torch.bmm(kept, down.to(x.dtype).transpose(1, 2))
        update = torch.bmm(small, (up * scale[:num_arms]).to(x.dtype).transpose(1, 2))
        return out + nn.functional.pad(update, (0, 0, 0, 0, 0, len(rows) - num_arms)).view(out.shape)

    def merged(self, arm: int) -> Tensor:
        """Return the weight with one arm's update added, in the base's dtype, rounded as peft rounds it."""
        weight, delta = self.base.weight, self.scale[arm] * (self.up[arm] @ self.down[arm])
        assert isinstance(weight, Tensor)
        delta = delta.T if isinstance(self.base, Conv1D) else delta
        return (weight + delta.to(weight.device)).to(weight.dtype)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """An adapted module, and the columns of its factors in an arm's row of ``StackedLora.values``."""

    name: str
    linear: _StackedLinear
    arms: frozenset[int]
    """The arms that adapt the module."""
    downs: slice
    """Columns of the first factor."""
    ups: slice
    """Columns of the second factor."""


class StackedLora:
    """The LoRA factors of ``A`` arms attached to a model; valid within the ``attached`` block.

    An arm's factors are one row of ``values`` ``[A, P]``, and the modules hold views of its columns: the optimiser and
    gradient norms work on an arm's whole row, the model's forward and backward passes on all arms at once.
    """

    def __init__(
        self,
        places: list[_Place],
        values: Tensor,
        gradients: Tensor,
        settings: Sequence[LoraSettings],
        depth: int,
        targets: Sequence[Sequence[str]],
    ) -> None:
        self._places, self._depth, self._targets = places, depth, targets
        self._values, self._gradients = values, gradients
        self._settings = settings

    def row(self, arm: int) -> nn.Parameter | None:
        """Return all factors of an arm as one float32 parameter ``[P]``, with its gradient; None if no LoRA is
        trained."""
        if not self._settings[arm].is_trained:
            return None
        row = nn.Parameter(self._values[arm])
        row.grad = self._gradients[arm]
        return row

    def start(self, arm: int, factors: Mapping[str, Tensor]) -> None:
        """Replace an arm's factors by these, which have the names and shapes of ``factors(arm)``."""
        own = self.factors(arm)
        assert own.keys() == factors.keys(), "the factors of another LoRA"
        for name, factor in own.items():
            factor.copy_(factors[name])

    def unreached(self, arm: int) -> list[str]:
        """Return the names of an arm's trained modules whose second factor has no gradient. (If it starts at zero, it
        is the only one of the two that gets a gradient at the first step.)"""
        gradients = self._gradients[arm]
        adapted = self._adapted(arm) if self._settings[arm].is_trained else []
        reached = torch.stack([gradients[place.ups].any() for place in adapted]).tolist() if adapted else []
        return [place.name for place, is_reached in zip(adapted, reached, strict=True) if not is_reached]

    def num_parameters(self, arm: int) -> int:
        """Return the number of an arm's trained parameters, without padding."""
        return sum(tensor.numel() for tensor in self.factors(arm).values()) if self._settings[arm].is_trained else 0

    def factors(self, arm: int) -> dict[str, Tensor]:
        """Return views of an arm's factors by their names in peft's format, without padding."""
        return self.factors_in(self._values[arm], arm)

    def factors_in(self, row: Tensor, arm: int) -> dict[str, Tensor]:
        """Return views of the factors in any ``row`` ``[P]`` that has the layout of ``self.row(arm)``: a copy of it, or
        an optimiser's moments. The layout depends on the other arms of the stack; the factors do not."""
        rank = self._settings[arm].rank
        named = {}
        for place in self._adapted(arm):
            down = row[place.downs].view(place.linear.down.shape[1:])
            up = row[place.ups].view(place.linear.up.shape[1:])
            named[f"base_model.model.{place.name}.lora_A.weight"] = down[:rank]
            named[f"base_model.model.{place.name}.lora_B.weight"] = up[:, :rank]
        return named

    def _adapted(self, arm: int) -> list[_Place]:
        return [place for place in self._places if arm in place.arms]

    def set_dropout(self, active: bool) -> None:
        """Switch LoRA dropout on or off. The frozen model stays in evaluation mode."""
        for place in self._places:
            place.linear.dropping = active and place.linear.dropout > 0

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Switch all updates off within the block, for a teacher's forward pass."""
        for place in self._places:
            place.linear.active = False
        try:
            yield
        finally:
            for place in self._places:
                place.linear.active = True

    def alone(self, arm: int) -> AbstractContextManager[None]:
        """Add one arm's update, and no other's, within the block: merged into the weights, as in an exported
        checkpoint, or as a separate product if the weights are quantised."""
        weights = [place.linear.base.weight for place in self._places]
        return self._merged(arm) if all(w.dtype.is_floating_point for w in weights) else self._beside(arm)

    @contextmanager
    def _beside(self, arm: int) -> Iterator[None]:
        """Add one arm's update as a separate product within the block."""
        with self.disabled():
            for place in self._adapted(arm):
                place.linear.alone = arm
            try:
                yield
            finally:
                for place in self._places:
                    place.linear.alone = None

    @contextmanager
    def _merged(self, arm: int) -> Iterator[None]:
        """Merge one arm's update into the weights within the block."""
        adapted = self._adapted(arm)
        with self.disabled(), torch.no_grad():
            weights = [place.linear.base.weight for place in adapted]
            before = [weight.data for weight in weights]
            try:
                for place, weight in zip(adapted, weights, strict=True):
                    weight.data = place.linear.merged(arm)
                yield
            finally:
                for weight, data in zip(weights, before, strict=True):
                    weight.data = data

    def save(self, arm: int, folder: Path) -> None:
        """Write an arm's factors and configuration to ``folder``, in peft's format."""
        write_json(folder / CONFIG_FILE, saved_config(self._settings[arm], self._depth, self._targets[arm]))
        write_tensors(folder / FACTORS_FILE, self.factors(arm), metadata={"format": "pt"})


@contextmanager
def attached(model: Any, arms: Sequence[LoraSettings], seeds: Sequence[int]) -> Iterator[StackedLora | None]:
    """Attach new LoRA factors within the block; the second factor is zero, so the model's outputs do not change yet.

    Yields None if every rank is 0. Factors are float32 on any base. An arm's initial values depend only on its own seed
    and settings. Training is fastest with the arms in descending order of ``breadth``.

    Raises:
        UsageError: more layers than the model has, or a target that matches no module.
    """
    wanted = [adapted_modules(model, settings) for settings in arms]
    names = [name for name in linear_modules(model) if any(name in modules for modules in wanted)]
    if not names:
        yield None
        return
    dropouts = {settings.dropout for settings in arms if settings.rank > 0}
    assert len(dropouts) == 1, "arms that are trained together have the same dropout"
    lora = _stack(model, names, wanted, arms, seeds, dropouts.pop())
    try:
        for place in lora._places:
            _set_module(model, place.name, place.linear)
        yield lora
    finally:
        for place in lora._places:
            _set_module(model, place.name, place.linear.base)


def _stack(
    model: Any,
    names: list[str],
    wanted: list[set[str]],
    arms: Sequence[LoraSettings],
    seeds: Sequence[int],
    dropout: float,
) -> StackedLora:
    """Make the stacked modules of ``names``, without attaching them.

    Args:
        names: modules that any arm adapts, in the model's order.
        wanted: for each arm, the modules that it adapts.
    """
    linears = linear_modules(model)
    rank, device = max(settings.rank for settings in arms), model.get_input_embeddings().weight.device
    sizes = [widths(linears[name]) for name in names]
    values = torch.zeros(len(arms), rank * sum(map(sum, sizes)))
    draws = [generator("cpu", seed, "lora") for seed in seeds]
    gradients = torch.zeros_like(values, device=device)
    columns = []
    start = 0
    for name, (num_in, num_out) in zip(names, sizes, strict=True):
        middle, end = start + rank * num_in, start + rank * (num_in + num_out)
        for arm, settings in enumerate(arms):
            if name in wanted[arm]:
                # As peft: He et al. 2015 with a = sqrt(5), which makes the bound 1 / sqrt(in).
                fresh = torch.empty(settings.rank, num_in).uniform_(-1, 1, generator=draws[arm]) / num_in**0.5
                values[arm, start : start + fresh.numel()] = fresh.flatten()
        columns.append((slice(start, middle), slice(middle, end)))
        start = end
    values = values.to(device)
    places = []
    for name, (num_in, num_out), (downs, ups) in zip(names, sizes, columns, strict=True):
        own = frozenset(arm for arm, modules in enumerate(wanted) if name in modules)
        # At least two if there are two arms: torch compiles again for a dimension of 1.
        num = max(max(own) + 1, min(2, len(arms)))
        scales = [settings.alpha / settings.rank if arm in own else 0.0 for arm, settings in enumerate(arms)]
        linear = _StackedLinear(
            linears[name],
            values[:num, downs].view(num, rank, num_in),
            values[:num, ups].view(num, num_out, rank),
            torch.tensor(scales, device=device)[:, None, None],
            dropout,
            name.rsplit(".", 1)[-1],
        )
        linear.down.grad = gradients[:num, downs].view(linear.down.shape)
        linear.up.grad = gradients[:num, ups].view(linear.up.shape)
        places.append(_Place(name=name, linear=linear, arms=own, downs=downs, ups=ups))
    targets = [target_names(model, settings) for settings in arms]
    return StackedLora(places, values, gradients, arms, depth_of(model), targets)


def _set_module(model: Any, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def factor_layout(model: Any, settings: LoraSettings) -> Layout:
    """Return the type and shape of each factor of ``settings`` on ``model``, by its name in peft's format.

    Raises:
        UsageError: as in ``adapted_modules``.
    """
    linears, rank = linear_modules(model), settings.rank
    found = {}
    for name in adapted_modules(model, settings):
        num_in, num_out = widths(linears[name])
        found[f"base_model.model.{name}.lora_A.weight"] = TensorType("F32", (rank, num_in))
        found[f"base_model.model.{name}.lora_B.weight"] = TensorType("F32", (num_out, rank))
    return found
