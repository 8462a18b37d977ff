"""Upload an exported folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from thinwire.errors import ThinwireError, UsageError, shown, summary

_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""What the library's HTTP client raises, which is httpx in some of its releases and httpx2 in others."""

_LOGIN = "make a token with the right to write at https://huggingface.co/settings/tokens, and run `hf auth login`"


def check_push(repository: str) -> None:
    """Refuse a name that no repository can have, and a missing token, before anything is exported.

    Raises:
        UsageError: the name is not ORG/NAME, or there is no token.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UsageError(f"--push-to-hub: {summary(error)}") from None
    if repository.count("/") != 1:
        raise UsageError(f"--push-to-hub takes ORG/NAME, got {shown(repository)}")
    if not get_token():
        raise UsageError(f"--push-to-hub needs a token of the Hugging Face hub; {_LOGIN}")


def push(folder: Path, repository: str, *, private: bool) -> str:
    """Upload a folder as one commit of a model repository, which is made if it is not there.

    Args:
        private: whether a repository that is made can be seen by its owners alone.

    Returns:
        The commit's address.

    Raises:
        UsageError: the token is not accepted, or may not write there.
        ThinwireError: the hub is out of reach or fails; the folder is kept.
    """
    api = HfApi()
    try:
        api.create_repo(repository, repo_type="model", exist_ok=True, private=private or None)
        found = api.upload_folder(
            repo_id=repository, folder_path=folder, repo_type="model", commit_message="Upload of an export by Thinwire"
        )
    except (_HTTP_ERROR, OSError, ValueError) as error:
        raise _complaint(error, folder, repository) from error
    return str(found.commit_url)


def _complaint(error: Exception, folder: Path, repository: str) -> ThinwireError:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    kept = f"the export is kept in {folder}"
    if status == 401:
        return UsageError(f"the Hugging Face hub does not accept the token; {_LOGIN} ({kept})")
    if status == 403:
        return UsageError(f"the token may not write to {repository} on the Hugging Face hub; {_LOGIN} ({kept})")
    return ThinwireError(
        f"{repository} could not be uploaded ({summary(error)}); {kept}: try again with "
        f"`hf upload {repository} {folder}`"
    )
