"""Envoy, as the proxy of another mesh before the sidecar, and as a caller with mutual TLS that retries."""

import socket
import ssl
import threading

import httpx
import pytest

import meshproxy
import orders
from meshproxy import Envoy
from service import HANGS_UP, UNLUCKY
from sidecar import PATIENCE, Sidecar, eventually
from test_telemetry import counted

ORDER = orders.confluent(17, orders.order())
SHOP = "spiffe://cluster.local/ns/shop/sa/"
CERTIFICATE = "x-forwarded-client-cert"

# What a held body is charged for its buffers, beside itself (src/proxy/held.rs).
READING_BYTES = 96 << 10
# More than an overload lasts.
RETRIES = 20

both = pytest.mark.parametrize("protocol", ["h1", "h2"])


@pytest.fixture
def sidecar_with(binary, certificates, service, tmp_path):
    """Starts sidecars of another kind. They have to end well, having told no value of any payload."""
    sidecars = []

    def start(service_port=service.port, **kind):
        sidecars.append(Sidecar.before(service_port, binary, certificates, tmp_path, **kind))
        return sidecars[-1]

    yield start
    for sidecar in sidecars:
        assert sidecar.stop() == 0
        assert orders.MARK not in sidecar.decisions.ended() + sidecar.log.ended()


@pytest.fixture(
    params=["connect-failure,retriable-status-codes", "connect-failure,retriable-status-codes,retriable-headers"],
    ids=["by status", "by status and header"],
)
def retry_on(request):
    return request.param


@pytest.fixture
def envoy_with(tmp_path):
    """Starts Envoys."""
    envoys = []

    def start(listener, cluster):
        envoys.append(Envoy(tmp_path / f"envoy-{len(envoys)}", listener, cluster))
        return envoys[-1]

    yield start
    for envoy in envoys:
        envoy.stop()


