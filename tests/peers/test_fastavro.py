"""fastavro writes the orders and reads the answers; httpx carries them over HTTP/1.1 and HTTP/2."""

import pytest

import orders
from service import HANGS_UP, UNLUCKY

BODIES = {
    "confluent-1": orders.confluent(17, orders.order()),
    "confluent-2": orders.confluent(18, orders.order(coupon="s3cr3t-coupon")),
    "single-object-1": orders.single_object(17, orders.order()),
    "single-object-2": orders.single_object(18, orders.order(coupon="s3cr3t-coupon")),
}
VERSION = {"h1": "HTTP/1.1", "h2": "HTTP/2"}

both = pytest.mark.parametrize("protocol", ["h1", "h2"])
every = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)


@both
@every
def test_an_order_passes_and_its_answer_is_read(caller, service, protocol, body):
    answer = caller(protocol=protocol).post("/v1/orders", content=body)
    assert (answer.status_code, answer.http_version) == (201, VERSION[protocol])
    accepted = orders.read_accepted(answer.content)
    assert (accepted["id"], accepted["lines"]) == ("s3cr3t-o-4711", 2)
    assert service.saw() == [f"whole {len(body)}"]


@both
@every
def test_cut_at_every_byte_it_never_reaches_the_service(caller, service, protocol, body):
    client = caller(protocol=protocol)
    for cut in range(len(body)):
        answer = client.post("/v1/orders", content=body[:cut])
        assert (answer.status_code, answer.headers["avrogate-reason"]) == (422, "datum_invalid"), cut
        problem = answer.json()
        assert (problem["fault"], problem["offset"]) == ("truncated", cut), problem
    assert service.saw() == []
    assert client.post("/v1/orders", content=body).status_code == 201


@both
def test_a_body_in_single_bytes_passes(caller, service, protocol):
    body = BODIES["confluent-1"]
    answer = caller(protocol=protocol).post("/v1/orders", content=(bytes([byte]) for byte in body))
    assert answer.status_code == 201
    assert service.saw() == [f"whole {len(body)}"]


def test_an_order_of_many_kilobytes_passes(caller, service):
    body = orders.confluent(17, orders.order(lines=10_000))
    answer = caller(protocol="h2").post("/v1/orders", content=body)
    assert (answer.status_code, orders.read_accepted(answer.content)["lines"]) == (201, 10_000)
    assert service.saw() == [f"whole {len(body)}"]


def test_whatever_passes_fastavro_can_read(caller, service):
    """Every byte of an order becomes other ones. Most are refused; fastavro reads every one that is not."""
    client, body = caller(protocol="h2"), BODIES["confluent-1"]
    passed = refused = 0
    for at, was in enumerate(body[5:], 5):
        for byte in {0x00, 0x01, 0x02, 0x7F, 0x80, 0xFF, was ^ 0x02, was ^ 0x20} - {was}:
            answer = client.post("/v1/orders", content=body[:at] + bytes([byte]) + body[at + 1 :])
            if answer.status_code == 201:
                passed += 1
                assert service.saw() == [f"whole {len(body)}"], (at, byte)
            else:
                refused += 1
                assert answer.status_code == 422 and answer.json()["code"] == "datum_invalid", (at, byte, answer.text)
                assert service.saw() == [], (at, byte)
    print(f"{passed} passed, {refused} refused")
    assert min(passed, refused) > 100


@both
def test_bytes_behind_the_datum_are_refused(caller, service, protocol):
    body = BODIES["confluent-1"] + b"\0"
    answer = caller(protocol=protocol).post("/v1/orders", content=body)
    assert (answer.status_code, answer.json()["fault"], answer.json()["offset"]) == (
        422,
        "trailing_bytes",
        len(body) - 1,
    )
    assert service.saw() == []


@both
def test_half_an_answer_never_reaches_the_caller(caller, service, protocol):
    body = orders.confluent(17, {**orders.order(), "customer": UNLUCKY})
    answer = caller(protocol=protocol).post("/v1/orders", content=body)
    assert (answer.status_code, answer.json()["code"]) == (502, "answer_invalid")
    assert answer.headers["avrogate-retryable"] == "false"
    assert "Do not retry" in answer.json()["detail"]
    assert service.saw() == [f"whole {len(body)}"]


def test_a_service_that_hangs_up_is_told_apart(caller, service):
    body = orders.confluent(17, {**orders.order(), "customer": HANGS_UP})
    answer = caller().post("/v1/orders", content=body)
    assert (answer.status_code, answer.json()["code"]) == (502, "service_failed")
    assert answer.headers["avrogate-retryable"] == "false"


def test_the_service_learns_who_calls_from_the_certificate_alone(caller, service):
    forged = "spiffe://cluster.local/ns/shop/sa/admin"
    names = ["x-forwarded-client-cert", "X_Forwarded_Client_Cert", "l5d-client-id", "avrogate-peer", "Avrogate_Peer"]
    headers = [(name, forged) for name in names] + [("connection", "avrogate-peer, x-forwarded-client-cert")]
    assert caller().post("/v1/orders", content=BODIES["confluent-1"], headers=headers).status_code == 201
    (seen,) = service.seen()
    assert forged not in str(seen.headers)
    assert seen.headers["avrogate-peer"] == "spiffe://cluster.local/ns/shop/sa/checkout"
    assert seen.headers["x-forwarded-client-cert"].endswith("URI=spiffe://cluster.local/ns/shop/sa/checkout")
    assert "By=spiffe://cluster.local/ns/shop/sa/orders;Hash=" in seen.headers["x-forwarded-client-cert"]


def test_a_dry_route_passes_what_it_would_refuse(caller, service):
    body = orders.confluent(18, orders.order())[:-1]
    answer = caller().post("/v2/orders", content=body)
    assert answer.status_code == 500  # the service's own word: it could not read the order
    (saw,) = service.saw()
    assert saw.startswith(f"unreadable {len(body)}: ")
