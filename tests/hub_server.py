"""A stand-in of the Hugging Face hub on this machine: models and data sets from memory, over HTTP."""

import contextlib
import hashlib
import http.server
import json
import pathlib
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping

_API = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/(revision|tree)/([^/]+)")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Hub:
    """Repositories by kind ("models", "datasets") and name.

    Attributes:
        url: of the server.
        requests: method and path of each request.
    """

    def __init__(self, url: str):
        self.url = url
        self.requests: list[str] = []
        self.gated: set[str] = set()
        self._commits: dict[tuple[str, str], dict[str, Mapping[str, bytes]]] = {}
        self._heads: dict[tuple[str, str], str] = {}

    def push(self, kind: str, name: str, files: Mapping[str, bytes] | pathlib.Path) -> str:
        """Adds a commit with these files, by path, or with those of a folder; it becomes `main`. Returns its hash."""
        if isinstance(files, pathlib.Path):
            paths = [path for path in files.rglob("*") if path.is_file()]
            files = {path.relative_to(files).as_posix(): path.read_bytes() for path in paths}
        commits = self._commits.setdefault((kind, name), {})
        digests = {path: hashlib.sha1(content).hexdigest() for path, content in files.items()}
        commit = hashlib.sha1(json.dumps([len(commits), name, digests], sort_keys=True).encode()).hexdigest()
        commits[commit] = dict(files)
        self._heads[kind, name] = commit
        return commit

    def answer(self, target: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(target).path)
        if match := _API.fullmatch(path):
            kind, name, what, revision = match.groups()
        elif match := _FILE.fullmatch(path):
            kind, (name, revision, what) = "datasets" if match[1] else "models", match.groups()[1:]
        else:
            return 404, {}, b""
        if (kind, name) not in self._commits:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if name in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        commit = self._heads[kind, name] if revision == "main" else revision
        files = self._commits[kind, name].get(commit)
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if what == "revision":
            siblings = [{"rfilename": file} for file in files]
            return 200, {}, json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode()
        if what == "tree":
            rows = [
                {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for file, content in files.items()
            ]
            return 200, {}, json.dumps(rows).encode()
        headers = {"X-Repo-Commit": commit}
        if what not in files:
            return 404, headers | {"X-Error-Code": "EntryNotFound"}, b""
        return 200, headers | {"ETag": f'"{hashlib.sha1(files[what]).hexdigest()}"'}, files[what]


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """An empty hub, until the end of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.requests.append(f"{self.command} {self.path}")
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *arguments) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
