"""The site: links lead somewhere on a git host and on the site, and pages that are made say what their source says."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "results").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs").glob("*.ipynb"))
MAKERS = ("errors", "costs", "links", "reference", "notebook_pages")
# Errors whose text is not in their file: who says it instead.
PASSED_ON = {
    "natx/analysis/subjects.py": "the model's error, with its name before it",
    "natx/config/check.py": "the schema's findings, each with its key",
    "natx/config/load.py": "what a config's own code raised, with its line",
    "natx/evaluation/progress.py": "the settings that differ",
    "natx/models/load.py": "natx.config.find's line on files that hide the adapters",
    "natx/runtime/locks.py": "_taken's line on who holds the lock",
    "natx/training/learner.py": "natx/training/runner.py's, which says where training stopped",
    "tasks/det/readers/base.py": "the reader's reason",
    "natx/cli/analyze.py": "natx.analysis' lines on what is missing",
}


@pytest.fixture(scope="module")
def site() -> Iterator[dict[str, ModuleType]]:
    """The modules that make the site."""
    sys.path.insert(0, str(ROOT / "docs" / "_site"))
    try:
        yield {
            name: importlib.import_module(name) for name in ("errors", "costs", "links", "reference", "notebook_pages")
        }
    finally:
        sys.path.remove(str(ROOT / "docs" / "_site"))


def text_of(page: Path) -> str:
    """A page's Markdown without its code."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        text = "\n".join("".join(c["source"]) for c in json.loads(text)["cells"] if c["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [*WRITTEN, *NOTEBOOKS], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path, site: dict[str, ModuleType]) -> None:
    """On a git host to a file, and on the site to a page of it or to nothing at all."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, part = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if part:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert part in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings], target
        place = site["links"].on_site(file.relative_to(ROOT).as_posix())
        if place and not place.startswith("results/") and place != "index.md":
            made = (ROOT / "docs" / place).with_suffix(".ipynb")
            assert (ROOT / "docs" / place).exists() or made.exists(), target


def test_links_are_those_of_the_site(site: dict[str, ModuleType]) -> None:
    relinked = site["links"].relinked
    assert relinked("[a](docs/det.md#data) ![p](docs/demo.png)", page="README.md") == "[a](det.md#data) ![p](demo.png)"
    assert relinked("[r](results/demo) [l](LICENSE)", page="README.md") == "[r](results/demo/index.md) l"
    assert relinked("[r](../README.md) [d](det.md)", page="docs/reid.md") == "[r](index.md) [d](det.md)"
    assert relinked("[w](https://a.b) [h](#here)", page="docs/reid.md") == "[w](https://a.b) [h](#here)"
    assert relinked("[n](train_nat.ipynb)", page="docs/choose.md") == "[n](train_nat.md)"
    assert relinked("[gone](gone.md)", page="results/x.md") == "[gone](gone.md)"


def test_every_page_is_in_the_navigation() -> None:
    navigation = set(re.findall(r": ([\w./]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    written = {page.name for page in (ROOT / "docs").glob("*.md")} | {f"{page.stem}.md" for page in NOTEBOOKS}
    made = {"index.md", "errors.md", "api/index.md", "results/index.md"}
    assert navigation == written | made


def test_the_reference_has_every_module(site: dict[str, ModuleType]) -> None:
    pages = site["reference"].pages(ROOT)
    named = [name for text in pages.values() for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)]
    files = [path for top in ("natx", "tasks", "natx_bench") for path in (ROOT / top).rglob("*.py")]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files}
    assert len(named) == len(set(named))
    assert set(named) == {name for name in modules if not name.endswith("__main__")} - {"tasks"}


def test_every_error_of_the_code_is_on_the_page(site: dict[str, ModuleType]) -> None:
    errors = site["errors"]
    page, messages = errors.errors_page(ROOT), errors.messages(ROOT)
    silent = {message.file for message in messages if not re.search(r"\w", message.text)}
    assert silent <= set(PASSED_ON), "errors whose text is made elsewhere need a reason here"
    for message in messages:
        assert message.file in silent or message.text in page
    assert "no checkpoint at …: give the path of a .safetensors or .pth file" in page  # an f-string


def test_what_an_expression_says(site: dict[str, ModuleType], tmp_path: Path) -> None:
    (tmp_path / "natx").mkdir()
    (tmp_path / "natx" / "errors.py").write_text("class UserError(Exception): pass\nclass DataError(UserError): pass\n")
    (tmp_path / "natx" / "a.py").write_text(
        "TEXT = 'a constant'\n"
        "def hint(x):\n    return f'see {x}'\n"
        "def f(x):\n"
        "    line = f'{x} is odd' if x else 'none'\n"
        "    raise DataError(line)\n"
        "    raise DataError(TEXT)\n"
        "    raise DataError(hint(x))\n"
        "    raise DataError(x)\n"
        "    raise ValueError('not told')\n"
    )
    texts = [message.text for message in site["errors"].messages(tmp_path)]
    assert texts == ["… is odd", "none", "a constant", "see …", "…"]


def test_messages_that_troubleshooting_quotes_are_the_codes(site: dict[str, ModuleType]) -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    quoted = re.findall(r"^- \*`([^`]+)`", page, re.MULTILINE)
    code = " ".join(message.text for message in site["errors"].messages(ROOT))
    assert len(quoted) > 10
    foreign = {"operator torchvision::nms does not exist"}  # torch's own
    for text in (text for text in quoted if text not in foreign and not text.startswith("--")):
        for part in re.split(r" ?\.\.\. ?|\b\d+\b", text):  # numbers and gaps are the case at hand
            assert part.strip() in code, text


def test_the_words_to_look_for_an_error_by_find_one(site: dict[str, ModuleType]) -> None:
    typed = re.search(r"docs/_site/errors\.py (.+?) +#", (ROOT / "docs" / "troubleshooting.md").read_text())
    assert typed and list(site["errors"].main(typed[1].split()))


def test_the_cost_page_has_the_figures_of_results(site: dict[str, ModuleType]) -> None:
    page = (ROOT / "docs" / "cost.md").read_text()
    assert site["costs"].filled(page) == page, "python docs/_site/costs.py writes them"


def test_a_notebook_as_a_page(site: dict[str, ModuleType]) -> None:
    page = site["notebook_pages"].notebook_page(ROOT / "docs" / "judge_your_model.ipynb")
    assert page.startswith("# Judge your model\n") and "```python\nimport torch\n" in page
    assert page.count("```") % 2 == 0
