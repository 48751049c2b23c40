"""A stand-in of Google Cloud Storage on this machine: one bucket in memory, over HTTP, with generations of objects.

Of the JSON API it has what gcsfs, google-cloud-storage and TensorStore use of it here. As a program it serves until it
is killed: `python bucket_server.py PORT`.
"""

import base64
import hashlib
import http.server
import itertools
import json
import re
import sys
import threading
import urllib.parse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

BUCKET = "bucket"
_OBJECT = re.compile(rf"(?:/download)?/storage/v1/b/{BUCKET}/o/(.+)")
_DELETE = re.compile(rf"DELETE /storage/v1/b/{BUCKET}/o/([^ ?]+)")
_BOUNDARY = "batch_of_answers"


class Answer(NamedTuple):
    """Of a request."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = MappingProxyType({})


class Bucket:
    """The objects: content and generation by name."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._uploads: dict[str, tuple[str, bytes]] = {}
        self._generations, self._lock = itertools.count(1000), threading.Lock()

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        """One request after the other, as a bucket is consistent."""
        parts = urllib.parse.urlsplit(target)
        query = {key: values[0] for key, values in urllib.parse.parse_qs(parts.query).items()}
        with self._lock:
            if parts.path.startswith("/batch/"):
                return self._delete_many(body)
            if parts.path.startswith("/upload/"):
                return self._upload(query, headers, body)
            if match := _OBJECT.fullmatch(parts.path):
                return self._object(method, urllib.parse.unquote(match[1]), query, headers)
            if parts.path == f"/storage/v1/b/{BUCKET}/o":
                return self._list(query)
            if parts.path == f"/storage/v1/b/{BUCKET}":
                return _json({"kind": "storage#bucket", "id": BUCKET, "name": BUCKET, "location": "HERE"})
        return Answer(404)

    def _object(self, method: str, name: str, query: dict[str, str], headers: Any) -> Answer:
        content, generation = self._objects.get(name, (b"", 0))
        if refusal := _refused(query, generation):
            return refusal
        if not generation:
            return Answer(404)
        if method == "DELETE":
            del self._objects[name]
            return Answer(204)
        if query.get("alt") != "media":
            return _json(self._resource(name))
        named, size = {"x-goog-generation": str(generation)}, len(content)
        if match := re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("Range", "")):
            first = int(match[1]) if match[1] else size - int(match[2])
            last = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
            if first >= size:
                return Answer(416, headers=named | {"Content-Range": f"bytes */{size}"})
            range_ = {"Content-Range": f"bytes {first}-{last}/{size}"}
            return Answer(206, content[first : last + 1], named | range_)
        return Answer(200, content, named)

    def _list(self, query: dict[str, str]) -> Answer:
        prefix, items, prefixes = query.get("prefix", ""), [], set()
        for name in sorted(self._objects):
            if name.startswith(prefix) and name >= query.get("startOffset", ""):
                rest = name.removeprefix(prefix)
                if query.get("delimiter") and "/" in rest:
                    prefixes.add(prefix + rest.partition("/")[0] + "/")
                elif name < query.get("endOffset", chr(sys.maxunicode)):
                    items.append(self._resource(name))
        return _json({"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)})

    def _upload(self, query: dict[str, str], headers: Any, body: bytes) -> Answer:
        if upload := query.get("upload_id"):
            name, before = self._uploads[upload]
            self._uploads[upload] = name, before + body
            total = headers.get("Content-Range", "").rpartition("/")[2]
            if total not in ("", "*") and len(before + body) == int(total):
                return self._put(query, name, before + body)
            return Answer(308, headers={"Range": f"bytes=0-{len(before + body) - 1}"})
        if query["uploadType"] == "media":
            return self._put(query, query["name"], body)
        if query["uploadType"] == "resumable":
            upload = str(next(self._generations))
            self._uploads[upload] = json.loads(body)["name"], b""
            place = f"http://{headers['Host']}/upload/storage/v1/b/{BUCKET}/o?upload_id={upload}"
            return Answer(200, b"{}", {"Location": place})
        boundary = re.search(r'boundary="?([^"]+)', headers["Content-Type"])[1].encode()
        _, about, content, _ = body.split(b"--" + boundary)
        about, content = (re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1] for part in (about, content))
        return self._put(query, json.loads(about)["name"], re.sub(rb"\r?\n\Z", b"", content))

    def _put(self, query: dict[str, str], name: str, content: bytes) -> Answer:
        if refusal := _refused(query, self._objects.get(name, (b"", 0))[1]):
            return refusal
        self._objects[name] = content, next(self._generations)
        return _json(self._resource(name))

    def _delete_many(self, body: bytes) -> Answer:
        answers = []
        for name in _DELETE.findall(body.decode()):
            there = self._objects.pop(urllib.parse.unquote(name), None)
            answers.append(f"\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {204 if there else 404} -\r\n\r\n")
        text = "".join(f"--{_BOUNDARY}{each}" for each in answers) + f"--{_BOUNDARY}--"
        return Answer(200, text.encode(), {"Content-Type": f"multipart/mixed; boundary={_BOUNDARY}"})

    def _resource(self, name: str) -> dict[str, str]:
        content, generation = self._objects[name]
        return {
            "kind": "storage#object",
            "bucket": BUCKET,
            "name": name,
            "size": str(len(content)),
            "generation": str(generation),
            "metageneration": "1",
            "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
            "updated": "2026-01-01T00:00:00.000Z",
            "timeCreated": "2026-01-01T00:00:00.000Z",
        }


def _refused(query: dict[str, str], generation: int) -> Answer | None:
    if int(query.get("ifGenerationMatch", generation)) != generation:
        return Answer(412)
    return Answer(304) if int(query.get("ifGenerationNotMatch", generation - 1)) == generation else None


def _json(value: Any) -> Answer:
    return Answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def serve(port: int) -> None:
    """Serves an empty bucket."""
    bucket = Bucket()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content, headers = bucket.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_GET

        def log_message(self, *arguments) -> None:
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
