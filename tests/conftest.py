import signal
import sys

import pytest
import torch

from thinwire import interruption
from thinwire.cli import main as cli
from thinwire.cli import options


def pytest_addoption(parser):
    parser.addoption("--long-faults", action="store_true", help="run all cases of tests/faults, which takes hours")


@pytest.fixture(scope="session")
def long_form(request):
    """Whether tests of faults try all their cases instead of a selection."""
    return request.config.getoption("--long-faults")


@pytest.fixture(autouse=True, scope="session")
def _two_threads():
    torch.set_num_threads(2)


@pytest.fixture
def set_threads():
    """Sets how many threads torch uses, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("THINWIRE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def thinwire(monkeypatch, capsys):
    """Run the command as its entry point does; returns exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["thinwire", *map(str, arguments)])
        monkeypatch.setattr(options.console, "file", sys.stderr)  # the captured one, not that of the first import
        with pytest.raises(SystemExit) as caught:
            cli.main()
        said = capsys.readouterr()
        return caught.value.code or 0, said.out, said.err

    for change in ("install", "ignore"):  # this process keeps its own handlers
        monkeypatch.setattr(cli.interruption, change, lambda: None)
    return run


@pytest.fixture
def hears_signals(monkeypatch):
    """Let signals end this process as they end the command, until the test ends; call it to forget earlier ones."""
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}

    def anew():
        monkeypatch.setattr(interruption, "_handler", interruption._Handler())
        interruption.install()

    anew()
    yield anew
    for number, handler in before.items():
        signal.signal(number, handler)
