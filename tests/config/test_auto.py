from thinwire.config.auto import resolved
from thinwire.config.experiment import ArmConfig
from thinwire.schema import build


def test_auto_becomes_the_value_of_the_device_in_every_group_of_settings():
    cpu, gpu = (resolved(ArmConfig(), device) for device in ("cpu", "cuda"))
    assert (cpu.evaluation.samples, gpu.evaluation.samples) == (100, 1_000)
    assert (cpu.evaluation.selection_samples, gpu.evaluation.selection_samples) == (50, 500)
    assert (cpu.reconstruction.steps, gpu.reconstruction.steps) == (1_000, 10_000)
    assert (cpu.codec.vq.steps, gpu.codec.vq.steps) == (500, 2_000)
    assert (cpu.codec.autoencoder.steps, gpu.codec.autoencoder.steps) == (1_000, 10_000)


def test_given_values_and_settings_that_affect_only_speed_are_unchanged():
    given = {"reconstruction": {"steps": 7}, "evaluation": {"samples": "all"}}
    arm = resolved(build(ArmConfig, given, where=""), "cuda")
    assert (arm.reconstruction.steps, arm.evaluation.samples) == (7, "all")
    assert (arm.training.micro_batch_tokens, arm.training.warmup_steps) == ("auto", "auto")
