"""Train and answer with the plain loop that most people would write with transformers and peft; Thinwire is timed
against it.

It does the same work: the same adapter over the same codes, the same loss, learning rates and order of questions. It
follows the libraries' own recommendations: a frozen bfloat16 model with peft's float32 factors under
``torch.autocast``, fused AdamW, no key-value cache and no waiting for the device within training, answers sorted by
length. It lacks what Thinwire adds: it pads questions to the longest of their batch, rebuilds the embedding of every
position, computes logits at all of them, and trains one configuration after another.

Decoding is the usual kind too. The model's own answer tokens are embedded by its own embedding matrix instead of the
adapter, so scores may differ a little from Thinwire's. LoRA is not merged, because adding it to bfloat16 weights and
subtracting it again would change the frozen model. An answer to a plain prompt runs on past its line, because the line
end is no token that ``generate`` can stop at.

``training.py``, ``evaluation.py`` and ``agreement.py`` use it.
"""

import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import peft
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from thinwire.config.experiment import ArmConfig
from thinwire.config.lora_settings import LoraSettings
from thinwire.data.order import epoch_batches
from thinwire.data.prompts import Encoded
from thinwire.evaluation.answering import score_answer
from thinwire.evaluation.prediction import Prediction
from thinwire.model.lora_modules import target_names
from thinwire.tasks.extractive_qa import TASK as EXTRACTIVE_QA

IGNORED = -100
"""The label that transformers leaves out of its loss."""


@dataclass(frozen=True, kw_only=True)
class PlainInput:
    """Input embeddings: ``adapter(codes[ids])``, trained to equal ``matrix[ids]``."""

    adapter: nn.Module
    codes: Tensor
    matrix: Tensor
    mean_square: float
    """The embedding matrix's mean square, by which squared errors are divided."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimiser step."""

    tokens: int
    """The prompt tokens, and the supervised answer tokens except the last, which predicts nothing."""
    seconds: float
    loss: float


@contextmanager
def with_lora(model: Any, settings: LoraSettings) -> Iterator[Any]:
    """Attach fresh LoRA factors for the length of the block; do nothing where the rank is 0."""
    if settings.rank == 0:
        yield model
        return
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=target_names(model, settings),
        layers_to_transform=None if settings.layers == "all" else list(range(settings.layers)),
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on tied output heads, which these factors leave alone
        wrapped = peft.get_peft_model(model, config)
    try:
        yield wrapped
    finally:
        wrapped.unload()
        if hasattr(model, "peft_config"):  # left behind, peft takes it for a second adapter
            del model.peft_config
        model.requires_grad_(False)


def collate(questions: Sequence[Encoded], k_tokens: int, device: torch.device) -> dict[str, Tensor]:
    """Pad prompts and their first answer tokens on the right, to the longest of the batch."""
    rows = [torch.tensor([*question.prompt_ids, *question.answer_ids[:k_tokens]]) for question in questions]
    lengths = torch.tensor([[len(row), len(q.prompt_ids)] for row, q in zip(rows, questions, strict=True)])
    ids = pad_sequence(rows, batch_first=True)
    positions = torch.arange(ids.shape[1])
    mask, in_prompt = positions < lengths[:, :1], positions < lengths[:, 1:]
    labels = ids.masked_fill(in_prompt | ~mask, IGNORED)
    batch = {"ids": ids, "attention_mask": mask.long(), "in_prompt": in_prompt, "labels": labels}
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def batch_loss(model: Any, plain_input: PlainInput, batch: dict[str, Tensor], arm: ArmConfig) -> Tensor:
    """Compute the reconstruction loss over the prompt positions plus the model's own cross-entropy."""
    rebuilt = plain_input.adapter(plain_input.codes[batch["ids"]])
    target = plain_input.matrix[batch["ids"]].float()
    cosine = F.cosine_similarity(rebuilt.float(), target, dim=-1)
    error = (rebuilt.float() - target).square().mean(-1) / plain_input.mean_square
    weights = arm.reconstruction
    distance = weights.cosine_weight * (1 - cosine) + weights.mse_weight * error
    reconstruction = (distance * batch["in_prompt"]).sum() / batch["in_prompt"].sum()
    out = model(
        inputs_embeds=rebuilt.to(plain_input.matrix.dtype),
        attention_mask=batch["attention_mask"],
        labels=batch["labels"],
        use_cache=False,
    )
    loss: Tensor = reconstruction + arm.supervision.ce_weight * out.loss
    return loss


