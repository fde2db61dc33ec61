"""A server of this machine in the Hugging Face hub's place: the client's own network code talks to it."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

COMMIT = "a" * 40  # what the only commit of a repository is called
TOKEN = "hf_of_the_tests"


class Hub(http.server.BaseHTTPRequestHandler):
    """Repositories as folders ``root/owner/name``, as far as the hub's client asks for them.

    Writing needs :data:`TOKEN`, and an owner other than ``stranger``.
    """

    root: Path

    def log_message(self, *words: Any) -> None:
        """Nothing is printed."""

    def do_HEAD(self) -> None:
        """See :mod:`http.server`."""
        self._read(body=False)

    def do_GET(self) -> None:
        """See :mod:`http.server`."""
        self._read(body=True)

    def do_POST(self) -> None:
        """See :mod:`http.server`."""
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refuse(401)
        if parts == ["api", "repos", "create"]:
            settings = json.loads(content)
            name = "/".join(filter(None, (settings.get("organization") or "owner", settings["name"].split("/")[-1])))
            if name.startswith("stranger/"):
                return self._refuse(403)
            (self.root / name).mkdir(parents=True, exist_ok=True)
            return self._json({"url": f"{self._place}/{name}", "id": name, "name": name})
        if parts[:2] != ["api", "models"] or len(parts) < 5:
            return self._refuse(404)
        folder = self.root / parts[2] / parts[3]
        if parts[4] == "preupload":
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(content)["files"]]
            return self._json({"files": files})
        lines = [json.loads(line) for line in content.splitlines()]
        for value in (line["value"] for line in lines if line["key"] == "file"):
            (folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
        place = f"{self._place}/{parts[2]}/{parts[3]}/commit/{COMMIT}"
        return self._json({"commitUrl": place, "commitOid": COMMIT, "success": True})

    @property
    def _place(self) -> str:
        return f"http://{self.headers['Host']}"

    def _read(self, *, body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        name = parts[2:4] if parts[:2] == ["api", "models"] else parts[:2]
        folder = self.root.joinpath(*name)
        revision = parts[-1] if "revision" in parts else parts[3] if "resolve" in parts else "main"
        if not folder.is_dir():
            self._refuse(404, code="RepoNotFound")
        elif revision not in ("main", COMMIT, "v1"):
            self._refuse(404, code="RevisionNotFound")
        elif "tree" in parts:
            files = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0"} for p in folder.iterdir()]
            self._json(files, body=body)
        elif parts[0] == "api":
            files = [{"rfilename": p.name} for p in folder.iterdir()]
            names = dict.fromkeys(("id", "modelId"), "/".join(name))
            self._json({**names, "sha": COMMIT, "siblings": files, "private": False}, body=body)
        elif (folder / parts[-1]).is_file():
            self._send((folder / parts[-1]).read_bytes(), body=body)
        else:
            self._refuse(404, code="EntryNotFound")

    def _json(self, content: Any, *, body: bool = True) -> None:
        self._send(json.dumps(content).encode(), body=body)

    def _send(self, content: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content) & 0xFFFFFFFF:08x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _refuse(self, status: int, *, code: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def served(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve the folders of ``root``; what is fetched is kept in ``cache``, and the machine's own token is not read."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Hub,), {"root": root}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    redirect(f"http://127.0.0.1:{server.server_port}", cache, monkeypatch)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def redirect(place: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the hub's client to another server."""
    constants = huggingface_hub.constants
    for name, value in {
        "ENDPOINT": place,
        "HUGGINGFACE_CO_URL_TEMPLATE": place + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_OFFLINE": False,
        "HF_TOKEN_PATH": str(cache / "token"),
        "HF_STORED_TOKENS_PATH": str(cache / "tokens"),
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", place)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
