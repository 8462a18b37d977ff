"""The executor of Ray: the same results as without it, each arm once whatever is lost, and nothing left when stopped.

The cluster of two nodes is one of this machine: two raylets that Ray schedules on as on two hosts.
"""

import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from threading import Thread

import psutil
import pytest
import torch

from thinwire import claim_files, claim_owners, claims
from thinwire.claim_files import look
from thinwire.errors import StorageError, ThinwireError, UsageError
from thinwire.experiment.executors import ray as executor
from thinwire.experiment.executors.peer import ask
from thinwire.experiment.executors.ray import connected
from thinwire.experiment.executors.ray_actors import Stop, Worker
from thinwire.experiment.group_queue import claim_name
from thinwire.experiment.run_claims import RunClaims
from thinwire.experiment.sweep import run_sweep
from thinwire.results.arm_record import read_arm_record
from tiny_sweeps import LORA, experiment, have_started, timeless, wait_for

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'thinwire[ray]'")

pytestmark = pytest.mark.slow

TRAINING = {"epochs": 40, "batch_size": 4}
"""Training that takes seconds, so that it can be disturbed."""

ARMS = {"baseline": {}, "r2": {"lora": LORA}}
LONG_ARMS = {"long": {"training": TRAINING}, "long_r2": {"training": TRAINING, "lora": LORA}}


@pytest.fixture(scope="module", autouse=True)
def _ray_environment():
    """Give Ray a folder with a short name, as its sockets need, and a token of these tests."""
    temporary = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", temporary)
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("THINWIRE_CLAIM_SECONDS", "6")
        patch.setattr(executor, "_FINISH_SECONDS", 3.0)  # a worker that was lost has not begun again, or waits for room
        yield
    shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """Run all arms without Ray, on one thread, as Ray's workers have."""
    run, threads = tmp_path_factory.mktemp("alone"), torch.get_num_threads()
    torch.set_num_threads(1)
    run_sweep(made(folder, ARMS | LONG_ARMS), run, controls="none")
    torch.set_num_threads(threads)
    return run


@pytest.fixture(scope="module")
def two_nodes(_ray_environment):
    """Start a cluster of two nodes of this machine; each has room for one worker."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes(60)
    yield cluster
    cluster.shutdown()


def made(folder, arms):
    """Make an experiment of groups of one arm, whose layers are never compiled."""
    model = {"name": str(folder / "model"), "device": "cpu", "dtype": "float32", "compile": False}
    others = {"controls": {}, "group_size": 1, "worker_processes": 1}
    return experiment(folder, model=model, arms=arms, baseline=next(iter(arms)), **others)


def run_on(address, run):
    """Run the sweep that the folder ``run`` asks for by two workers of the cluster at ``address``."""
    with connected(address) as cluster:
        cluster.run(run, 2, on_gpu=False)


def asked(folder, run, arms):
    """Ask for a sweep of two workers in the folder ``run``; returns it."""
    ask(made(folder, arms), run, resume=False, controls="none", num_workers=2)
    return run


def is_alive(process):
    """Return whether a process is there, and is not one that only its parent has not noted the end of."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def owners(run):
    """Return the processes that have claimed groups."""
    return {one.name: one.owner.process for one in RunClaims(run).live() if one.owner}


def check_same(run, alone, names, num_logs=1):
    """Check that each arm was ended once, with the results of the undisturbed run."""
    for name in names:
        one, other = alone / name, run / name
        assert read_arm_record(other).status == "done"
        assert timeless(one / "diagnostics.jsonl") == timeless(other / "diagnostics.jsonl")
        assert (one / "predictions.jsonl").read_bytes() == (other / "predictions.jsonl").read_bytes()
        logs = [log.read_text() for log in other.glob("training_*.log")]
        assert sum(log.count(f"{name}: test F1") for log in logs) == 1
    assert (run / "report.html").exists()
    assert RunClaims(run).live() == []


def test_arms_on_a_cluster_that_is_started_here_have_the_results_of_one_run_alone(folder, tmp_path, alone, caplog):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with caplog.at_level(logging.INFO, logger="thinwire"), connected(None) as cluster:
        assert {number: signal.getsignal(number) for number in before} == before
        assert cluster.num_workers(on_gpu=False) == os.cpu_count()
        with pytest.raises(UsageError, match=r"no GPU now; say how many workers"):
            cluster.num_workers(on_gpu=True)
        cluster.run(asked(folder, tmp_path / "run", ARMS), 2, on_gpu=False)
    assert not ray.is_initialized()
    check_same(tmp_path / "run", alone, ARMS)
    assert read_arm_record(tmp_path / "run" / "r2").environment.cpu_threads == 1
    assert "has begun on" in caplog.text


