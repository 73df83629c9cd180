"""An object store for tests: gcp-storage-emulator with what it lacks and we rely on.

Added to it: conditions on an object's version, checked and acted upon in one piece; versions told
with a content; the same answer to the last part of an upload sent again; long lists in pages;
connections that are kept; many requests at once; and on demand slow answers, errors, connections
that break, and answers that are lost after the deed was done.

    python tests/fake_gcs.py --port=9023 --latency=0.05    # as a process of its own, with `bucket`
"""

import argparse
import collections
import contextlib
import http.server
import io
import json
import logging
import os
import pathlib
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator

import pytest
from gcp_storage_emulator import server as emulator
from gcp_storage_emulator.handlers import buckets, objects
from gcp_storage_emulator.storage import Storage

BUCKET = "bucket"
logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
_PAGE = 1000
_OBJECT = re.compile(r"(?:/download|/upload)?(?:/storage/v1)?/b/([^/]+)/o(?:/(.+?))?")
_TO = re.compile(r".*/(?:copyTo|rewriteTo)/b/([^/]+)/o/(.+)")


class _InMemory(Storage):
    def _write_config_to_file(self):
        """The emulator would write down its whole catalogue after every put."""


class FakeStore:
    """The store, served from threads of this process.

    Attributes:
      environment: variables that lead every client to it.
      latency: seconds before each answer.
      fault: called with method and path of each request; returns what goes wrong: `503`, `403` or
        `reset` (nothing is done), `lost` (it is done, and the connection breaks), or None.
      requests: counts by method.
    """

    def __init__(self, port: int = 0):
        self.storage = _InMemory(use_memory_fs=True)
        buckets.create_bucket(BUCKET, self.storage)
        self.latency = 0.0
        self.fault: Callable[[str, str], str | None] = lambda method, path: None
        self.requests: collections.Counter[str] = collections.Counter()
        self.uploaded: dict[str, bytes] = {}  # answers, by id of the upload
        self.one_at_a_time = threading.Lock()
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = _Server(("127.0.0.1", port), handler)
        address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": address,
            "TENSORSTORE_GCS_HTTP_URL": address,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",  # else TensorStore looks for Google's machines
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            "FSSPEC_GS_TOKEN": "anon",
            "FSSPEC_GCS_TOKEN": "anon",
            "NO_GCE_CHECK": "true",
        }

    @contextlib.contextmanager
    def serving(self) -> Iterator["FakeStore"]:
        """Answers while the context lasts."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def fill(self, directory: pathlib.Path, prefix: str) -> None:
        """Puts the files of a directory, without requests."""
        for path in directory.iterdir():
            name, data = f"{prefix}/{path.name}", path.read_bytes()
            item = objects._make_object_resource("", BUCKET, name, "", str(len(data)))
            self.storage.create_file(BUCKET, name, data, objects._checksums(data, item))

    def empty(self) -> None:
        """Back to a bucket with nothing in it and no faults."""
        self.latency, self.fault = 0.0, lambda method, path: None
        self.storage.wipe(keep_buckets=True)
        self.uploaded.clear()
        self.requests.clear()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        """A client that went away is no error of ours."""


class _Handler(emulator.RequestHandler):
    store: FakeStore
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, *args, **kwargs):
        super().__init__(self.store.storage, *args, **kwargs)

    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def do_PUT(self):
        self._answer("PUT")

    def do_PATCH(self):
        self._answer("PATCH")

    def do_DELETE(self):
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        body = emulator._read_raw_data(self) or b""
        if self.path == "/requests":
            self._send(200, {"requests": sum(self.store.requests.values())})
            return
        self.store.requests[method] += 1
        fault = self.store.fault(method, self.path)
        time.sleep(self.store.latency)
        if fault == "reset":
            self._break()
        elif fault in ("503", "403"):
            self._send(int(fault), {"error": {"code": int(fault), "message": "not now"}})
        else:
            connection, wire = self.rfile, self.wfile
            self.rfile, self.wfile = io.BytesIO(body), io.BytesIO()
            if "Transfer-Encoding" in self.headers:
                del self.headers["Transfer-Encoding"]
                self.headers["Content-Length"] = str(len(body))
            try:
                with self.store.one_at_a_time:
                    self._act_once(method)
            finally:
                answer, self.rfile, self.wfile = self.wfile.getvalue(), connection, wire
            if fault == "lost":
                self._break()
            else:
                self.wfile.write(answer)

    def _act_once(self, method: str) -> None:
        """Acts; an upload that is over has its answer again: the emulator knows it no more."""
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        upload = query.get("upload_id", [""])[0]
        if upload in self.store.uploaded:
            self.wfile.write(self.store.uploaded[upload])
            return
        self._act(method)
        if upload and upload not in self.storage.resumable:
            self.store.uploaded[upload] = self.wfile.getvalue()

    def _act(self, method: str) -> None:
        """Checks the conditions and does what is asked for."""
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        self.version = None
        match = _OBJECT.fullmatch(url.path)
        if match and method == "GET" and not match[2]:
            self._list(match[1], query)
            return
        if match:
            bucket, name = match[1], match[2] or query.get("name") or self._name_in_body()
            to = _TO.fullmatch(url.path)
            if to:
                bucket, name = to[1], to[2]
            there = self.storage.objects.get(bucket, {}).get(urllib.parse.unquote(name or ""))
            version = int(there["generation"]) if there else 0
            if int(query.get("ifGenerationMatch", version)) != version:
                self._send(412, {"error": {"code": 412, "message": "conditionNotMet"}})
                return
            if int(query.get("ifGenerationNotMatch", -1)) == version:
                self._send(304, None)
                return
            if method == "GET" and int(query.get("generation", version)) != version:
                self._send(404, {"error": {"code": 404, "message": "no such version"}})
                return
            self.version = version
        emulator.Router(self).handle(method)

    def end_headers(self):
        """With the version, as the real store tells it with a content."""
        if getattr(self, "version", None):
            self.send_header("X-Goog-Generation", str(self.version))
        super().end_headers()

    def _name_in_body(self) -> str | None:
        body = self.rfile.getvalue()
        found = re.search(rb'"name": ?"((?:[^"\\]|\\.)*)"', body)
        return json.loads(b'"' + found[1] + b'"') if found else None

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        if bucket not in self.storage.buckets:
            self._send(404, {"error": {"code": 404, "message": "no such bucket"}})
            return
        items, prefixes = self.storage.get_file_list(
            bucket, query.get("prefix"), query.get("delimiter")
        )
        start = int(query.get("pageToken", 0))
        end = start + min(int(query.get("maxResults", _PAGE)), _PAGE)
        page = {"kind": "storage#objects", "prefixes": prefixes, "items": items[start:end]}
        if end < len(items):
            page["nextPageToken"] = str(end)
        if query.get("fields", "").startswith("items(name)"):
            page["items"] = [{"name": item["name"]} for item in page["items"]]
        self._send(200, page)

    def _send(self, status: int, content: dict | None) -> None:
        data = b"" if content is None else json.dumps(content).encode()
        self.version = None
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _break(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def running_store():
    """A store for a module's tests, which this process and what it starts are led to."""
    from lstm_jax import object_store

    with FakeStore().serving() as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        _lead_gcsfs(patch)
        object_store.client.cache_clear()
        yield store
        object_store.client.cache_clear()


def _lead_gcsfs(patch: pytest.MonkeyPatch) -> None:
    """gcsfs and fsspec read their environment when they are imported, which may be over."""
    import fsspec.config

    for name in ("gs", "gcs"):
        patch.setitem(fsspec.config.conf, name, {"token": "anon"})
    with contextlib.suppress(ImportError):
        import gcsfs

        gcsfs.GCSFileSystem.clear_instance_cache()


@pytest.fixture
def store(running_store):
    """The same, empty and without faults."""
    running_store.empty()
    return running_store


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=9023)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--filled_from", help="a directory; its files are there as results/…")
    arguments = parser.parse_args()
    store = FakeStore(arguments.port)
    if arguments.filled_from:
        store.fill(pathlib.Path(arguments.filled_from), "results")
    store.latency = arguments.latency
    with store.serving():
        for name, value in store.environment.items():
            print(f"export {name}={value}")
        print("", flush=True)
        while os.getppid() != 1:  # ends with whoever started it
            time.sleep(0.5)


if __name__ == "__main__":
    main()
