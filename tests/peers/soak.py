"""A soak: `avrogate run` under a modest mixed load for a while, and what it holds meanwhile. No test, and not in CI.

    tests/peers/run            # installs the Python packages
    cargo build --release
    nice target/peers/bin/python tests/peers/soak.py target/release/avrogate --minutes 20 --rate 400 > soak.tsv

Callers over h1 and h2 send good, bad, slow and large orders, hang up and come again on new connections; the service
answers badly and breaks off now and then; every 10 s the policy changes (or is bad), every 30 s the certificate. A line
each 10 s says what the process holds; the end says what was sent, and whatever came out otherwise than it was meant.
The exit code is 0 where nothing did.
"""

import argparse
import asyncio
import collections
import os
import random
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import orders
from sidecar import PATIENCE, Lines

WORKLOADS = ["shop/orders", "shop/checkout", "shop/payments", "shop/marketing"]

GOOD = orders.confluent(17, orders.order())
LARGE = orders.confluent(17, orders.order(lines=3000))
BAD = GOOD[:-1]
ACCEPTED = orders.accepted("o-4711", 2)

# What is asked, how often of a thousand, and what has to come of it: a status, or nothing. The service reads the first
# word of the request id.
KINDS = {
    "good": (640, 201),
    "health": (80, 200),
    "bad": (70, 422),
    "slow": (40, 201),
    "large": (30, 201),
    "denied": (40, 403),
    "nowhere": (20, 404),
    "invalid": (30, 502),
    "breaks": (20, 502),
    "leaves": (30, None),
}
CALLERS = {"h1": 10, "h2": 6}
POLICY_PERIOD, CERTIFICATE_PERIOD, SAMPLE_PERIOD = 10, 30, 10

SAMPLED = ["requests_total", "connections_open", "held_bytes", "snapshot_generation"]

sent, unmeant = collections.Counter(), collections.Counter()


class Broken(Exception):
    """The connection ended where it should not have."""


class H1:
    """An HTTP/1.1 connection, by hand: it has to break off anywhere."""

    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    async def ask(self, method, path, fields, pieces, leave=None):
        length = sum(map(len, pieces))
        head = [f"{method} {path} HTTP/1.1", "host: orders"] + [f"{name}: {value}" for name, value in fields.items()]
        if method == "POST":
            head.append(f"content-length: {length}")
        self._writer.write("\r\n".join(head + ["", ""]).encode())
        for at, piece in enumerate(pieces):
            if at:
                await asyncio.sleep(random.uniform(0.05, 0.4))
                if leave == "inside":
                    return self.cut()
            self._writer.write(piece)
            await self._writer.drain()
        if leave:
            return self.cut()
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        await self._reader.readexactly(int(fields.get("content-length", 0)))
        return int(head[0].split(" ")[1]), fields.get("connection") != "close"

    def cut(self):
        self._writer.transport.abort()
        return None, False

    def close(self):
        self._writer.close()


class H2:
    """An HTTP/2 connection with one request at a time."""

    def __init__(self, reader, writer):
        self._reader, self._writer, self._goes_on = reader, writer, True
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._flush()

    def _flush(self):
        self._writer.write(self._h2.data_to_send())

    async def _events(self):
        received = await self._reader.read(65536)
        if not received:
            raise Broken("the h2 connection ended")
        events = self._h2.receive_data(received)
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self._goes_on = False
        self._flush()
        return events

    async def ask(self, method, path, fields, pieces, leave=None):
        stream, status = self._h2.get_next_available_stream_id(), None
        head = [(":method", method), (":scheme", "https"), (":authority", "orders"), (":path", path), *fields.items()]
        self._h2.send_headers(stream, head, end_stream=not pieces)
        over = False
        for at, piece in enumerate(pieces):
            if at:
                await asyncio.sleep(random.uniform(0.05, 0.4))
                if leave == "inside":
                    return self.cut(stream)
            while piece and not over:
                some = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(piece))
                if some == 0:
                    for event in await self._events():
                        status, over = self._told(event, stream, status, over)
                    continue
                last = at == len(pieces) - 1 and some == len(piece)
                self._h2.send_data(stream, piece[:some], end_stream=last)
                piece = piece[some:]
            self._flush()
            await self._writer.drain()
        self._flush()
        if leave:
            return self.cut(stream)
        while not over:
            for event in await self._events():
                status, over = self._told(event, stream, status, over)
        return status, self._goes_on

    def _told(self, event, stream, status, over):
        if getattr(event, "stream_id", None) != stream:
            return status, over
        if isinstance(event, h2.events.ResponseReceived):
            return int(dict(event.headers)[":status"]), over
        if isinstance(event, h2.events.StreamReset):
            raise Broken(f"the stream was reset: {event.error_code}")
        return status, over or isinstance(event, h2.events.StreamEnded)

    def cut(self, stream):
        if random.random() < 0.5:
            self._writer.transport.abort()
            return None, False
        self._h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self._flush()
        return None, self._goes_on

    def close(self):
        self._writer.close()


