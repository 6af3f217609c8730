"""The service behind the sidecar: what an application team has, with fastavro and the standard library alone.

It writes down of each request what it saw: `begun` as soon as the head is there, `whole n` when all n bytes of the body
are, and that it could not read them where fastavro cannot.
"""

import gzip
import io
import threading
import zlib
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli
import orders
import zstandard

# How it undoes a content coding: with the libraries that others use.
DECODED = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
    "br": brotli.decompress,
}
# For this customer the service answers with half of what its contract asks.
UNLUCKY = "s3cr3t-mallory"
# For this one it hangs up without an answer.
HANGS_UP = "s3cr3t-trudy"


@dataclass
class Seen:
    """One request, as the service saw it."""

    what: str
    path: str
    headers: dict


class Service:
    """Runs on a port that the system chooses, on threads of this process."""

    def __init__(self):
        self._seen = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def seen(self):
        """What it saw since this was asked last."""
        seen, self._seen = self._seen, []
        return seen

    def saw(self):
        """The same, in words."""
        return [seen.what for seen in self.seen()]

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def _handler(service):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one segment: Nagle would keep the second back

            def do_GET(self):
                seen = self.note()
                seen.what = "whole 0"
                self.answer(200, b"ok\n", "text/plain")

            def do_POST(self):
                seen = self.note()
                body = self.body()
                seen.what = f"whole {len(body)}"
                try:
                    coding = seen.headers.get("content-encoding")
                    order = orders.read(DECODED[coding](body) if coding else body)
                except Exception as error:  # whatever fastavro finds, it is the end of this service's understanding
                    seen.what = f"unreadable {len(body)}: {error!r}"
                    return self.answer(500, b"", "application/avro")
                if order.get("customer") == HANGS_UP:
                    self.close_connection = True
                    return None
                accepted = orders.accepted(order.get("id", "refund"), len(order.get("lines", [])))
                if order.get("customer") == UNLUCKY:
                    accepted = accepted[: len(accepted) // 2]
                return self.answer(201, accepted, "application/avro")

            def note(self):
                seen = Seen("begun", self.path, {name.lower(): value for name, value in self.headers.items()})
                service._seen.append(seen)
                return seen

            def body(self):
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = io.BytesIO()
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body.write(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return body.getvalue()

            def answer(self, status, body, content_type):
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler
