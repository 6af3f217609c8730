"""`avrogate run` as a process: started, read and ended by what it says and by its id."""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request

from orders import EXAMPLE

# How long anything may take that happens at once unless something is broken.
PATIENCE = 30


class Lines:
    """What a stream says, line by line, each an object of JSON."""

    def __init__(self, stream):
        self._lines, self._ended, self._news = [], False, threading.Condition()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream):
        for line in stream:
            with self._news:
                self._lines.append(line.decode())
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def text(self):
        """All of it so far."""
        with self._news:
            return "".join(self._lines)

    def ended(self):
        """All of it, once the stream has ended."""
        with self._news:
            assert self._news.wait_for(lambda: self._ended, PATIENCE), "the stream does not end"
        return self.text()

    def wait(self, **wanted):
        """The first line with these values, when it comes."""

        def found():
            for line in self._lines:
                line = json.loads(line)
                if all(line.get(key) == value for key, value in wanted.items()):
                    return line
            return self._ended

        with self._news:
            line = self._news.wait_for(found, PATIENCE)
        assert isinstance(line, dict), f"no line with {wanted} in:\n{self.text()}"
        return line


class Sidecar:
    """A sidecar that runs on a bootstrap file."""

    def __init__(self, binary, config):
        self._process = subprocess.Popen(
            [binary, "run", "--config", config, "--log-format", "json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "AVROGATE_LOG": "info"},
        )
        self.decisions, self.log = Lines(self._process.stdout), Lines(self._process.stderr)
        ready = self.log.wait(message="avrogate is ready")
        self.port = int(ready["inbound"].rsplit(":", 1)[1])
        self.admin = f"http://{ready['admin']}"
        self.url = f"https://localhost:{self.port}"

    @staticmethod
    def before(service_port, binary, certificates, directory, inbound="", more="", policy=EXAMPLE / "policy.d"):
        """A sidecar before the service at this port, with the schemas of deploy/example and its policy, or another; perhaps
        with more keys of `inbound` and more lines."""
        config = directory / "avrogate.yaml"
        config.write_text(
            f"""\
apiVersion: avrogate.dev/v1alpha1
kind: Sidecar
workers: 2
inbound: {{listen: "127.0.0.1:0", {inbound}}}
service: {{address: "127.0.0.1:{service_port}", protocol: Http1}}
identity:
  certificate: {certificates}/shop-orders.crt
  key: {certificates}/shop-orders.key
  trustBundles: {{cluster.local: {certificates}/ca.crt}}
policy: {policy}
schemas: {{directory: {EXAMPLE}/schemas}}
admin: {{listen: "127.0.0.1:0"}}
decisions: {{passes: 100%}}
shutdownDelay: 1ms
{more}
"""
        )
        return Sidecar(binary, config)

    def page(self, path):
        """A page of the admin listener: its status and its text."""
        try:
            with urllib.request.urlopen(self.admin + path, timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self):
        """Ends it as Kubernetes does; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


def eventually(wanted, look):
    """Looks until it sees what is wanted: counters come after the answers that they count."""
    until = time.monotonic() + PATIENCE
    while (seen := look()) != wanted and time.monotonic() < until:
        time.sleep(0.01)
    assert seen == wanted