def train_steps(
    model: Any,
    plain_input: PlainInput,
    questions: Sequence[Encoded],
    arm: ArmConfig,
    *,
    autocast: bool = True,
    max_steps: int | None = None,
) -> list[Step]:
    """Train the adapter and the model's LoRA factors in place, ``arm.training.batch_size`` questions a step.

    Args:
        model: the result of ``with_lora``.
        autocast: False computes the factors' products in float32, as peft does by default.
        max_steps: stop early, keeping the learning rates of the whole run.
    """
    settings, k_tokens, device = arm.training, arm.supervision.k_tokens, plain_input.matrix.device
    factors = [p for p in model.parameters() if p.requires_grad]
    parameters = [*plain_input.adapter.parameters(), *factors]
    groups = [{"params": list(plain_input.adapter.parameters()), "lr": settings.adapter_lr}]
    if factors:
        groups.append({"params": factors, "lr": settings.lora_lr})
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
    total = settings.epochs * -(-len(questions) // settings.batch_size)
    warm_up = min(20, total // 10) if settings.warmup_steps == "auto" else settings.warmup_steps
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: (s + 1) / (warm_up + 1) if s < warm_up else (total - s) / max(1, total - warm_up)
    )
    torch.manual_seed(arm.seed)
    model.train()
    marks, tokens, losses = [_mark(device)], [], []
    for questions_of_step in islice(_batches(questions, arm), max_steps):
        batch = collate(questions_of_step, k_tokens, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = batch_loss(model, plain_input, batch, arm)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
        tokens.append(sum(len(q.prompt_ids) + min(k_tokens, len(q.answer_ids)) - 1 for q in questions_of_step))
        marks.append(_mark(device))
    model.eval()
    return [
        Step(tokens=n, seconds=seconds, loss=loss)
        for n, seconds, loss in zip(tokens, _seconds(marks), torch.stack(losses).tolist(), strict=True)
    ]


def _batches(questions: Sequence[Encoded], arm: ArmConfig) -> Iterator[list[Encoded]]:
    for epoch in range(1, arm.training.epochs + 1):
        yield from epoch_batches(questions, arm.training.batch_size, arm.seed, epoch)


def _mark(device: torch.device) -> Any:
    """Mark a point in time; on a CUDA device, without making the CPU wait."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _seconds(marks: Sequence[Any]) -> list[float]:
    if isinstance(marks[0], float):
        return [after - before for before, after in pairwise(marks)]
    torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1000 for before, after in pairwise(marks)]


@torch.no_grad()
def answer(
    model: Any,
    tokenizer: Any,
    plain_input: PlainInput,
    questions: Sequence[Encoded],
    *,
    stop_ids: Collection[int],
    batch_size: int,
    max_new_tokens: int = 24,
    autocast: bool = True,
) -> list[Prediction]:
    """Answer and score questions with ``generate``, left-padded, the longest first; results in the order given."""
    device, stops = plain_input.codes.device, sorted(stop_ids)
    order = sorted(range(len(questions)), key=lambda i: -len(questions[i].prompt_ids))
    predictions: dict[int, Prediction] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        rows = [torch.tensor(questions[i].prompt_ids) for i in chosen]
        masks = [torch.ones_like(row) for row in rows]
        ids, mask = (pad_sequence(x, batch_first=True, padding_side="left").to(device) for x in (rows, masks))
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            out = model.generate(
                inputs_embeds=plain_input.adapter(plain_input.codes[ids]).to(plain_input.matrix.dtype),
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=max_new_tokens,
                eos_token_id=stops,
                pad_token_id=stops[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
            )
        ended = torch.isin(out, torch.tensor(stops, device=device)).any(1).tolist()
        texts = tokenizer.batch_decode(out, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for i, text, has_ended in zip(chosen, texts, ended, strict=True):
            predictions[i] = score_answer(questions[i], text, "end" if has_ended else "length", EXTRACTIVE_QA)
    return [predictions[i] for i in range(len(questions))]
