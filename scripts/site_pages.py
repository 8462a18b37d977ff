"""Which files of the repository are pages of the documentation site, and what their links and headings become there."""

import json
import os
import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

MADE_FROM = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "results/experiments.md": "experiments/README.md",
    "performance/benchmarks.md": "benchmarks/README.md",
    "notebooks/first_sweep.md": "docs/notebooks/first_sweep.ipynb",
}
"""Pages that are no file of their own in docs/, and the file of the repository that each is made from."""

API = {
    "api/index.md": ("From experiment to results", "thinwire.api", ["load_experiment", "run", "Run"]),
    "api/models_and_codecs.md": ("Models and codecs", "thinwire.api", ["CompressedLM", "fit_codec"]),
    "api/codec.md": ("The base class of codecs", "thinwire.codecs.base", ["Codec"]),
    "api/experiment.md": ("Experiment and arm", "thinwire.config.experiment", ["Experiment", "ArmConfig"]),
    "api/settings.md": ("Settings", "thinwire.config.settings", []),
    "api/codec_settings.md": ("Settings of codecs", "thinwire.codecs.settings", []),
}
"""Pages made from docstrings: title, module, and the names in it (all public ones if none is given)."""

_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_COMMENT = re.compile(r"^ *<!--.*?-->\n?", flags=re.M | re.S)
_FENCE = re.compile(r"(^ *```.*?^ *```$)", flags=re.M | re.S)


def site_markdown(markdown: str, uri: str, repository: str) -> str:
    """Rewrite a page's links and leave out its comments, which would split lists; code blocks stay as they are."""
    source = MADE_FROM.get(uri, f"docs/{uri}")
    parts = _FENCE.split(markdown)
    parts[::2] = [
        _LINK.sub(lambda link: link[1] + site_link(link[2], uri, source, repository) + link[3], _COMMENT.sub("", part))
        for part in parts[::2]
    ]
    return "".join(parts)


def site_link(link: str, uri: str, source: str, repository: str) -> str:
    """Return a link of the file ``source`` as the page ``uri`` needs it.

    Args:
        link: as written: relative to ``source``, absolute, or an anchor.
        uri: the page's path below docs/, which may not exist as a file.
        source: path of the file that the page is made from, below the repository's root.
        repository: address of the repository on the web.
    """
    path, hash_, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:", link):
        return link
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if page := _page_of(target):
        return posixpath.relpath(page, posixpath.dirname(uri) or ".") + hash_ + anchor
    if (ROOT / target).exists() and not target.startswith(os.pardir):
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{repository}/{kind}/main/{target}{hash_}{anchor}"
    return link  # leads nowhere, which the strict build reports


def _page_of(target: str) -> str | None:
    """Return the path below docs/ of the page or image that a path of the repository has on the site, if it has one."""
    file = f"{target}/README.md" if (ROOT / target).is_dir() else target
    made = [page for page, source in MADE_FROM.items() if source == file]
    if made:
        return made[0]
    in_docs = file.startswith("docs/") and (ROOT / file).is_file()
    return file.removeprefix("docs/") if in_docs and file.endswith((".md", ".svg", ".png")) else None


def github_slug(title: str, separator: str) -> str:
    """Return the anchor of a heading: lower case, without punctuation, each space a separator."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", separator)


def notebook_page(text: str) -> str:
    """Return a notebook's cells and their text outputs as Markdown."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            shown = "".join(output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"])
            parts.append(f"```text\n{shown.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def repository_url() -> str:
    """Return the address of the repository that pyproject.toml gives.

    Raises:
        ValueError: it gives none.
    """
    found = re.search(r'^Source = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.M)
    if not found:
        raise ValueError("pyproject.toml has no line 'Source = \"...\"' under [project.urls]")
    return found[1].rstrip("/")
