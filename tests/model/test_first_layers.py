"""The copy of a model's first layers: what is in it, that it computes what they do, and what cannot be copied."""

from dataclasses import replace

import pytest
import torch

from thinwire.adapter.context_encoders import FirstLayers
from thinwire.errors import UsageError
from thinwire.model.first_layers import copy_of_first_layers
from thinwire.ops.context_attention import contexts_of
from tiny_models import tiny_lm


def test_the_copy_has_the_layers_and_the_norm_and_shares_no_memory():
    lm = tiny_lm()
    copied, own = copy_of_first_layers(lm, 1), dict(lm.model.get_decoder().named_parameters())
    weights = dict(copied.named_parameters())
    assert {name.split(".")[0] for name in weights} == {"layers", "norm"}
    assert {name.split(".")[1] for name in weights if name.startswith("layers")} == {"0"}
    for name, weight in weights.items():
        assert weight.requires_grad
        assert torch.equal(weight, own[name].float())
        assert weight.data_ptr() != own[name].data_ptr()


def test_a_token_alone_has_the_state_that_the_models_own_layers_give_it():
    lm = tiny_lm()
    tokens = lm.embedding_matrix[:5].float()
    # Alone, a token sees the same in one direction as in both, and its place in its context does not matter.
    alone = contexts_of(torch.full((5,), -1), torch.arange(5), 1, 1)
    with torch.no_grad():
        expected = lm.model.get_decoder()(inputs_embeds=tokens[:, None], use_cache=False).last_hidden_state[:, 0]
        before = expected.clone()
        found = FirstLayers(copy_of_first_layers(lm, lm.num_layers))(tokens, alone)
        after = lm.model.get_decoder()(inputs_embeds=tokens[:, None], use_cache=False).last_hidden_state[:, 0]
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.equal(after, before), "the model keeps its own attention"


def test_tokens_see_those_after_them():
    lm = tiny_lm()
    reader = FirstLayers(copy_of_first_layers(lm, 1))
    together = contexts_of(torch.zeros(2, dtype=torch.int64), torch.arange(2), 1, 2)
    one, other = (reader(lm.embedding_matrix[[3, last]].float(), together)[0] for last in (4, 5))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "layers", "cause"),
    [
        ({}, 3, "has 2 layers; choose 1 to 2"),
        ({"base_bits": 8}, 1, "quantised"),
        ({"batching": "padded"}, 1, "cannot be packed"),
    ],
)
def test_what_cannot_be_copied_is_refused_with_the_cause(changes, layers, cause):
    with pytest.raises(UsageError, match=cause):
        copy_of_first_layers(replace(tiny_lm(), **changes), layers)
