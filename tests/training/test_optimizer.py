"""The optimiser's learning rates, worked out by hand."""

from thinwire.training.optimizer import learning_rate_factor
from tiny_training import arm_config


def test_the_learning_rate_warms_up_linearly_and_decays_to_zero():
    config = arm_config(training={"warmup_steps": "auto"}).training
    # 100 steps: warm-up min(20, 10) = 10, from 1/11 to 10/11; then from 90/90 down to 1/90.
    factors = [round(learning_rate_factor(step, 100, config), 4) for step in (0, 9, 10, 55, 99)]
    assert factors == [0.0909, 0.9091, 1.0, 0.5, 0.0111]
    assert learning_rate_factor(20, 1000, config) == 1.0
    assert learning_rate_factor(19, 1000, config) < 1.0
