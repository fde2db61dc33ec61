"""The site is docs/ with the README as its first page, results/, an API reference, and the errors that the code has.

mkdocs calls the functions ``on_...``. Pages are written for a plain git host: links go to files. Here a link out of
docs/ becomes the page that the file is on the site, and the plain text of a file that is not on it.
"""

from __future__ import annotations

import os
from typing import Any

import reference
from links import ROOT, SHOWN, listing, relinked
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from notebook_pages import notebook_page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs/."""
    content = {"index.md": relinked((ROOT / "README.md").read_text(), page="README.md")}
    for path in sorted((ROOT / "docs").glob("*.ipynb")):
        content[f"{path.stem}.md"] = relinked(notebook_page(path), page=f"docs/{path.name}")
        files.remove(files.src_uris[path.name])
    content |= reference.pages(ROOT)
    for folder in [ROOT / "results", *sorted(path for path in (ROOT / "results").iterdir() if path.is_dir())]:
        content[f"{folder.relative_to(ROOT).as_posix()}/index.md"] = listing(folder)
    for name, text in content.items():
        files.append(File.generated(config, name, content=text))
    for path in sorted((ROOT / "results").rglob("*")):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".md":
            files.append(File.generated(config, name, content=relinked(path.read_text(), page=name)))
        elif path.suffix in SHOWN:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links of the pages in docs/ as the site has them."""
    source = ROOT / "docs" / page.file.src_uri
    return relinked(markdown, page=f"docs/{page.file.src_uri}") if source.is_file() else markdown


os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")  # mkdocs-material's advertisement in every build
