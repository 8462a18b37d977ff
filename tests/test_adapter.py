import torch

from test_codecs import table_and_counts
from thinwire.adapter import Adapter
from thinwire.codecs import PCACodec
from thinwire.config import AdapterConfig, CodecConfig
from thinwire.determinism import generator


def make(seed=0):
    table, counts = table_and_counts()
    codec = PCACodec.fit(table, counts, CodecConfig(compress_dim=6), 0)
    return table, codec, Adapter(codec, AdapterConfig(hidden=16), generator("cpu", seed, "adapter"))


def test_an_adapter_starts_as_the_codecs_inverse():
    table, codec, adapter = make()
    codes = codec.encode(table)
    torch.testing.assert_close(adapter(codes), codec.decode(codes), atol=1e-5, rtol=1e-5)


def test_its_size_is_the_linear_decoder_and_one_hidden_layer():
    # linear 6 x 24 + 24, hidden 6 x 16 + 16, output 16 x 24 + 24
    assert sum(p.numel() for p in make()[2].parameters()) == 168 + 112 + 408


def test_its_initial_values_follow_the_seed_and_leave_the_global_stream_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = make(0)[2], make(0)[2], make(1)[2]
    assert torch.equal(one.hidden.weight, two.hidden.weight)
    assert not torch.equal(one.hidden.weight, other.hidden.weight)
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_all_of_it_is_float32_and_reached_by_a_gradient():
    table, codec, adapter = make()
    adapter.output.weight.data.normal_()
    adapter(codec.encode(table)).square().sum().backward()
    assert all(p.dtype == torch.float32 and p.grad.abs().sum() > 0 for p in adapter.parameters())
