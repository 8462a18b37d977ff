"""Which sweeps are handed to a scheduler, and which are refused before it is asked."""

import pytest

from thinwire.cli.workers import Submission, check_submission, submit
from thinwire.config.experiment import Experiment
from thinwire.config.settings import AUTO_MAP
from thinwire.errors import UsageError
from thinwire.schema import build


def test_a_model_divided_among_gpus_is_refused_by_ray_whose_workers_have_one(tmp_path):
    divided = build(
        Experiment, {"name": "divided", "baseline": "a", "arms": {"a": {}}, "model": {"device": AUTO_MAP}}, where=""
    )
    submission = Submission("ray", 2, {}, None)
    with pytest.raises(UsageError, match="a worker of --executor ray has one"):
        check_submission(divided, submission)  # as a dry run does
    with pytest.raises(UsageError, match="a worker of --executor ray has one"):
        submit(divided, tmp_path / "run", submission, resume=False, controls="none")
    assert not (tmp_path / "run").exists()
