import torch

from thinwire.adapter.adapter import Adapter
from thinwire.codecs.pca import PCACodec
from thinwire.codecs.settings import CodecConfig
from thinwire.config.settings import AdapterConfig
from thinwire.determinism import generator
from tiny_codecs import matrix_and_counts


def make(seed=0):
    matrix, counts = matrix_and_counts()
    codec = PCACodec.fit(matrix, counts, CodecConfig(compress_dim=6), 0)
    return matrix, codec, Adapter(codec, AdapterConfig(hidden=16), generator("cpu", seed, "adapter"))


def test_an_adapter_starts_as_the_codecs_inverse():
    matrix, codec, adapter = make()
    codes = codec.encode(matrix)
    torch.testing.assert_close(adapter(codes), codec.decode(codes), atol=1e-5, rtol=1e-5)


def test_its_parameters_are_the_linear_decoder_and_one_hidden_layer():
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


def test_all_parameters_are_float32_and_get_a_gradient():
    matrix, codec, adapter = make()
    adapter.output.weight.data.normal_()
    adapter(codec.encode(matrix)).square().sum().backward()
    assert all(p.dtype == torch.float32 and p.grad.abs().sum() > 0 for p in adapter.parameters())
