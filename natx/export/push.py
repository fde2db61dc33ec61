"""An exported model to the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
from huggingface_hub.utils import HFValidationError, validate_repo_id

from natx.errors import ConfigError, StorageError
from natx.models.hub import HUB, refusal
from natx.version import __version__


def check_push(repository: str, *, licence: str | None, dry: bool = False) -> None:
    """Refuse what could not be pushed, before anything is computed.

    Args:
        repository: ``owner/name``.
        licence: of the weights.
        dry: nothing is to be pushed: no token is needed.

    Raises:
        ConfigError: no such name, no licence, or no token on this machine.
    """
    name = repository.removeprefix(HUB)
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"--push takes owner/name; got {repository!r}: {refusal(error)}") from error
    if "/" not in name:
        raise ConfigError(f"--push takes owner/name; got {repository!r}: put your name on the hub before it")
    if licence is None:
        raise ConfigError("--push publishes the weights: say under which licence, --license apache-2.0 (or other)")
    if not dry and huggingface_hub.get_token() is None:
        raise ConfigError("--push needs a token of the Hugging Face hub that may write: hf auth login, or set HF_TOKEN")


def push(files: Sequence[Path], repository: str, *, private: bool = False) -> str:
    """Upload exported files as one commit, whose address is returned; the repository is made where there is none.

    Args:
        files: of one folder; the repository's other files stay.
        repository: ``owner/name``.
        private: what a new repository is.

    Raises:
        StorageError: the hub refused it or was not reached; the files stay where they are.
    """
    name, folder = repository.removeprefix(HUB), files[0].parent
    api = huggingface_hub.HfApi(library_name="natx", library_version=__version__)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            folder_path=folder,
            allow_patterns=[file.name for file in files],
            commit_message=f"natx {__version__}",
        )
    except Exception as error:  # which error a failed upload raises depends on the http client underneath
        raise StorageError(f"{name} was not pushed: {refusal(error)}; {folder} has all files") from error
    return str(commit.commit_url)
