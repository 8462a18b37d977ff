"""Which architectures run, packed or padded: answers as of transformers, LoRA in training, merged and in peft."""

import copy
import logging
import re
from pathlib import Path

import peft
import pytest
import torch

from architectures import PADDED, REFUSED, SUPPORTED, WITHOUT_ATTENTION, tiny_model_of
from thinwire.config.lora_settings import LoraSettings
from thinwire.errors import UsageError
from thinwire.evaluation.generation import StopRule, greedy
from thinwire.model.lora import attached
from thinwire.model.lora_modules import adapted_modules, linear_modules
from thinwire.model.support import check_model
from tiny_training import arm_config, train_together

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "models.md"
PROMPTS = [list(range(5, 30)), [*range(5, 24), 9, 8], [70, 71, 72]]
ALL = {**SUPPORTED, **{name: sizes for name, (sizes, _) in PADDED.items()}}


@pytest.fixture(params=sorted(ALL))
def lm(request):
    return check_model(tiny_model_of(request.param, ALL[request.param]))


def test_a_model_answers_as_its_own_generate(lm):
    found = greedy(
        lm, lm.embedding_matrix, PROMPTS, StopRule(max_new_tokens=6, end_ids=frozenset(), newline_ids=frozenset())
    )
    other = tiny_model_of(lm.name, ALL[lm.name]).model
    other.generation_config.eos_token_id = None  # six tokens, whatever they are
    for prompt, continuation in zip(PROMPTS, found, strict=True):
        own = other.generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False)
        assert list(continuation.ids) == own[0, len(prompt) :].tolist()


@pytest.mark.parametrize("targets", ["attention", "all-linear"])
def test_lora_trains_and_is_the_same_merged_and_in_peft(lm, targets, tmp_path):
    before = copy.deepcopy(lm.model)
    settings = LoraSettings(rank=2, alpha=8, dropout=0.0, targets=targets)
    if targets == "attention" and lm.name in WITHOUT_ATTENTION:
        with pytest.raises(UsageError, match=r"no linear module of attention in .* or use all-linear"):
            adapted_modules(lm.model, settings)
        return
    ids = torch.tensor(PROMPTS[:1])
    with torch.no_grad(), attached(lm.model, [settings], [0]) as lora:
        for number, factor in enumerate(lora.factors(0).values()):
            factor += 0.02 * torch.randn(factor.shape, generator=torch.Generator().manual_seed(number))
        lora.save(0, tmp_path)
        with lora.alone(0):
            merged = lm.model(input_ids=ids).logits
    own = before(input_ids=ids).logits
    assert not torch.allclose(merged, own, atol=1e-3)
    in_peft = peft.PeftModel.from_pretrained(before, tmp_path).eval()(input_ids=ids).logits
    torch.testing.assert_close(in_peft, merged, atol=2e-4 * float(own.abs().max()), rtol=1e-3)
    names = adapted_modules(lm.model, settings)
    everything = set(linear_modules(lm.model))
    assert names == (everything if targets == "all-linear" else {name for name in everything if "att" in name})


def test_an_arm_with_the_default_targets_learns(lm):
    training = {"epochs": 3, "batch_size": 3, "warmup_steps": 0, "lora_lr": 1e-2}
    lora = {"rank": 2, "alpha": 4, "dropout": 0.0}
    if lm.name in WITHOUT_ATTENTION:
        lora["targets"] = "all-linear"
    (trained,) = train_together(arm_config(lora=lora, training=training), lm=lm)
    losses = [step["loss"] for step in trained.metrics]  # two in each epoch
    assert sum(losses[-2:]) < sum(losses[:2])


def test_a_model_that_can_be_packed_is_and_nothing_is_logged(caplog):
    for architecture, sizes in SUPPORTED.items():
        assert check_model(tiny_model_of(architecture, sizes)).batching == "packed"
    assert not caplog.records


@pytest.mark.parametrize("architecture", sorted(PADDED))
def test_the_log_says_in_one_line_why_a_model_is_padded(architecture, caplog):
    sizes, reason = PADDED[architecture]
    with caplog.at_level(logging.WARNING, logger="thinwire"):
        lm = check_model(tiny_model_of(architecture, sizes))
    (record,) = [record for record in caplog.records if record.name.startswith("thinwire")]
    assert re.search(f"^{architecture}: .*({reason}).*, which is slower$", record.message)
    assert lm.batching == ("equal" if "equal length" in reason else "padded")


@pytest.mark.parametrize("architecture", sorted(REFUSED))
def test_a_model_that_is_not_supported_is_refused_with_the_cause(architecture):
    sizes, reason = REFUSED[architecture]
    with pytest.raises(UsageError, match=reason):
        check_model(tiny_model_of(architecture, sizes))


def test_the_table_of_the_guide_is_what_was_tried():
    table = PAGE.read_text(encoding="utf-8").split("| architecture |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (runs|padded|refused)", table, flags=re.M))
    expected = dict.fromkeys(SUPPORTED, "runs") | dict.fromkeys(PADDED, "padded") | dict.fromkeys(REFUSED, "refused")
    assert rows == expected
