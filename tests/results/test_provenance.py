"""What a record says of the code that made it."""

import shutil
import subprocess

import pytest
import torch

import thinwire
from thinwire.results.provenance import environment

CPU = torch.device("cpu")


def git(folder, *arguments):
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """The package as if it lay in a repository of its own."""
    monkeypatch.delenv("THINWIRE_COMMIT", raising=False)
    package = tmp_path / "src" / "thinwire"
    package.mkdir(parents=True)
    shutil.copy(thinwire.__file__, package)
    monkeypatch.setattr(thinwire, "__file__", str(package / "__init__.py"))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_checkout_is_named_by_its_commit_and_whether_it_was_changed(checkout):
    made_by = environment(CPU)
    assert (made_by.git_commit, made_by.git_dirty) == (git(checkout, "rev-parse", "HEAD"), False)
    (checkout / "new.py").write_text("")
    assert environment(CPU).git_dirty is True


def test_a_package_inside_another_repository_is_not_that_repositorys_code(checkout, monkeypatch):
    elsewhere = checkout / "venv" / "thinwire"
    elsewhere.mkdir(parents=True)
    monkeypatch.setattr(thinwire, "__file__", str(elsewhere / "__init__.py"))
    assert [environment(CPU).git_commit, environment(CPU).git_dirty] == [None, None]


def test_code_without_its_history_is_named_by_the_environment(checkout, monkeypatch):
    monkeypatch.setenv("THINWIRE_COMMIT", "0123abc")
    assert [environment(CPU).git_commit, environment(CPU).git_dirty] == ["0123abc", None]


def test_versions_and_device_are_said():
    made_by = environment(CPU)
    assert made_by.packages["torch"].split("+")[0] == torch.__version__.split("+")[0]  # some builds leave "+cu130" out
    assert made_by.device == "cpu"
