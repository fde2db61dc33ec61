"""Models of the Hugging Face hub: a repository's weights and descriptions as a folder of this machine."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
from huggingface_hub.utils import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from natx.errors import CheckpointError

HUB, FOLDER = "hf-hub:", "local-dir:"  # timm's words for where a model is
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # of a folder; the first that is there is taken
# Never code: a repository's modules stay where they are.
DESCRIPTIONS = ("config.json", "preprocessor_config.json")
LONGEST = 200  # letters of another library's reason
FORBIDDEN = (401, 403)  # what a server answers to a token that it does not know, or that may not do it


def model_folder(name: str | Path) -> Path | None:
    """The folder that ``hf-hub:owner/name`` (fetched once, then kept) or ``local-dir:folder`` names; None for others.

    Of a repository come the weights (those of ``pytorch_model.bin`` only where there is no ``model.safetensors``) and
    what describes them; a repository that has neither gives a folder that has neither.

    Args:
        name: of a model; ``hf-hub:owner/name@revision`` is a certain version: a branch, a tag or a commit.

    Raises:
        CheckpointError: no such repository or revision, no network and no copy, or no such folder.
    """
    text = str(name)
    if text.startswith(FOLDER):
        folder = Path(text.removeprefix(FOLDER)).expanduser()
        if not folder.is_dir():
            raise CheckpointError(f"no folder at {folder}: {FOLDER} names one with config.json and weights")
        return folder
    if not text.startswith(HUB):
        return None
    repository, _, revision = text.removeprefix(HUB).partition("@")
    folder = Path()
    try:
        for weights in WEIGHTS:
            patterns = [*DESCRIPTIONS, weights]
            folder = Path(
                huggingface_hub.snapshot_download(repository, revision=revision or None, allow_patterns=patterns)
            )
            if (folder / weights).is_file():
                break
    except Exception as error:  # which error a failed download raises depends on the http client underneath
        raise CheckpointError(f"{text} cannot be fetched: {refusal(error)}; a local copy is {FOLDER}folder") from error
    return folder


def refusal(error: Exception) -> str:
    """Why the hub's client failed, and what to do, in one line."""
    if isinstance(error, HFValidationError):
        return "a repository is owner/name, a certain version of it owner/name@revision"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision: name a branch, a tag or a commit of it"
    if isinstance(error, GatedRepoError):
        return "its owner grants access one by one: ask on its page, and log in here (hf auth login)"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hugging Face hub has no such repository, or a private one: check the name, or hf auth login"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in FORBIDDEN:
        return (
            f"the Hugging Face hub refuses it ({status}): the token here may not do that (hf auth login takes another)"
        )
    reason = " ".join(str(error).split())[:LONGEST]
    return f"the Hugging Face hub does not answer as expected ({type(error).__name__}: {reason}): check the network"