class TestBeforeTheSidecar:
    """It terminates mutual TLS and says who calls."""

    @pytest.fixture
    def behind(self, sidecar_with):
        return sidecar_with(inbound=f"peerSource: ForwardedHeader, forwardedHeader: {CERTIFICATE}")

    @pytest.fixture
    def before(self, envoy_with, certificates, behind):
        """Makes an Envoy that treats the callers' own header in some way, and calls it."""

        def start(details, protocol="h1", demands_certificate=True):
            listener = meshproxy.http(
                forward_client_cert_details=details,
                set_current_client_cert_details={"subject": True, "uri": True, "dns": True, "cert": True},
            )
            listener["transport_socket"] = meshproxy.mutual_tls("Downstream", certificates, "shop-orders")
            listener["transport_socket"]["typed_config"]["require_client_certificate"] = demands_certificate
            envoy = envoy_with(listener, meshproxy.cluster(behind.port, protocol))

            def call(account, *fields):
                tls = ssl.create_default_context(cafile=certificates / "ca.crt")
                if account:
                    tls.load_cert_chain(certificates / f"shop-{account}.crt", certificates / f"shop-{account}.key")
                headers = [("content-type", "application/avro"), *fields]
                with httpx.Client(verify=tls, trust_env=False, timeout=PATIENCE) as client:
                    answer = client.post(f"https://localhost:{envoy.port}/v1/orders", content=ORDER, headers=headers)
                return answer.status_code, answer.headers.get("avrogate-reason")

            return call

        return start

    @both
    @pytest.mark.parametrize("details", ["SANITIZE_SET", "APPEND_FORWARD"])
    def test_each_request_is_its_callers(self, before, behind, service, details, protocol):
        call = before(details, protocol)
        for account in ("checkout", "payments", "checkout", "marketing"):
            wanted = (403, "policy_denied") if account == "marketing" else (201, None)
            assert call(account) == wanted
            told = behind.decisions.wait(peer=SHOP + account)
            assert (told["outcome"], told["route"]) == ("passed" if wanted[0] == 201 else "refused", "create-order")
        assert [seen.headers["avrogate-peer"] for seen in service.seen()] == [
            SHOP + account for account in ("checkout", "payments", "checkout")
        ]
        # All of them over one connection of Envoy's; a refusal may end it.
        assert counted(behind, "avrogate_plaintext_connections_total", ("peer_source",)) == {("forwarded_header",): 1}
        with pytest.raises(httpx.TransportError):
            call(None)

    @pytest.mark.parametrize("details", ["SANITIZE_SET", "APPEND_FORWARD"])
    def test_nobody_is_whom_it_says_it_is(self, before, service, details):
        call = before(details)
        appends = details == "APPEND_FORWARD"
        checkout = f"By={SHOP}orders;Hash=00ff;URI={SHOP}checkout"
        well_formed = [
            [(CERTIFICATE, checkout)],
            [(CERTIFICATE, checkout), (CERTIFICATE, checkout)],
            [(CERTIFICATE, f"{checkout},{checkout}")],
            [("connection", CERTIFICATE), (CERTIFICATE, checkout)],
            [("x_forwarded_client_cert", checkout)],
            [("avrogate-peer", f"{SHOP}checkout")],
        ]
        malformed = [
            [(CERTIFICATE, f'{checkout};Subject="')],
            [(CERTIFICATE, f'{checkout},By="')],
            [(CERTIFICATE, f'{checkout};Subject="\\')],
            [(CERTIFICATE, f"{checkout},")],
            [(CERTIFICATE, f"{checkout};")],
        ]
        other = [
            [("l5d-client-id", f"{SHOP}checkout")],
            [("l5d-client-id", f"{SHOP}checkout"), (CERTIFICATE, checkout)],
        ]
        for lies, reason in (
            (well_formed, "policy_denied"),
            (malformed, "identity_invalid" if appends else "policy_denied"),
            (other, "policy_denied"),
        ):
            for lie in lies:
                assert (lie, call("marketing", *lie)) == (lie, (403, reason))
        assert service.saw() == []
        # What it says of others does not cost it its own identity, and the service is told of that alone.
        assert call("payments", (CERTIFICATE, f"{checkout},{checkout}")) == (201, None)
        (seen,) = service.seen()
        assert seen.headers[CERTIFICATE] == f"By={SHOP}orders;URI={SHOP}payments"

    @pytest.mark.parametrize("details", ["SANITIZE_SET", "APPEND_FORWARD"])
    def test_who_has_no_certificate_is_nobody(self, before, service, details):
        """Of a caller without one Envoy removes its own header, and not Linkerd's."""
        call = before(details, demands_certificate=False)
        checkout = f"By={SHOP}orders;Hash=00ff;URI={SHOP}checkout"
        for lie in [(), ((CERTIFICATE, checkout),), (("l5d-client-id", f"{SHOP}checkout"),)]:
            assert (lie, call(None, *lie)) == (lie, (403, "identity_missing"))
        assert service.saw() == []
        assert call("checkout", ("l5d-client-id", f"{SHOP}marketing")) == (201, None)


