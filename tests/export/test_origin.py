"""What is known of an export's base model: repository and licence, as its own files say them."""

from dataclasses import replace

import pytest

from thinwire.export.origin import Licence, find_origin
from tiny_gguf import write_tiny_gguf
from tiny_models import save_tiny, tiny_lm


def origin_of(folder, card=None):
    folder.mkdir(exist_ok=True)
    if card is not None:
        (folder / "README.md").write_text(card)
    return find_origin(replace(tiny_lm(), name=str(folder)))


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\ntags: [a]\n---\n# A model\n", Licence(identifier="mit")),
        (
            "---\nlicense: other\nlicense_name: our-own\nlicense_link: https://example.org/terms\n---\n",
            Licence(identifier="other", name="our-own", link="https://example.org/terms"),
        ),
        ("---\nlicense: Some Words: of ours\n---\n", None),  # no YAML
        ('---\nlicense: "Some words"\n---\n', Licence(identifier="other", name="Some words")),
        ("---\nlicense: [mit, gpl]\n---\n", None),
        ("---\nlanguage: en\n---\n", None),
        ("# license: mit\n", None),
        ("---\nlicense: !!python/object/apply:os.system ['true']\n---\n", None),
        ("---\n- license\n---\n", None),
        (None, None),
    ],
)
def test_the_licence_is_the_one_in_the_card_or_none(card, licence, tmp_path):
    found = origin_of(tmp_path / "model", card)
    assert found.licence == licence
    assert (found.name, found.repository, found.is_gguf) == ("model", None, False)


def test_a_gguf_file_says_licence_and_source_in_its_header(tmp_path):
    path = write_tiny_gguf(
        tmp_path / "some.gguf", general__license="Apache-2.0", general__source__repo_url="https://huggingface.co/org/it"
    )
    found = find_origin(replace(tiny_lm(), name=str(path)))
    assert found.licence == Licence(identifier="apache-2.0")
    assert (found.name, found.repository, found.is_gguf) == ("some.gguf", "org/it", True)
    plain = find_origin(replace(tiny_lm(), name=str(write_tiny_gguf(tmp_path / "plain.gguf"))))
    assert (plain.licence, plain.repository) == (None, None)


def test_a_model_of_the_hub_is_its_own_repository(tmp_path, monkeypatch):
    # The cache of the hub has a card; nothing is asked of a network.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    commit = "a" * 40
    snapshot = tmp_path / "models--org--name" / "snapshots" / commit
    save_tiny(snapshot)
    (snapshot / "README.md").write_text("---\nlicense: gemma\n---\n")
    found = find_origin(replace(tiny_lm(), name="org/name", revision=commit))
    assert (found.name, found.repository, found.revision) == ("org/name", "org/name", commit)
    assert found.licence == Licence(identifier="gemma")
    assert find_origin(replace(tiny_lm(), name="org/other", revision=commit)).licence is None
