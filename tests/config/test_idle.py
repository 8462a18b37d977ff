"""Settings without effect, which are neither compared nor searched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.config.experiment import ArmConfig
from thinwire.config.idle import effective_settings
from thinwire.schema import build, leaves, merge, nested

TRAINED = {"rank": 4}
MEAN, APART = {"encoder": "mean"}, {"reconstruction": {"lora": "absent"}}
FIXED = {"rank": 4, "start_from": "runs/one/text_lora", "trained": False}


def config(**changes):
    return build(ArmConfig, changes, where="").model_dump(mode="json")


def idle(found):
    return dict(leaves(found)).keys() - effective_settings(found).keys()


@pytest.mark.parametrize(
    ("changes", "path", "has_effect"),
    [
        ({}, "training.adapter_lr", True),
        ({"input": "codec", "lora": TRAINED}, "training.adapter_lr", False),
        ({"input": "text", "lora": TRAINED}, "training.adapter_lr", False),
        ({}, "adapter.hidden", True),
        ({"input": "codec", "lora": TRAINED}, "adapter.hidden", False),
        ({"input": "codec", "lora": TRAINED}, "codec.ratio", True),
        ({"input": "text", "lora": TRAINED}, "codec.ratio", False),
        ({}, "lora.rank", True),
        ({}, "lora.alpha", False),
        ({}, "training.lora_lr", False),
        ({"lora": TRAINED}, "training.lora_lr", True),
        ({"lora": FIXED}, "training.lora_lr", False),
        ({"lora": FIXED}, "lora.dropout", True),
        ({"lora": FIXED}, "training.epochs", True),  # of the adapter
        ({"lora": FIXED, "input": "text"}, "training.epochs", False),
        ({"lora": TRAINED}, "lora.position", False),
        ({"lora": {**TRAINED, "layers": 2}}, "lora.position", True),
        ({}, "supervision.teacher", False),
        ({"supervision": {"kd_weight": 1}}, "supervision.teacher", True),
        ({"supervision": {"ce_weight": 0, "kd_weight": 1}}, "supervision.k_tokens", True),
        ({"supervision": {"ce_weight": 0, "first_token_ce_weight": 1}}, "supervision.k_tokens", False),
        ({"supervision": {"ce_weight": 0, "first_token_ce_weight": 1}}, "prompt.answer_form", True),
        ({"supervision": {"ce_weight": 0}}, "prompt.answer_form", False),
        ({"codec": {"kind": "vq"}}, "codec.vq.steps", True),
        ({"codec": {"kind": "vq"}}, "codec.autoencoder.steps", False),
        ({"codec": {"compress_dim": 8}}, "codec.ratio", False),
        ({"prompt": {"style": "chat", "cue": ""}}, "prompt.cue", False),
        ({"prompt": {"cue": ""}}, "prompt.cue", True),
        ({"input": "blocks", "blocks": {"encoder": "pca"}}, "blocks.code_width", True),
        ({"input": "blocks", "blocks": {"encoder": "mlp"}}, "blocks.code_width", False),
        ({"input": "blocks", "blocks": {"encoder": "transformer"}}, "blocks.code_width", False),
        ({"input": "blocks", "blocks": {"encoder": "pca"}}, "blocks.hidden", True),
        ({"input": "blocks", "blocks": {"encoder": "weighted_mean"}}, "blocks.hidden", False),
        ({"input": "blocks", "blocks": {"encoder": "pca"}}, "blocks.layers", False),
        ({"input": "blocks", "blocks": {"encoder": "pca"}}, "training.adapter_lr", True),
        ({"input": "blocks"}, "blocks.reconstruction.encoder_lr", True),
        ({"input": "blocks"}, "blocks.reconstruction.lora_lr", False),
        ({"input": "blocks"}, "blocks.reconstruction.lora", False),
        ({"input": "blocks", "lora": TRAINED}, "blocks.reconstruction.lora_lr", True),
        ({"input": "blocks", "lora": FIXED}, "blocks.reconstruction.lora_lr", False),
        ({"input": "blocks", "lora": FIXED}, "blocks.reconstruction.lora", True),  # whether it is there
        ({"input": "blocks", "blocks": MEAN, "lora": TRAINED}, "blocks.reconstruction.encoder_lr", False),
        ({"input": "blocks", "blocks": MEAN, "lora": TRAINED}, "blocks.reconstruction.passages", True),
        ({"input": "blocks", "blocks": MEAN, "lora": FIXED}, "blocks.reconstruction.passages", False),
        ({"input": "blocks", "blocks": APART, "lora": TRAINED}, "blocks.reconstruction.lora_lr", False),
        ({"input": "blocks", "blocks": APART, "lora": TRAINED}, "blocks.reconstruction.encoder_lr", True),
        ({"input": "blocks", "blocks": {**MEAN, **APART}, "lora": TRAINED}, "blocks.reconstruction.passages", False),
        ({"input": "blocks", "blocks": {**MEAN, **APART}, "lora": TRAINED}, "blocks.reconstruction.lora", True),
        ({}, "prompt.context_share", True),
        ({}, "prompt.context_choice", False),
        ({"prompt": {"context_share": 0.5}}, "prompt.context_choice", True),
        ({"prompt": {"context_share": 0.5}, "context": False}, "prompt.context_share", False),
        ({"prompt": {"context_share": 0.5}, "context": False}, "prompt.context_choice", False),
    ],
)
def test_a_setting_has_no_effect_where_another_leaves_it_none(changes, path, has_effect):
    assert (path not in idle(config(**changes))) is has_effect


def test_settings_that_an_earlier_version_lacked_are_taken_as_they_were():
    found = config(lora=TRAINED, supervision={"ce_weight": 0})
    del found["lora"]["trained"], found["supervision"]["first_token_ce_weight"]
    assert "training.lora_lr" not in idle(found)
    assert "prompt.answer_form" in idle(found)


@given(
    st.sampled_from(["adapter", "codec", "text"]),
    st.sampled_from([{}, TRAINED, FIXED, {**TRAINED, "layers": 2}]),
    st.sampled_from(["pca", "vq", "autoencoder"]),
    st.tuples(*[st.sampled_from([0, 1])] * 3),
    st.data(),
)
def test_another_value_of_a_setting_without_effect_makes_no_difference(of, lora, kind, weights, data):
    names = ("ce_weight", "first_token_ce_weight", "kd_weight")
    found = config(input=of, lora=lora, codec={"kind": kind}, supervision=dict(zip(names, weights, strict=True)))
    path = data.draw(st.sampled_from(sorted(idle(found))))
    assert effective_settings(merge(found, nested(path, "another"))) == effective_settings(found)
