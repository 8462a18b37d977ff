"""A real Slurm cluster of one node on this machine's loopback, for tests: ``with SlurmCluster() as cluster: ...``.

Its munged, slurmctld and slurmd, their key, settings, states and logs are its own, in a folder that is removed at the
end. Slurm starts what runs jobs as daemons; so that none is left behind, also if the tests are killed, all of it runs
below one process, which is the parent of every orphan and kills them all when its input ends.
"""

import ctypes
import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

PROGRAMS = {
    "munge": ["munged"],
    "slurmctld": ["slurmctld"],
    "slurmd": ["slurmd"],
    "slurm-client": ["sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"],
}
"""What must be installed, by Debian package."""

SETTINGS = {
    "ClusterName": "test",
    "SlurmUser": "root",
    "SlurmdUser": "root",
    "AuthType": "auth/munge",
    "CredType": "cred/munge",
    "CommunicationParameters": "NoInAddrAny,NoCtldInAddrAny",  # listen on the loopback alone
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "JobAcctGatherType": "jobacct_gather/none",
    "AccountingStorageType": "accounting_storage/none",
    "MpiDefault": "none",
    "SchedulerType": "sched/backfill",
    "SchedulerParameters": "sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_CPU",
    "SlurmdParameters": "config_overrides",  # as many CPUs as are said, not as there are
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    "GresTypes": "gpu",
    "JobRequeue": "1",
    "ReturnToService": "2",
    "MaxArraySize": "1001",
    "MinJobAge": "300",  # how long scontrol still knows a job that has ended
    "KillWait": "2",
    "CompleteWait": "0",
    "InactiveLimit": "0",
    "SlurmctldTimeout": "30",
    "SlurmdTimeout": "300",
    "SlurmctldDebug": "verbose",
    "SlurmdDebug": "verbose",
}


def missing():
    """Return why no cluster can be started here, or None."""
    if sys.platform != "linux":
        return "Slurm runs on Linux only"
    if os.geteuid() != 0:
        return "only root can start Slurm"
    for package, programs in PROGRAMS.items():
        for program in programs:
            if not _find(program):
                return f"{program} is missing (Debian: {package})"
    return None


