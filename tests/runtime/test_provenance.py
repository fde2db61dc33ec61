"""Where a number comes from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from natx.runtime.provenance import git_revision


def test_the_commit_is_natxs_own_and_not_that_of_the_project_that_it_is_installed_in(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    (tmp_path / ".venv" / "site-packages").mkdir(parents=True)
    assert git_revision(tmp_path) == git("rev-parse", "HEAD")
    assert git_revision(tmp_path / ".venv" / "site-packages") == "unknown"
