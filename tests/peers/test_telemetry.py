"""What operators read: metrics, by Prometheus' own parser and linter, and the decision log."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import orders
from sidecar import PATIENCE, Sidecar, eventually

ALERTS = orders.EXAMPLE.parent / "alerts.yaml"
DASHBOARD = orders.EXAMPLE.parent / "grafana.json"
ALERTS_TEST = pathlib.Path(__file__).parent / "alerts.test.yaml"
ORDER = orders.confluent(17, orders.order())
NEXT = orders.confluent(18, orders.order())


def counted(sidecar, name, by):
    """The values of a counter, summed by some of its labels."""
    status, page = sidecar.page("/metrics")
    assert status == 200
    sums = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == name and sample.value:
                key = tuple(sample.labels[label] for label in by)
                sums[key] = sums.get(key, 0) + int(sample.value)
    return sums


@pytest.fixture
def fresh(binary, certificates, stage_service, tmp_path):
    """A sidecar that has counted nothing yet."""
    sidecar = Sidecar.before(stage_service.port, binary, certificates, tmp_path)
    yield sidecar
    assert sidecar.stop() == 0


def test_metrics_tell_what_was_sent(caller, fresh):
    wanted = {
        ("avrogate_requests_total", ("outcome", "reason", "status", "route")): {
            ("passed", "_none", "201", "create-order"): 3,
            ("refused", "datum_invalid", "422", "create-order"): 2,
            ("refused", "policy_denied", "403", "create-order"): 1,
            ("refused", "route_unknown", "404", "_none"): 1,
            ("passed", "_none", "500", "create-order-next"): 1,
        },
        ("avrogate_validations_total", ("side", "framing", "subject", "result", "mode")): {
            ("request", "Confluent", "orders-value", "kept", "enforce"): 2,
            ("request", "SingleObject", "orders-value", "kept", "enforce"): 1,
            ("response", "SingleObject", "orders-accepted", "kept", "enforce"): 3,
            ("request", "Confluent", "orders-value", "broken", "enforce"): 2,
            ("request", "Confluent", "orders-value", "broken", "dry_run"): 1,
        },
        ("avrogate_violations_total", ("side", "route", "fault")): {
            ("request", "create-order", "truncated"): 1,
            ("request", "create-order", "trailing_bytes"): 1,
            ("request", "create-order-next", "truncated"): 1,
        },
        ("avrogate_authorizations_total", ("rule", "peer", "decision")): {
            ("checkout-may-order", "spiffe://cluster.local/ns/shop/sa/checkout", "allowed"): 5,
            ("_none", "spiffe://cluster.local/ns/shop/sa/marketing", "denied"): 1,
            ("_none", "spiffe://cluster.local/ns/shop/sa/checkout", "denied"): 1,
            ("checkout-may-order-next", "spiffe://cluster.local/ns/shop/sa/checkout", "allowed"): 1,
        },
        ("avrogate_would_refuse_total", ("route", "reason")): {("create-order-next", "datum_invalid"): 1},
        ("avrogate_validated_bytes_total", ("side", "route")): {
            ("request", "create-order"): 4 * len(ORDER) + len(orders.single_object(17, orders.order())),
            ("request", "create-order-next"): len(NEXT) - 1,
            ("response", "create-order"): 3 * len(orders.accepted("s3cr3t-o-4711", 2)),
        },
    }

    def post(body, path="/v1/orders", workload="shop-checkout"):
        caller(workload, sidecar=fresh).post(path, content=body)

    post(ORDER), post(ORDER), post(orders.single_object(17, orders.order()))
    post(ORDER[:-1]), post(ORDER + b"\0")
    post(ORDER, workload="shop-marketing"), post(ORDER, path="/nowhere")
    post(NEXT[:-1], path="/v2/orders")
    eventually(wanted, lambda: {name: counted(fresh, *name) for name in wanted})


def test_metrics_tell_handshakes(fresh, certificates, strangers):
    for directory in (certificates, None, strangers):
        options = (
            ["--cert", directory / "shop-checkout.crt", "--key", directory / "shop-checkout.key"] if directory else []
        )
        called = subprocess.run(
            ["curl", "-qsk", "--noproxy", "*", *options, fresh.url], capture_output=True, timeout=PATIENCE
        )
        assert (called.returncode == 0) == (directory == certificates)
    wanted = {("done", "_none"): 1, ("failed", "certificate_missing"): 1, ("failed", "issuer_unknown"): 1}
    eventually(wanted, lambda: counted(fresh, "avrogate_tls_handshakes_total", ("result", "reason")))


@pytest.fixture
def promtool():
    """Prometheus' own tool: its exit code and its words."""
    found = shutil.which("promtool")
    if found is None:
        assert "CI" not in os.environ, ".ci/run installs promtool"
        pytest.skip("no promtool: Debian has it in the package prometheus")

    def run(*arguments, input=None):
        ran = subprocess.run([found, *arguments], input=input, capture_output=True, text=True, timeout=PATIENCE)
        return ran.returncode, ran.stdout + ran.stderr

    return run


