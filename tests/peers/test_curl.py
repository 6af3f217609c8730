"""curl as the caller: what a person sees, refusals and broken connections too."""

import json
import os
import subprocess
from dataclasses import dataclass

import pytest

import orders
from sidecar import PATIENCE

ORDER = orders.confluent(17, orders.order())
LONG = orders.confluent(17, orders.order(lines=50_000))
VERSION = {"h1": "1.1", "h2": "2"}

both = pytest.mark.parametrize("protocol", ["h1", "h2"])


@dataclass
class Curl:
    """What came of one call."""

    exit: int
    status: int
    version: str
    headers: dict
    body: bytes
    error: str

    def problem(self):
        """The refusal, which every reader can tell from an answer of the service and which says what to do."""
        assert self.headers["content-type"] == "application/problem+json"
        problem = json.loads(self.body)
        assert (problem["status"], problem["code"]) == (self.status, self.headers["avrogate-reason"])
        assert problem["type"] == f"urn:avrogate:reason:{problem['code']}"
        assert problem["title"] and self.headers["avrogate-retryable"] == "false"
        return problem


@pytest.fixture
def curl(sidecar, certificates, tmp_path):
    def call(*options, path="/v1/orders", body=ORDER, certificate=None, protocol="h1", url=None, bundle=None):
        certificate = certificate if certificate is not None else certificates / "shop-checkout"
        told, head = tmp_path / "told", tmp_path / "head"
        for file in (told, head):
            file.write_bytes(b"")
        command = ["curl", "-q", "-sS", "--noproxy", "*", "--max-time", str(PATIENCE), "--path-as-is"]
        command += ["--http2" if protocol == "h2" else "--http1.1", "--cacert", bundle or certificates / "ca.crt"]
        if certificate:
            command += ["--cert", f"{certificate}.crt", "--key", f"{certificate}.key"]
        if body is not None:
            command += ["--data-binary", "@-", "-H", "Content-Type: application/avro"]
        command += ["-o", told, "-D", head, "-w", "%{http_code} %{http_version}", *options]
        command += [(url or sidecar.url) + path]
        done = subprocess.run(command, input=body, capture_output=True, timeout=2 * PATIENCE, env=dict(os.environ))
        status, version = done.stdout.decode().split()
        blocks = [block for block in head.read_text().replace("\r", "").split("\n\n") if block]
        lines = blocks[-1].split("\n")[1:] if blocks else []
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if ": " in line)}
        return Curl(done.returncode, int(status), version, headers, told.read_bytes(), done.stderr.decode())

    return call


@both
def test_a_good_order(curl, service, protocol):
    answer = curl(protocol=protocol)
    assert (answer.exit, answer.status, answer.version) == (0, 201, VERSION[protocol])
    assert orders.read_accepted(answer.body)["lines"] == 2
    assert "avrogate-reason" not in answer.headers
    assert service.saw() == [f"whole {len(ORDER)}"]


@both
def test_tls_1_3_alone(curl, service, protocol):
    assert curl("--tlsv1.3", protocol=protocol).status == 201
    old = curl("--tls-max", "1.2", protocol=protocol)
    assert (old.exit, old.status) == (35, 0)
    assert "protocol version" in old.error


@both
def test_an_upload_of_unknown_length(curl, service, protocol):
    """Chunked over HTTP/1.1; in HTTP/2 every upload is one."""
    options = ["-X", "POST", "-T", "-"] + (["-H", "Transfer-Encoding: chunked"] if protocol == "h1" else [])
    answer = curl(*options, body=None, protocol=protocol)
    assert (answer.status, answer.problem()["fault"]) == (422, "truncated")
    assert service.saw() == []
    chunked = ["-H", "Transfer-Encoding: chunked"] if protocol == "h1" else ["-H", "Content-Length:"]
    assert curl(*chunked, protocol=protocol).status == 201
    assert service.saw() == [f"whole {len(ORDER)}"]


REFUSED = {
    # What is wrong, what curl is told to do, and then status, reason and a piece of advice.
    "cut short": ({"body": ORDER[:-1]}, 422, "datum_invalid", "Correct the producer"),
    "not Avro": ({"body": b'{"id": "o-4711"}'}, 415, "framing_invalid", "Frame the datum as the route's contract says"),
    "empty": ({"body": b""}, 422, "datum_invalid", "the body is empty; the contract wants Confluent (00 and"),
    "chunked and cut": (
        {"body": ORDER[:-1], "options": ["-H", "Transfer-Encoding: chunked"]},
        422,
        "datum_invalid",
        "Correct the producer",
    ),
    "coded": (
        {"options": ["-H", "Content-Encoding: gzip"]},
        415,
        "content_coding_refused",
        "Send the body without Content-Encoding",
    ),
    # Refused by their heads alone, while the body is still on its way.
    "long and coded": (
        {"body": LONG, "options": ["-H", "Content-Encoding: gzip"]},
        415,
        "content_coding_refused",
        "Send the body without Content-Encoding",
    ),
    "long where none belongs": (
        {"path": "/healthz", "body": LONG, "options": ["-X", "GET"]},
        415,
        "body_unexpected",
        "this route takes no body. Send no body",
    ),
    "long and unknown": (
        {"path": "/v3/orders", "body": LONG},
        404,
        "route_unknown",
        "Ask the service's owner for a route",
    ),
    "an unknown schema": (
        {"body": b"\0\0\0\x12\x67" + ORDER[5:]},
        422,
        "schema_unknown",
        "Publish the schema before sending data of it",
    ),
    "too large": (
        {"body": orders.confluent(17, orders.order(lines=80_000))},
        413,
        "body_too_large",
        "Send a smaller body, or ask the service's owner for a larger maxBodyBytes",
    ),
    "an unknown path": ({"path": "/v3/orders"}, 404, "route_unknown", "Ask the service's owner for a route"),
    "another method": ({"options": ["-X", "PUT"]}, 404, "route_unknown", "Ask the service's owner for a route"),
    "a path with dots": ({"path": "/v1/../v1/orders"}, 400, "path_ambiguous", "Send the path in its plain form"),
    "TRACE": ({"options": ["-X", "TRACE"], "body": None}, 501, "method_refused", "refused on every route"),
}


