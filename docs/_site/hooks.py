"""The site is docs/ with the README as its first page, results/, an API reference, and the errors that the code has.

mkdocs calls the functions ``on_...``. Pages are written for a plain git host: links go to files. Here a link out of
docs/ becomes the page that the file is on the site, and the plain text of a file that is not on it.
"""

from __future__ import annotations

import re
from typing import Any

import reference
from links import ROOT, SHOWN, listing, relinked
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from notebook_pages import notebook_page

ROLE = re.compile(r":(?:class|func|meth|attr|mod|data|exc):<code>(~?)([\w.]+)</code>")


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


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name other objects as Sphinx does; here these become links."""
    return ROLE.sub(
        lambda match: f'<autoref optional identifier="{match[2]}"><code>{_shown(match)}</code></autoref>', html
    )


def _shown(match: re.Match[str]) -> str:
    """The last part of a name behind ``~``, else the whole of it."""
    return match[2].rpartition(".")[2] if match[1] else match[2]