class SlurmCluster:
    """A context manager that starts the cluster and ends it.

    Its node has four CPUs, two GPUs that are none (``--gres=gpu:1``), the feature "small", and is in the partitions
    "main", the default one, and "urgent", whose jobs have those of "main" requeued. Accounts are ignored.

    Args:
        settings: lines of slurm.conf to have in place of those of ``SETTINGS`` or besides them.
    """

    def __init__(self, **settings):
        self._settings, self._daemons, self._pids = settings, None, {}

    def __enter__(self):
        # Under /tmp, not the tests' own folder: munged wants parents that others cannot write to but may look into,
        # and a socket's path has at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._daemons is not None:
            self._daemons.stdin.close()
            self._daemons.wait(60)
            self._daemons.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)  # gone by now, unless nothing has been started

    def environment(self):
        """Return this process's variables with what has Slurm's commands ask this cluster, without any outer job's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        return {**kept, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *command, check=True, **options):
        """Run one of Slurm's commands, and return what it printed."""
        options = {"env": self.environment(), "timeout": 60, **options}
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, *arguments, **options):
        """Run sbatch and return the job's number, as a text."""
        return self.run("sbatch", "--parsable", *arguments, **options).strip()

    def job(self, number):
        """Return what scontrol says of a job or of one element ("12_3"): values by name, such as JobState."""
        words = self.run("scontrol", "--oneliner", "show", "job", number).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def states(self):
        """Return the state of every job that has not ended, by number; of an array, by element."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_for(self, number, *states, seconds=60):
        """Wait until a job or an element is in one of the states, and return its description."""
        return self.wait_until(lambda: (job := self.job(number))["JobState"] in states and job, seconds)

    def wait_until(self, condition, seconds=60):
        """Wait until ``condition()`` is true, and return what it returned."""
        until = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > until:
                raise AssertionError(f"waited for {seconds} seconds in vain; {self.logs()}")
            time.sleep(0.05)
        return found

    def stop_controller(self, number=signal.SIGTERM):
        """End slurmctld: on TERM it saves its state before, on KILL it has what it saved last."""
        pid = self._pids.pop("slurmctld")
        os.kill(pid, number)
        self.wait_until(lambda: not psutil.pid_exists(pid))

    def start_controller(self):
        """Start slurmctld and wait until the node takes jobs."""
        self._run_daemon("slurmctld", "slurmctld", "-D", "-i")
        self._wait_for_node()

    def restart_controller(self, number=signal.SIGTERM):
        """End slurmctld and start it again; jobs go on meanwhile."""
        self.stop_controller(number)
        self.start_controller()

    def processes(self):
        """Return all processes of the cluster, those of the jobs among them."""
        return psutil.Process(self._daemons.pid).children(recursive=True)

    def processes_of(self, word):
        """Return the processes of the cluster with this word in their command."""
        found = []
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):  # it has ended just now
                if word in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def logs(self):
        """Return the last lines of every daemon's log."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{file.name}:\n{file.read_text(errors='replace')[-2000:]}" for file in files)

    def _start(self):
        self.folder.chmod(0o755)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self._write_settings()
        key = self.folder / "munge.key-file"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        self._daemons = subprocess.Popen(
            [sys.executable, __file__, self.folder],
            env={**self.environment(), "LC_ALL": "C"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl+C is the tests' to handle
        )
        files = {name: f"munge.{name}" for name in ("socket", "key-file", "pid-file", "seed-file")}
        options = [f"--{option}={self.folder / name}" for option, name in files.items()]
        self._run_daemon("munged", "munged", "--foreground", *options)
        self.wait_until((self.folder / "munge.socket").exists)
        self._run_daemon("slurmd", "slurmd", "-D", "-N", "node1")
        self._run_daemon("slurmctld", "slurmctld", "-D", "-i")
        self._wait_for_node()

    def _write_settings(self):
        folder = self.folder
        controller, node = _free_ports(2)
        settings = {
            **SETTINGS,
            "SlurmctldHost": "localhost(127.0.0.1)",
            "SlurmctldPort": controller,
            "SlurmdPort": node,
            # A requeued job waits for as long as a credential is valid, two minutes if nothing is said.
            "AuthInfo": f"socket={folder}/munge.socket,cred_expire=5",
            "StateSaveLocation": folder / "state",
            "SlurmdSpoolDir": folder / "spool",
            "SlurmctldPidFile": folder / "slurmctld.pid",
            "SlurmdPidFile": folder / "slurmd.pid",
            "SlurmdLogFile": folder / "jobs.log",
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": folder / "ended_jobs.txt",
            "PlugStackConfig": "/dev/null",
            **self._settings,
        }
        lines = [
            *(f"{name}={value}" for name, value in settings.items()),
            "NodeName=node1 NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 Gres=gpu:2 Feature=small",
            "PartitionName=main Nodes=node1 Default=YES PriorityTier=1 State=UP",
            "PartitionName=urgent Nodes=node1 PriorityTier=2 State=UP",
        ]
        (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")

    def _run_daemon(self, name, program, *arguments):
        order = {"program": [_find(program), *arguments], "output": str(self.folder / f"{name}.log")}
        self._daemons.stdin.write(json.dumps(order).encode() + b"\n")
        self._daemons.stdin.flush()
        self._pids[name] = int(self._daemons.stdout.readline())

    def _wait_for_node(self):
        def takes_jobs():
            for name, pid in self._pids.items():
                if not psutil.pid_exists(pid):
                    raise AssertionError(f"{name} has ended: {self.logs()}")
            said = self.run("sinfo", "--noheader", "--format=%T", check=False).split()
            return said and all(state in ("idle", "mixed", "allocated") for state in said)

        self.wait_until(takes_jobs)


def _find(program):
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _run_daemons(folder):
    """Start the programs that the input names, one a line, until it ends; then kill all descendants, remove the folder.

    Here, not in the tests' process, so that it is also done if that is killed.
    """
    become_parent_of_orphans = 36  # PR_SET_CHILD_SUBREAPER
    if ctypes.CDLL(None, use_errno=True).prctl(become_parent_of_orphans, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        buffer = b""
        while True:
            _reap()
            if not select.select([0], [], [], 0.1)[0]:
                continue
            data = os.read(0, 1 << 16)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                with Path(order["output"]).open("ab") as output:
                    started = subprocess.Popen(
                        order["program"], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                    )
                started.returncode = 0  # it is reaped here, not by its object
                os.write(1, f"{started.pid}\n".encode())
    finally:
        while left := psutil.Process().children(recursive=True):
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            _reap()
            time.sleep(0.01)
        shutil.rmtree(folder, ignore_errors=True)


def _reap():
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    _run_daemons(sys.argv[1])