async def call(http, port, certificates, pace, until):
    """A caller that comes again and again."""
    contexts = {}
    for account in ("checkout", "payments", "marketing"):
        contexts[account] = ssl.create_default_context(cafile=f"{certificates}/ca.crt")
        contexts[account].load_cert_chain(f"{certificates}/shop-{account}.crt", f"{certificates}/shop-{account}.key")
        contexts[account].set_alpn_protocols(["h2" if http == "h2" else "http/1.1"])
    kinds, weights = list(KINDS), [share for share, _ in KINDS.values()]
    while time.monotonic() < until:
        # Marketing alone is denied; the others are who they are for the whole connection.
        account = random.choices(["checkout", "payments", "marketing"], [70, 24, 6])[0]
        try:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=contexts[account], server_hostname="localhost"
            )
        except OSError as error:
            unmeant[f"{http} connect: {error}"] += 1
            await asyncio.sleep(0.1)
            continue
        sent[f"{http} connections"] += 1
        connection = (H2 if http == "h2" else H1)(reader, writer)
        for _ in range(random.randint(1, 120)):
            await pace()
            kind = random.choices(kinds, weights)[0]
            if account == "marketing":
                kind = "denied"
            elif kind == "denied":
                kind = "good"
            try:
                goes_on = await asyncio.wait_for(one(http, connection, kind), PATIENCE)
            except (OSError, EOFError, Broken, asyncio.TimeoutError) as error:
                unmeant[f"{http} {kind}: {type(error).__name__} {error}"] += 1
                goes_on = False
            if not goes_on or time.monotonic() >= until:
                break
        connection.close()


async def one(http, connection, kind):
    """One request and what comes of it; whether the connection goes on."""
    fields = {"x-request-id": f"{kind}-{random.getrandbits(48):x}"}
    sent[kind] += 1
    if kind == "health":
        status, goes_on = await connection.ask("GET", "/healthz", fields, [])
    else:
        body = {"bad": BAD, "large": LARGE}.get(kind, GOOD)
        pieces = [body[:9], body[9:20], body[20:]] if kind == "slow" else [body]
        leave = None
        if kind == "leaves":
            leave, pieces = random.choice([("inside", [body[:9], body[9:]]), ("behind", [body])])
        path = "/v9/orders" if kind == "nowhere" else "/v1/orders"
        fields["content-type"] = "application/avro"
        status, goes_on = await connection.ask("POST", path, fields, pieces, leave)
    if status != KINDS[kind][1]:
        unmeant[f"{http} {kind}: status {status}"] += 1
    return goes_on


async def serve(reader, writer):
    """The service, on one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            fields = dict(line.split(": ", 1) for line in head[1:] if line)
            if fields.get("transfer-encoding") == "chunked":
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    await reader.readexactly(size + 2)
                await reader.readuntil(b"\r\n")
            else:
                await reader.readexactly(int(fields.get("content-length", 0)))
            sent["the service's requests"] += 1
            kind = fields["x-request-id"].split("-")[0]
            if kind == "breaks":
                break
            status, body = ("200 OK", b"ok") if kind == "health" else ("201 Created", ACCEPTED)
            body = body[:-1] if kind == "invalid" else body
            if kind == "leaves":
                await asyncio.sleep(random.choice([0, 0.02, 0.2]))
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
    except (OSError, EOFError):
        pass
    finally:
        writer.close()


def pacer(rate):
    """Waits so that all together ask this often each second."""
    at = time.monotonic()

    async def pace():
        nonlocal at
        # A machine that does other things for a moment is not chased afterwards.
        at = max(at, time.monotonic() - 1) + 1 / rate
        await asyncio.sleep(max(0, at - time.monotonic()))

    return pace


def replace(path, data):
    """Writes a file as a careful writer does: whole."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(data)
    beside.rename(path)


async def swap_policy(path, until):
    good = (orders.EXAMPLE / "policy.d" / "orders.yaml").read_text()
    turn = 0
    while time.monotonic() < until:
        await asyncio.sleep(POLICY_PERIOD)
        turn += 1
        more = f"    - name: only-{turn}\n      matches: [{{path: {{type: Exact, value: /only/{turn}}}}}]\n"
        more += "      authorization: [{name: anyone, action: Allow, from: [{anyone: true}]}]\n"
        replace(path, (good + ("    - [\n" if turn % 6 == 0 else more)).encode())
        sent["policies"] += 1


