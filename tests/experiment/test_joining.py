"""Workers that join a run which others have begun."""

import pytest

from thinwire.errors import UsageError
from thinwire.experiment.executors import peer
from thinwire.experiment.group_queue import read_queue, write_queue
from thinwire.experiment.request import read_request
from thinwire.experiment.sweep import join_sweep
from thinwire.results.sweep_header import read_header, write_header
from tiny_sweeps import experiment


def test_a_worker_on_a_cpu_does_not_join_workers_that_use_gpus(folder, tmp_path):
    peer.ask(
        experiment(folder, arms={"baseline": {}}, controls={}), tmp_path, resume=False, controls="auto", num_workers=2
    )
    (record,) = join_sweep(read_request(tmp_path), tmp_path)
    header = read_header(tmp_path)
    on_gpu = header.environment.model_copy(update={"device": "NVIDIA H200"})
    write_header(tmp_path, header.model_copy(update={"environment": on_gpu, "finished_at": None}))
    with pytest.raises(UsageError, match="was begun on NVIDIA H200, and this worker would use cpu: start it on a host"):
        join_sweep(read_request(tmp_path), tmp_path)
    queue = read_queue(tmp_path)
    write_queue(tmp_path, queue.model_copy(update={"choices": "of a search that has just ended"}))
    with pytest.raises(UsageError, match="was begun on NVIDIA H200"):
        join_sweep(read_request(tmp_path), tmp_path)
    assert read_header(tmp_path).environment == on_gpu, "else the workers that use GPUs would be refused"
    write_queue(tmp_path, queue)
    write_header(tmp_path, header)
    assert [one.finished_at for one in join_sweep(read_request(tmp_path), tmp_path)] == [record.finished_at]