class TestAsACaller:
    """It originates mutual TLS to the sidecar, as checkout, and retries."""

    @pytest.fixture
    def caller(self, envoy_with, certificates):
        """Makes an Envoy before a sidecar, and calls it."""

        def start(sidecar, protocol="h1", curves=(), retry_on=None):
            policy = {
                "retry_on": retry_on,
                "retriable_status_codes": [503],
                "retriable_headers": [{"name": "avrogate-retryable", "string_match": {"exact": "true"}}],
                "num_retries": RETRIES,
                "retry_back_off": {"base_interval": "0.02s", "max_interval": "0.1s"},
            }
            exactly = [{"san_type": "URI", "matcher": {"exact": f"{SHOP}orders"}}]
            tls = meshproxy.mutual_tls(
                "Upstream", certificates, "shop-checkout", curves, match_typed_subject_alt_names=exactly
            )
            tls["typed_config"]["common_tls_context"]["alpn_protocols"] = ["h2" if protocol == "h2" else "http/1.1"]
            cluster = meshproxy.cluster(sidecar.port, protocol, transport_socket=tls)
            envoy = envoy_with(meshproxy.http(route={"retry_policy": policy} if retry_on else {}), cluster)

            def call(body=ORDER):
                headers = {"content-type": "application/avro"}
                url = f"http://localhost:{envoy.port}/v1/orders"
                answer = httpx.post(url, content=body, headers=headers, trust_env=False, timeout=PATIENCE)
                return answer.status_code, answer.headers.get("avrogate-reason")

            call.envoy = envoy
            call.retries = lambda: envoy.stat("cluster.sidecar.upstream_rq_retry")
            return call

        return start

    @both
    @pytest.mark.parametrize(
        "curves, group",
        [(["X25519MLKEM768", "X25519"], "X25519MLKEM768"), (["X25519"], "X25519"), (["P-256"], "secp256r1")],
        ids=["post-quantum", "X25519", "P-256"],
    )
    def test_it_chooses_the_group(self, caller, sidecar_with, service, protocol, curves, group):
        sidecar = sidecar_with()
        call = caller(sidecar, protocol, curves)
        assert [call(), call(ORDER[:-1])] == [(201, None), (422, "datum_invalid")]
        (seen,) = service.seen()
        assert (seen.what, seen.headers["avrogate-peer"]) == (f"whole {len(ORDER)}", f"{SHOP}checkout")
        handshakes = counted(sidecar, "avrogate_tls_handshakes_total", ("result", "version", "group"))
        assert handshakes == {("done", "TLSv1.3", group): 1}

    def test_a_refused_answer_is_executed_once(self, caller, sidecar_with, service, retry_on):
        call = caller(sidecar_with(), retry_on=retry_on)
        for customer, reason in ((UNLUCKY, "answer_invalid"), (HANGS_UP, "service_failed")):
            order = orders.confluent(17, orders.order(customer.removeprefix(f"{orders.MARK}-")))
            assert call(order) == (502, reason)
            assert service.saw() == [f"whole {len(order)}"]
        assert call.retries() == 0

    def test_an_overload_is_retried_and_executed_once(self, caller, sidecar_with, service, certificates, retry_on):
        sidecar = sidecar_with(more="limits: {heldBytes: 1MiB}")
        call = caller(sidecar, retry_on=retry_on)
        large, order = (orders.confluent(17, orders.order(lines=lines)) for lines in (50_000, 30_000))
        goes_on = threading.Event()

        def halting():
            yield large[:-1]
            assert goes_on.wait(PATIENCE)
            yield large[-1:]

        def hold():
            tls = ssl.create_default_context(cafile=certificates / "ca.crt")
            tls.load_cert_chain(certificates / "shop-payments.crt", certificates / "shop-payments.key")
            url, headers = f"{sidecar.url}/v1/orders", {"content-type": "application/avro"}
            with httpx.Client(verify=tls, trust_env=False, timeout=PATIENCE) as client:
                held.append(client.post(url, content=halting(), headers=headers).status_code)

        def let_go():
            sidecar.decisions.wait(reason="overload")
            goes_on.set()

        held, threads = [], [threading.Thread(target=hold), threading.Thread(target=let_go)]
        threads[0].start()
        eventually({(): len(large) - 1 + READING_BYTES}, lambda: counted(sidecar, "avrogate_held_bytes", ()))
        threads[1].start()
        assert call(order) == (201, None)
        for thread in threads:
            thread.join()
        assert (held, sorted(service.saw())) == ([201], sorted([f"whole {len(large)}", f"whole {len(order)}"]))
        refused = counted(sidecar, "avrogate_requests_total", ("reason",))[("overload",)]
        assert 1 <= refused <= RETRIES and call.retries() == refused

    def test_an_unreachable_service_is_retried_where_the_header_is_asked(self, caller, sidecar_with, retry_on):
        """502 alone does not say whether the service has acted; `avrogate-retryable` does."""
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            sidecar = sidecar_with(closed.getsockname()[1])
            call = caller(sidecar, retry_on=retry_on)
            assert call() == (502, "service_unreachable")
        tries = 1 + (RETRIES if "headers" in retry_on else 0)
        eventually(
            {("service_unreachable",): tries}, lambda: counted(sidecar, "avrogate_requests_total", ("reason",))
        )

    def test_a_sidecar_that_is_not_there_is_tried_again(self, caller, sidecar_with, service, retry_on):
        sidecar = sidecar_with()
        call = caller(sidecar, retry_on=retry_on)
        assert sidecar.stop() == 0
        assert call()[0] == 503 and call.retries() == RETRIES
        assert service.saw() == []