async def rotate(binary, certificates, own, until):
    while time.monotonic() < until:
        await asyncio.sleep(CERTIFICATE_PERIOD)
        for name in ("shop-orders.key", "shop-orders.crt"):
            (certificates / name).unlink()
        issue(binary, certificates)
        for name in ("shop-orders.key", "shop-orders.crt"):
            replace(own / name, (certificates / name).read_bytes())
        sent["certificates"] += 1


def issue(binary, certificates):
    """Makes whatever certificate is not there."""
    named = [word for workload in WORKLOADS for word in ("--workload", workload)]
    subprocess.run(
        [binary, "certs", "dev", "--directory", certificates, *named],
        check=True,
        timeout=PATIENCE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def metrics(admin):
    """The sums of the metrics page, by name; requests by outcome too."""
    sums = collections.Counter()
    for line in urllib.request.urlopen(f"http://{admin}/metrics", timeout=PATIENCE).read().decode().splitlines():
        if not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            sums[series.split("{")[0]] += float(value)
    return sums


async def sample(pid, admin, begin, until):
    while True:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split(" ")[11:13]
        page = await asyncio.to_thread(metrics, admin)
        print(
            round(time.monotonic() - begin),
            status["VmRSS"].split()[0],
            len(os.listdir(f"/proc/{pid}/fd")),
            sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
            *(int(page[f"avrogate_{name}"]) for name in SAMPLED),
            sum(unmeant.values()),
            sep="\t",
            flush=True,
        )
        if time.monotonic() >= until:
            return page
        await asyncio.sleep(SAMPLE_PERIOD)


async def soak(options, directory):
    certificates, own = directory / "certificates", directory / "own"
    certificates.mkdir()
    own.mkdir()
    issue(options.binary, certificates)
    for name in ("shop-orders.key", "shop-orders.crt", "ca.crt"):
        replace(own / name, (certificates / name).read_bytes())
    replace(directory / "policy.yaml", (orders.EXAMPLE / "policy.d" / "orders.yaml").read_bytes())
    service = await asyncio.start_server(serve, "127.0.0.1", 0)
    config = directory / "avrogate.yaml"
    config.write_text(
        f"""\
apiVersion: avrogate.dev/v1alpha1
kind: Sidecar
workers: 2
inbound: {{listen: "127.0.0.1:0"}}
service: {{address: "127.0.0.1:{service.sockets[0].getsockname()[1]}", protocol: Http1}}
identity: {{certificate: own/shop-orders.crt, key: own/shop-orders.key, trustBundles: {{cluster.local: own/ca.crt}}}}
policy: policy.yaml
schemas: {{directory: {orders.EXAMPLE}/schemas}}
admin: {{listen: "127.0.0.1:0"}}
decisions: {{passes: 100%}}
"""
    )
    with open(directory / "decisions", "wb") as told:
        process = subprocess.Popen(
            [options.binary, "run", "--config", config, "--log-format", "json"],
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "AVROGATE_LOG": "info"},
        )
    try:
        ready = Lines(process.stderr).wait(message="avrogate is ready")
        port = int(ready["inbound"].rsplit(":", 1)[1])
        print("seconds", "VmRSS_kB", "descriptors", "cpu_seconds", *SAMPLED, "unmeant", sep="\t")
        begin = time.monotonic()
        until, pace = begin + options.minutes * 60, pacer(options.rate)
        beside = [
            asyncio.create_task(swap_policy(directory / "policy.yaml", until)),
            asyncio.create_task(rotate(options.binary, certificates, own, until)),
            asyncio.create_task(sample(process.pid, ready["admin"], begin, until)),
        ]
        calls = [call(http, port, certificates, pace, until) for http, many in CALLERS.items() for _ in range(many)]
        await asyncio.gather(*calls)
        await asyncio.gather(*beside)
        await asyncio.sleep(2)
        page = await sample(process.pid, ready["admin"], begin, 0)
        process.send_signal(signal.SIGTERM)
        ended = await asyncio.to_thread(process.wait, PATIENCE)
    finally:
        process.kill()
    lines = sum(1 for _ in open(directory / "decisions", "rb"))
    requests = sum(sent[kind] for kind in KINDS)
    print(f"# sent: {dict(sent)}, {requests} requests")
    print(f"# told: {lines} decisions, {int(page['avrogate_decisions_dropped_total'])} dropped; exit code {ended}")
    print(f"# meant otherwise: {dict(unmeant) or 'nothing'}")
    return ended == 0 and not unmeant


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=os.path.realpath)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=400, help="requests a second")
    with tempfile.TemporaryDirectory() as directory:
        sys.exit(not asyncio.run(soak(parser.parse_args(), Path(directory))))
