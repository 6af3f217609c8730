"""avrogate and its peers as processes.

A peer reads one JSON object a line, `{"schema": text, "data": [hexadecimal, ...]}`, and answers with one:
`{"refused": why}` where it does not take the schema, else `{"results": [...]}` with `"reject"`, `"trailing"` (a datum,
and bytes behind it) or `{"value": ...}` for each datum, the value as `decode.py` says. It has some seconds for a line. One that
dies or hangs is started again and asked each datum by itself: the verdict on the one that it dies of is `crash`.
"""

import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time

PATIENCE = 60
PATIENCE_SINGLE = 10


class Gone(Exception):
    """The peer died, or said nothing in time."""


class Peer:
    def __init__(self, name, command, memory=None):
        self.name, self.command, self.memory = name, command, memory
        self.process = None
        self.restarts = 0

    def start(self):
        def limit():
            if self.memory:
                resource.setrlimit(resource.RLIMIT_AS, (self.memory, self.memory))

        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=limit
        )
        self.unread = b""

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def send(self, schema, data):
        if not self.process:
            self.start()
        try:
            self.process.stdin.write(json.dumps({"schema": schema, "data": data}).encode() + b"\n")
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            pass

    def receive(self, patience):
        end = time.monotonic() + patience
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            parts = [self.unread]
            while b"\n" not in parts[-1]:
                if not selector.select(end - time.monotonic()):
                    raise Gone
                piece = os.read(self.process.stdout.fileno(), 1 << 20)
                if not piece:
                    raise Gone
                parts.append(piece)
        line, _, self.unread = b"".join(parts).partition(b"\n")
        return json.loads(line)

    def answer(self, schema, data):
        """What it says to what it was sent: `None` where it refuses the schema."""
        try:
            answer = self.receive(PATIENCE)
        except Gone:
            self.stop()
            return [self.single(schema, datum) for datum in data]
        return answer.get("results")

    def single(self, schema, datum):
        try:
            self.send(schema, [datum])
            return self.receive(PATIENCE_SINGLE).get("results", ["reject"])[0]
        except Gone:
            self.stop()
            self.restarts += 1
            print(f"{self.name} dies of {datum} ({schema})", flush=True)
            return "crash"


class Avrogate:
    """`avrogate validate`, a process for each schema."""

    def __init__(self, binary):
        self.binary = binary

    def judge(self, schema, data):
        """What it writes of each datum."""
        with tempfile.NamedTemporaryFile("w", suffix=".avsc") as file:
            file.write(schema)
            file.flush()
            command = [self.binary, "validate", "--schema", file.name, "--hex", "-", "--format", "json", "--print"]
            lines = "".join(f"{datum}\n" for datum in data)
            run = subprocess.run(command, input=lines, capture_output=True, encoding="utf-8", timeout=PATIENCE)
        told = [json.loads(line) for line in run.stdout.split("\n")[:-1]]
        if len(told) != len(data):
            raise SystemExit(f"avrogate says {len(told)} lines of {len(data)} data: {run.stderr}\n{schema}")
        return told


def peers(built, apache_avro):
    """The peers, from the directory in which `run` has built them."""
    here = os.path.dirname(os.path.abspath(__file__))
    java = ["java", "-Xmx512m", "-Xss1m", "-XX:+UseSerialGC", "-cp", f"{built}/java/classes:{built}/java/lib/*", "Peer"]
    return [
        Peer("java", java),
        Peer("fastavro", [sys.executable, f"{here}/peer_fastavro.py"]),
        Peer("avsc", ["node", "--max-old-space-size=512", f"{built}/node/peer_avsc.js"]),
        Peer("hamba", [f"{built}/go/hamba"], memory=4 << 30),
        Peer("apache-avro", [apache_avro], memory=4 << 30),
    ]
