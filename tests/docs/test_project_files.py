"""The container, the public CI and the pre-commit hooks name what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

import natx
from natx.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_public_ci_runs_lint_tests_and_docs() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = {target for command in commands for target in command.removeprefix("make ").split()}
    assert targets == {"lint", "docs", "test"}
    assert all(re.search(rf"^{target}:", MAKEFILE, re.MULTILINE) for target in targets)
    assert all(f"make {target}" in (ROOT / ".ci" / "run").read_text() for target in targets)


def test_the_container_copies_what_there_is_and_takes_torch_as_a_pair() -> None:
    text = (ROOT / "Dockerfile").read_text()
    sources = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for word in line.split()]
    assert sources and all((ROOT / source).exists() for source in sources)
    extras = re.search(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)[1]
    assert set(extras.split(",")) <= set(EXTRAS)
    assert {"torch", "torchvision"} <= set(PINS) and "torch|torchvision" in text
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= set(sources)
    assert re.search(r'^CMD \["natx", "(\w+)"', text, re.MULTILINE)[1] in COMMANDS


def test_pre_commit_has_the_ruff_of_the_constraints() -> None:
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    ruff = next(one for one in repositories if one["repo"].endswith("ruff-pre-commit"))
    assert ruff["rev"] == f"v{PINS['ruff']}"


def test_what_builds_the_site_is_pinned() -> None:
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in EXTRAS["docs"]}
    assert names <= set(PINS)


def test_what_to_cite_is_current_and_the_same_in_both_places() -> None:
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper, page = cff["preferred-citation"], (ROOT / "README.md").read_text()
    assert str(cff["version"]) == natx.__version__, "set the version in CITATION.cff"
    entries = re.search(r"```bibtex\n(.*?)```", page, re.DOTALL)[1].split("\n\n")
    fields = [dict(re.findall(r"(\w+) *= \{(.*?)\},?\n", entry, re.DOTALL)) for entry in entries]
    theirs, ours = ({key: " ".join(value.split()) for key, value in entry.items()} for entry in fields)
    authors = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert theirs == {"title": paper["title"], "author": " and ".join(authors)}
    assert ours.pop("version") == natx.__version__, "set the version in README.md, section Cite"
    assert ours == {"title": cff["title"], "author": f"{{{cff['authors'][0]['name']}}}"}
