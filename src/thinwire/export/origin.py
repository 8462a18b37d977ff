"""What an exported arm comes from: the base model's repository and licence, as far as its own files say."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from thinwire.assets import ASSETS
from thinwire.config.strict_yaml import parse_yaml
from thinwire.errors import UsageError, printable, summary
from thinwire.inputs import read_text
from thinwire.model.gguf_header import checked_header
from thinwire.model.language_model import LanguageModel
from thinwire.model.loading import gguf_file
from thinwire.model.safe_json import LARGEST_SETTINGS

logger = logging.getLogger(__name__)

_IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9.+\-]{0,63}")
"""Form of the hub's names of licences (``apache-2.0``)."""
_REPOSITORY = re.compile(r"https://huggingface\.co/([\w.\-]+/[\w.\-]+)/?")
_LONGEST = 200
"""Most characters that are taken over of an entry."""


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence as the metadata of the hub's model cards name it."""

    identifier: str
    """``apache-2.0``, or ``other`` beside a name."""
    name: str | None = None
    link: str | None = None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The model that an arm was trained on."""

    name: str
    """As people would say it: the hub's id, a default model's name, or the name of a folder or file."""
    revision: str
    repository: str | None
    """Its id on the Hugging Face hub; of a GGUF file, that of the model from which the file was made. None if neither
    the model nor its file says."""
    is_gguf: bool
    """Whether the weights are those of a GGUF file, which is no file of ``repository``."""
    licence: Licence | None
    """None if neither the model's card nor its file's header says one."""


def find_origin(lm: LanguageModel) -> Origin:
    """Read repository and licence of a model from its card, or from the header of its GGUF file.

    The card of a model of the hub is downloaded if the local cache lacks it; without a network there is none.
    """
    gguf = gguf_file(lm.name)
    if gguf is not None:
        header = checked_header(gguf).entries
        asset = ASSETS.get(lm.name)
        return Origin(
            name=lm.name if asset else gguf.name,
            revision=lm.revision,
            repository=asset.repository if asset and asset.repository else _repository_in(header),
            is_gguf=True,
            licence=_licence({key: header.get(f"general.{key.replace('_', '.')}") for key in _KEYS}),
        )
    folder = Path(lm.name)
    repository = None if folder.is_dir() else lm.name
    card = folder / "README.md" if repository is None else _downloaded_card(repository, lm.revision)
    return Origin(
        name=repository or folder.resolve().name,
        revision=lm.revision,
        repository=repository,
        is_gguf=False,
        licence=_licence(_metadata(card)),
    )


_KEYS = ("license", "license_name", "license_link")


def _repository_in(header: dict[str, Any]) -> str | None:
    """Return the hub's id that a GGUF header names as the file's source."""
    for key in ("general.source.repo_url", "general.repo_url", "general.base_model.0.repo_url"):
        if found := _REPOSITORY.fullmatch(str(header.get(key))):
            return found[1]
    return None


def _downloaded_card(repository: str, revision: str) -> Path | None:
    try:
        return Path(hf_hub_download(repository, "README.md", revision=revision))
    except (OSError, ValueError, HfHubHTTPError) as error:
        logger.info("no model card of %s (%s), so its licence is not known", repository, summary(error))
        return None


def _metadata(card: Path | None) -> dict[str, Any]:
    """Return the metadata at the beginning of a model card; empty if there is none that can be read."""
    if card is None or not card.exists():
        return {}
    try:
        begin, *parts = re.split(r"^---[ \t]*$", read_text(card, "model card", most_bytes=LARGEST_SETTINGS), maxsplit=2,
                                 flags=re.MULTILINE)  # fmt: skip
        found = parse_yaml(parts[0], str(card)) if len(parts) == 2 and not begin.strip() else {}
    except UsageError as error:
        logger.info("the metadata of the base model's card cannot be read (%s), so its licence is not known", error)
        return {}
    return found if isinstance(found, dict) else {}


def _licence(found: dict[str, Any]) -> Licence | None:
    """Return the licence that metadata of a card or a header name; None if they name none."""
    identifier, name, link = (_text(found.get(key)) for key in _KEYS)
    if identifier is None:
        return None
    if not _IDENTIFIER.fullmatch(identifier.lower()):
        return Licence(identifier="other", name=name or identifier, link=link)
    return Licence(identifier=identifier.lower(), name=name, link=link)


def _text(value: Any) -> str | None:
    """Return a short text as one printable line, None for anything else."""
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        return None
    return printable(value.strip())