def test_arms_of_a_worker_that_is_killed_are_run_by_others_with_the_same_results(folder, tmp_path, alone, two_nodes):
    run = asked(folder, tmp_path / "run", LONG_ARMS)
    killed = []

    def kill():
        wait_for(lambda: have_started(run, "long"))
        killed.append(owners(run)[claim_name(["long"])])
        os.kill(killed[0], signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    run_on(two_nodes.address, run)
    killer.join()
    assert killed
    check_same(run, alone, LONG_ARMS)


def test_calls_that_are_delivered_twice_end_each_arm_once(folder, tmp_path, alone, two_nodes):
    run = asked(folder, tmp_path / "run", ARMS)
    with connected(two_nodes.address):
        stop = ray.remote(Stop).options(num_cpus=0).remote()
        one, other = (ray.remote(Worker).options(num_cpus=1).remote() for _ in range(2))
        calls = [actor.run.remote(str(run), stop) for actor in (one, other, one)]
        assert ray.get(calls, timeout=120) == [None] * 3
    check_same(run, alone, ARMS)


def test_a_worker_that_cannot_go_on_ends_the_sweep_with_its_message(folder, tmp_path, two_nodes, caplog):
    run = asked(folder, tmp_path / "run", LONG_ARMS)
    shutil.move(folder / "train.json", folder / "elsewhere.json")
    try:
        with pytest.raises(UsageError, match=r"train\.json") as caught:
            run_on(two_nodes.address, run)
    finally:
        shutil.move(folder / "elsewhere.json", folder / "train.json")
    assert "Traceback" not in str(caught.value)
    assert not list(run.glob("*/record.json"))


def test_a_node_that_is_lost_leaves_its_arms_to_the_other(folder, tmp_path, alone, two_nodes):
    # Last of the tests with two nodes.
    run = asked(folder, tmp_path / "run", LONG_ARMS)
    [node] = [node for node in two_nodes.list_all_nodes() if node is not two_nodes.head_node]
    workers = []

    def remove():
        wait_for(lambda: have_started(run, *LONG_ARMS))
        workers.extend(owners(run).values())
        two_nodes.remove_node(node, allow_graceful=False)

    remover = Thread(target=remove)
    remover.start()
    run_on(two_nodes.address, run)
    remover.join()
    assert len(set(workers)) == 2, "one on each node"
    check_same(run, alone, LONG_ARMS)


DRIVER = """
import sys
from pathlib import Path
from thinwire import interruption
from thinwire.experiment.executors.ray import connected
interruption.install()
try:
    with connected(None) as cluster:
        cluster.run(Path(sys.argv[1]), 2, on_gpu=False)
except interruption.Interrupted as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def test_the_workers_of_an_interrupted_driver_keep_their_arms_and_no_process_is_left(folder, tmp_path):
    number = signal.SIGTERM
    endless = {"epochs": 100_000, "batch_size": 8}
    run = asked(folder, tmp_path / "run", {name: {**arm, "training": endless} for name, arm in ARMS.items()})
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(run)], stderr=subprocess.PIPE, text=True) as driver:
        try:
            wait_for(lambda: have_started(run, *ARMS))
            started = psutil.Process(driver.pid).children(recursive=True)
        finally:
            driver.send_signal(number)
        output = driver.stderr.read()
    assert len(started) > 4
    wait_for(lambda: not any(map(is_alive, started)), 60)
    assert RunClaims(run).live() == []
    if number == signal.SIGTERM:
        assert driver.returncode == 128 + number, output
        assert {name: read_arm_record(run / name).status for name in ARMS} == dict.fromkeys(ARMS, "cancelled")
        assert len(list(run.glob("*/unfinished-*.safetensors"))) == 2, "each at its own step"
        assert "interrupted by SIGTERM" in output
        assert "codec pca" in output, "workers' messages arrive"
        assert "Traceback" not in output
    else:
        assert not list(run.glob("*/record.json"))


def test_a_cluster_that_cannot_be_reached_is_refused_at_once(monkeypatch):
    def init(**_):
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "init", init)
    for address, message in [
        ("127.0.0.1:1", r"no Ray cluster answers at 127\.0\.0\.1:1 .*ray start --head.*6379"),
        ("ray://127.0.0.1:1", r"no Ray cluster answers at ray://127\.0\.0\.1:1 .*10001"),
        ("auto", r"the Ray cluster auto cannot be used .*Could not find any running Ray instance"),
        ("nonsense", r"nonsense is no address of a Ray cluster; write auto, HOST:PORT or ray://HOST:PORT"),
    ]:
        with pytest.raises(UsageError, match=message), connected(address):
            pass


def test_without_ray_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(executor, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"needs Ray; pip install 'thinwire\[ray\]'"):
        executor.check_ray()


def test_a_request_stays_in_a_new_folder_when_the_command_ends(folder, tmp_path):
    run = asked(folder, tmp_path / "run", ARMS)
    assert [path.name for path in (run / ".workers").iterdir()] == ["request.json"]


def test_errors_arrive_from_other_processes_as_they_were():
    for error in (UsageError("one", "two"), StorageError("full"), ThinwireError("x"), claims.ClaimLostError("taken")):
        arrived = ray.cloudpickle.loads(ray.cloudpickle.dumps(error))
        assert (type(arrived), arrived.lines) == (type(error), error.lines)


def test_workers_of_one_slurm_job_on_several_nodes_leave_each_other_their_claims(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    with claims.take(tmp_path / "claim"):
        for module in (claim_files, claim_owners):
            monkeypatch.setattr(module, "machine", lambda: "another node")
        assert claims.take(tmp_path / "claim") is None
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        assert look(tmp_path / "claim").is_gone, "the job was requeued: its first run is over"
