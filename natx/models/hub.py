"""Models of the Hugging Face hub: a repository's weights and descriptions as a folder of this machine."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub

from natx.errors import CheckpointError

HUB, FOLDER = "hf-hub:", "local-dir:"  # timm's words for where a model is
# Never code: a repository's modules stay where they are.
FILES = ["*.json", "*.safetensors", "pytorch_model.bin"]


def model_folder(name: str | Path) -> Path | None:
    """The folder that ``hf-hub:owner/name`` (fetched once, then kept) or ``local-dir:folder`` names; None for others.

    Args:
        name: of a model; ``hf-hub:owner/name@revision`` is a certain version.

    Raises:
        CheckpointError: no such repository, no network and no copy, or no such folder.
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
    try:
        return Path(huggingface_hub.snapshot_download(repository, revision=revision or None, allow_patterns=FILES))
    except Exception as error:  # which error a failed download raises depends on the http client underneath
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{text} cannot be had from the Hugging Face hub ({type(error).__name__}: {reason}): check the name and "
            f"the network, or give a local copy as {FOLDER}folder"
        ) from error
