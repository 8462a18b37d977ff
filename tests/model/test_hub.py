"""Models in the Hugging Face cache, which are checked as local folders are."""

import json

import pytest

from thinwire.config.settings import ModelConfig
from thinwire.errors import UsageError
from thinwire.model.hub import is_cached, located
from thinwire.model.loading import load
from tiny_models import save_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The tiny model as the hub's cache keeps ``some/model``: links to blobs; returns the snapshot's folder."""
    made, repo = save_tiny(tmp_path / "made"), tmp_path / "hub" / "models--some--model"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    for number, file in enumerate(made.iterdir()):
        blob = file.rename(repo / "blobs" / f"{number:040}")
        (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return snapshot


def test_a_cached_model_is_loaded_without_the_hub_and_its_revision_is_the_commit(cached):
    assert located("some/model") == (cached, COMMIT)
    assert is_cached("some/model")
    lm = load(ModelConfig(name="some/model", device="cpu"))
    assert (lm.revision, lm.name, lm.tokenizer.name_or_path) == (COMMIT, "some/model", "some/model")


def test_a_cached_model_with_code_is_refused(cached):
    config = json.loads((cached / "config.json").read_text())
    (cached / "config.json").unlink()
    (cached / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoConfig": "evil.Config"}}))
    with pytest.raises(UsageError, match=r"model some/model: config\.json has auto_map"):
        load(ModelConfig(name="some/model", device="cpu"))


def test_a_link_out_of_the_repository_is_refused(cached, tmp_path):
    (tmp_path / "elsewhere.json").write_text((cached / "config.json").read_text())
    (cached / "config.json").unlink()
    (cached / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(UsageError, match=r"config\.json is a link out of the folder"):
        load(ModelConfig(name="some/model", device="cpu"))


def test_a_model_that_is_partly_in_the_cache_is_refused(cached):
    (cached / "model.safetensors").unlink()
    assert not is_cached("some/model")
    with pytest.raises(UsageError, match=r"no weights in model\.safetensors"):
        load(ModelConfig(name="some/model", device="cpu"))


@pytest.mark.parametrize("name", ["/no/such/folder", "./folder", "a/b/c", "with space"])
def test_a_name_that_is_no_folder_and_that_no_model_of_the_hub_can_have_is_refused(name):
    with pytest.raises(UsageError, match=f"no model {name} on the Hugging Face hub and no such folder"):
        is_cached(name)
