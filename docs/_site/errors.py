"""Every one-line error of the code, from its source: ``python docs/_site/errors.py WORDS`` prints those with WORDS.

A line begins with the file; ``…`` stands for what the message says of the case at hand.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDERS = ("natx", "tasks")
HOLE = "…"
DEEPEST = 3  # names and functions behind one another
OPENING = """# Errors

Every one-line error that the code has, by the part that it comes from. Made from the source when the site is built;
`python docs/_site/errors.py WORDS` prints those with WORDS in them. … stands for what the line says of your case: what
was got and what was expected. What to do stands in the line itself; [Troubleshooting](troubleshooting.md) has more on
the frequent ones.
"""
TITLES = {
    "natx/config": "Configs",
    "natx/cli": "Commands",
    "natx/data": "Data",
    "tasks/cls": "Classification",
    "tasks/reid": "Person re-identification",
    "tasks/det": "Detection",
    "natx/models": "Checkpoints, adversaries and models",
    "natx/attacks": "Attacks",
    "natx/objectives": "Objectives of attacks",
    "natx/methods": "Methods",
    "natx/terms": "Terms of the loss",
    "natx/training": "Training",
    "natx/evaluation": "Evaluation",
    "natx/judging": "Judging",
    "natx/checks": "Checks",
    "natx/runtime": "Files, devices and processes",
    "natx/report": "Reports",
    "natx/analysis": "Analysis",
    "natx/study": "Studies and the paper's tables",
    "natx/export": "Export",
    "natx/benchmark": "Benchmark",
}
OTHER = "The rest"
# Functions that return the line which another part raises.
LINES = {"natx/runtime/locks.py": "_taken", "natx/runtime/processes.py": "look"}


@dataclass(frozen=True)
class Message:
    """An error that the code makes.

    Attributes:
        file: where, from the root of the repository.
        line: its first line there.
        kind: the class of the error.
        text: what it says, with holes; a hole alone where it is all made elsewhere.
    """

    file: str
    line: int
    kind: str
    text: str

    @property
    def section(self) -> str:
        """The heading that it belongs under."""
        return next((title for start, title in TITLES.items() if self.file.startswith(start)), OTHER)


def kinds(root: Path) -> set[str]:
    """The classes of errors that tools print as one line: UserError and what derives from it."""
    names = {"UserError"}
    for node in ast.parse((root / "natx" / "errors.py").read_text()).body:
        if isinstance(node, ast.ClassDef) and names & {ast.unparse(base) for base in node.bases}:
            names.add(node.name)
    return names


@cache
def messages(root: Path) -> list[Message]:
    """All errors, in order of files and lines."""
    known, result = kinds(root), []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            module = Source(ast.parse(path.read_text()))
            file = path.relative_to(root).as_posix()
            result += [Message(file, 0, "UserError", text) for text in module.returned(LINES.get(file))]
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Call) and (kind := _kind(node.func, known)) and node.args:
                    texts = module.texts(node.args[0])
                    result += [Message(file, node.lineno, kind, " ".join(text.split())) for text in texts]
    return sorted(result, key=lambda message: (message.file, message.line))


class Source:
    """A module in which names and functions of its own are followed to the texts that they stand for."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.values: dict[str, list[ast.expr]] = {}  # of names, and what functions return
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._note(target, node.value)
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
                self._note(node.target, node.value)
            elif isinstance(node, ast.FunctionDef):
                ends = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None]
                self.values[f"{node.name}()"] = ends

    def returned(self, function: str | None) -> list[str]:
        """The texts within what a function returns."""
        parts = [part for value in self.values.get(f"{function}()", []) for part in ast.walk(value)]
        return [text for part in parts if isinstance(part, ast.JoinedStr) for text in self.texts(part)]

    def texts(self, node: ast.expr, depth: int = 0) -> list[str]:
        """What an expression may say, with holes for what only a run knows."""
        if isinstance(node, ast.Constant):
            return [str(node.value)] if node.value is not None else []
        if isinstance(node, ast.IfExp):
            return [*self.texts(node.body, depth), *self.texts(node.orelse, depth)]
        if isinstance(node, ast.BoolOp):
            return [text for value in node.values for text in self.texts(value, depth)]
        if isinstance(node, ast.JoinedStr):
            return ["".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [left + right for left in self.texts(node.left, depth) for right in self.texts(node.right, depth)]
        texts = [text for one in self._behind(node) for text in self.texts(one, depth + 1)] if depth < DEEPEST else []
        return [text for text in dict.fromkeys(texts) if _says_something(text)] or [HOLE]

    def _behind(self, node: ast.expr) -> list[ast.expr]:
        """What a name was given, or what a function of the module returns."""
        if isinstance(node, ast.Call):
            return self.values.get(f"{ast.unparse(node.func).removeprefix('self.')}()", [])
        return self.values.get(node.id, []) if isinstance(node, ast.Name) else []

    def _note(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.values.setdefault(target.id, []).append(value)


def errors_page(root: Path) -> str:
    """The page of all errors."""
    sections: dict[str, dict[str, None]] = {title: {} for title in (*TITLES.values(), OTHER)}
    for message in messages(root):
        if _says_something(message.text):
            sections[message.section][message.text] = None
    parts = [OPENING]
    for title, texts in sections.items():
        if texts:
            parts.append(f"## {title}\n")
            parts.append("\n".join(f"- {_span(text)}" for text in texts) + "\n")
    return "\n".join(parts)


def _kind(function: ast.expr, known: set[str]) -> str:
    """The class of error that a call makes; empty where it makes none."""
    if isinstance(function, ast.Name) and function.id in known:
        return function.id
    # An error of the same class with more said: type(error)(f"...").
    return "UserError" if ast.unparse(function) == "type(error)" else ""


def _says_something(text: str) -> bool:
    """Whether there are words between the holes."""
    return any(letter.isalpha() for letter in text)


def _span(text: str) -> str:
    """Code in Markdown, whatever it holds."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def main(words: list[str]) -> Iterator[str]:
    """Lines with all the words."""
    for message in messages(Path(__file__).resolve().parents[2]):
        if all(word.lower() in message.text.lower() for word in words):
            yield f"{message.file}:{message.line}: {message.kind}: {message.text}"


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in main(sys.argv[1:])))