def test_promtool_has_nothing_to_say(caller, sidecar, promtool):
    caller().post("/v1/orders", content=ORDER)
    caller().post("/v1/orders", content=ORDER[:-1])
    caller().post("/v2/orders", content=NEXT[:-1])
    _, page = sidecar.page("/metrics")
    assert promtool("check", "metrics", input=page) == (0, "")


def test_alerts_fire_when_they_should(promtool):
    code, said = promtool("check", "rules", ALERTS)
    assert code == 0, said
    code, said = promtool("test", "rules", ALERTS_TEST)
    assert code == 0, said
    fired = set(re.findall(r"alertname: (\w+)\n", ALERTS_TEST.read_text()))
    assert fired == {rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]}


def dashboard():
    """What the panels of the dashboard ask, with its variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    return [expression.replace("$__rate_interval", "5m").replace("$job", ".*") for expression in asked]


def test_the_dashboard_asks_what_prometheus_understands(promtool, tmp_path):
    rules = [{"record": f"panel:{nth}", "expr": expression} for nth, expression in enumerate(dashboard())]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, said = promtool("check", "rules", tmp_path / "rules.yaml")
    assert code == 0 and f"{len(rules)} rules found" in said, said


def test_alerts_and_dashboard_name_metrics_that_are_there(caller, sidecar):
    caller().post("/v2/orders", content=NEXT[:-1])
    caller().post("/v1/orders", content=ORDER[:-1])
    caller("shop-marketing").post("/v1/orders", content=ORDER)
    _, page = sidecar.page("/metrics")
    there = {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}
    for text in [ALERTS.read_text(), *dashboard()]:
        assert set(re.findall(r"\b(?:avrogate|process)_\w+", text)) <= there


def test_the_decision_log_has_a_line_for_each(caller, service, sidecar):
    cases = [
        ("peers-passed", ORDER, "shop-checkout", {"outcome": "passed", "status": 201, "rule": "checkout-may-order"}),
        ("peers-cut", ORDER[:-1], "shop-checkout", {"outcome": "refused", "reason": "datum_invalid", "status": 422}),
        (
            "peers-denied",
            ORDER,
            "sandbox-checkout",
            {"outcome": "refused", "reason": "policy_denied", "rule": "no-sandbox"},
        ),
    ]
    for id, body, workload, wanted in cases:
        caller(workload).post("/v1/orders", content=body, headers={"x-request-id": id})
        line = sidecar.decisions.wait(request_id=id)
        assert {key: line.get(key) for key in wanted} == wanted
        assert (line["route"], line["method"], line["generation"]) == ("create-order", "POST", 1)
        assert line["peer"] == "spiffe://cluster.local/ns/{}/sa/{}".format(*workload.split("-"))
    cut = sidecar.decisions.wait(request_id="peers-cut")["request"]
    assert (cut["fault"], cut["offset"], cut["bytes"]) == ("truncated", len(ORDER) - 1, len(ORDER) - 1)
    assert (cut["subject"], cut["version"], cut["framing"]) == ("orders-value", 1, "Confluent")
    assert cut["fingerprint"] == orders.crc64(orders.SCHEMAS[17])[::-1].hex()
    for line in sidecar.decisions.text().splitlines():
        json.loads(line)
    # The page has the same refusals, the newest first.
    status, page = sidecar.page("/decisions")
    assert status == 200 and json.loads(page)[0] == sidecar.decisions.wait(request_id="peers-denied")


def test_no_value_of_a_payload_is_told(caller, service, sidecar):
    """Every byte of an order wrong in turn, and still no log, page or answer quotes it."""
    assert orders.MARK.encode() in ORDER
    for at in range(5, len(ORDER)):
        answer = caller().post("/v1/orders", content=ORDER[:at] + b"\xff" + ORDER[at + 1 :])
        assert answer.status_code == 201 or orders.MARK not in answer.text
    told = [sidecar.page(page)[1] for page in ("/metrics", "/decisions", "/config", "/policy", "/schemas", "/certs")]
    for text in [*told, sidecar.decisions.text(), sidecar.log.text()]:
        assert orders.MARK not in text


def test_the_admin_pages_answer(sidecar):
    assert sidecar.page("/live") == (200, "live\n")
    assert sidecar.page("/ready") == (200, "ready\n")
    schemas = json.loads(sidecar.page("/schemas")[1])
    assert "orders-value" in json.dumps(schemas)
    status, explained = sidecar.page(
        "/policy/explain?from=spiffe://cluster.local/ns/shop/sa/marketing&method=POST&path=/v1/orders"
    )
    assert status == 200 and "create-order" in explained