@both
@pytest.mark.parametrize("how, status, reason, advice", REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_what_to_do(curl, service, protocol, how, status, reason, advice):
    how = dict(how)
    options = how.pop("options", [])
    if protocol == "h2" and any("Transfer-Encoding" in option for option in options):
        options = ["-H", "Content-Length:"]
    answer = curl(*options, protocol=protocol, **how)
    assert (answer.exit, answer.status, answer.version) == (0, status, VERSION[protocol]), answer
    problem = answer.problem()
    assert (problem["code"], advice in problem["detail"]) == (reason, True), problem
    assert service.saw() == []


def test_a_host_that_is_none_is_refused(curl, service):
    """In HTTP/2 the connection's own code refuses it, with PROTOCOL_ERROR."""
    answer = curl("-H", "Host: a b")
    assert (answer.exit, answer.status, answer.problem()["code"]) == (0, 400, "host_invalid")
    assert "Send exactly one Host" in answer.problem()["detail"]
    assert service.saw() == []


def test_http_1_0_is_refused(curl, service):
    answer = curl("--http1.0", "--no-alpn")
    assert (answer.exit, answer.status, answer.problem()["code"]) == (0, 505, "version_refused")
    assert "Use HTTP/1.1 or HTTP/2" in answer.problem()["detail"]
    # Who asks for it in the handshake has no connection.
    answer = curl("--http1.0")
    assert (answer.exit, answer.status) == (35, 0)
    assert "no application protocol" in answer.error
    assert service.saw() == []


@both
def test_an_identity_that_no_rule_allows(curl, service, certificates, protocol):
    for workload in ("shop-marketing", "sandbox-checkout"):
        answer = curl(certificate=certificates / workload, protocol=protocol)
        problem = answer.problem()
        assert (answer.exit, answer.status, problem["code"]) == (0, 403, "policy_denied")
        assert "Ask the service's owner to allow this identity" in problem["detail"]
        # The caller learns its reason; the rule is for the decision log.
        assert "no-sandbox" not in answer.body.decode()
        assert service.saw() == []
    health = curl(path="/healthz", body=None, certificate=certificates / "shop-marketing", protocol=protocol)
    assert (health.status, health.body) == (200, b"ok\n")


# Whose certificate, the alert that curl tells, and the reason in the sidecar's log.
NO_CONNECTION = {
    "nobody": ("certificate required", "certificate_missing"),
    "a stranger": ("unknown ca", "issuer_unknown"),
    "an impostor": ("decrypt error", "signature_invalid"),
}


@both
@pytest.mark.parametrize("who", NO_CONNECTION)
def test_without_a_certificate_that_we_trust_there_is_no_connection(
    curl, service, sidecar, strangers, impostors, protocol, who
):
    alert, reason = NO_CONNECTION[who]
    directory = {"nobody": None, "a stranger": strangers, "an impostor": impostors}[who]
    certificate = directory / "shop-checkout" if directory else ""
    # In TLS 1.3 the caller has sent its request before it hears of the alert; up to 256 KiB of it, that must not cost it
    # the alert.
    for body in [ORDER, ORDER, ORDER, orders.confluent(17, orders.order(lines=10_000))]:
        answer = curl(certificate=certificate, protocol=protocol, body=body)
        assert (answer.exit, answer.status) == (56, 0), answer
        assert f"alert {alert}" in answer.error
    assert sidecar.log.wait(message="TLS handshake failed", reason=reason)["level"] == "INFO"
    assert service.saw() == []


def test_a_caller_that_does_not_trust_us_says_nothing(curl, service, strangers):
    answer = curl(bundle=strangers / "ca.crt")
    assert (answer.exit, answer.status) == (60, 0)
    assert service.saw() == []


def test_plaintext_has_no_answer(curl, service, sidecar):
    answer = curl(url=f"http://localhost:{sidecar.port}")
    # What it gets is a TLS alert, which curl takes for an answer of the nineties.
    assert answer.exit in (1, 52, 56) and answer.status == 0, answer
    assert service.saw() == []
