"""Which architectures run: packed and cached as transformers runs them, with LoRA in training, merged and in peft."""

import copy
import re
from pathlib import Path

import peft
import pytest
import torch

from architectures import REFUSED, SUPPORTED, tiny_model_of
from thinwire.config.lora_settings import LoraSettings
from thinwire.errors import UsageError
from thinwire.evaluation.generation import StopRule, greedy
from thinwire.model.lora import attached
from thinwire.model.lora_modules import adapted_modules, linear_modules
from thinwire.model.support import check_model
from tiny_training import arm_config, train_together

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "models.md"
PROMPTS = [list(range(5, 30)), [*range(5, 24), 9, 8], [70, 71, 72]]


@pytest.fixture(params=sorted(SUPPORTED))
def lm(request):
    return tiny_model_of(request.param, SUPPORTED[request.param])


def test_a_supported_model_answers_as_its_own_generate(lm):
    check_model(lm)
    lm.model.generation_config.eos_token_id = None  # six tokens, whatever they are
    found = greedy(
        lm, lm.embedding_matrix, PROMPTS, StopRule(max_new_tokens=6, end_ids=frozenset(), newline_ids=frozenset())
    )
    for prompt, continuation in zip(PROMPTS, found, strict=True):
        own = lm.model.generate(torch.tensor([prompt]), max_new_tokens=6, do_sample=False)
        assert list(continuation.ids) == own[0, len(prompt) :].tolist()


@pytest.mark.parametrize("targets", ["attention", "all-linear"])
def test_lora_trains_and_is_the_same_merged_and_in_peft(lm, targets, tmp_path):
    before = copy.deepcopy(lm.model)
    settings = LoraSettings(rank=2, alpha=8, dropout=0.0, targets=targets)
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
    (trained,) = train_together(arm_config(lora={"rank": 2, "alpha": 4, "dropout": 0.0}, training=training), lm=lm)
    losses = [step["loss"] for step in trained.metrics]  # two in each epoch
    assert sum(losses[-2:]) < sum(losses[:2])


@pytest.mark.parametrize("architecture", sorted(REFUSED))
def test_a_model_that_is_not_supported_is_refused_with_the_cause(architecture):
    sizes, reason = REFUSED[architecture]
    with pytest.raises(UsageError, match=reason):
        check_model(tiny_model_of(architecture, sizes))


def test_the_table_of_the_guide_is_what_was_tried():
    table = PAGE.read_text(encoding="utf-8").split("| architecture |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (runs|refused)", table, flags=re.M))
    assert rows == dict.fromkeys(SUPPORTED, "runs") | dict.fromkeys(REFUSED, "refused")
