"""Confluent's own serializer and registry client write the orders; the registry is theirs too, in memory."""

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

import orders


@pytest.fixture(scope="module")
def registry():
    """A registry that gives the ids of deploy/example: it numbers from 1, and other schemas came before."""
    registry = SchemaRegistryClient.new_client({"url": "mock://peers"})
    published = {17: "orders-value", 18: "orders-value", 21: "refunds-value"}
    for id in range(1, max(published) + 1):
        subject = published.get(id, f"another-{id}")
        text = written(id) if id in published else '"long"'
        assert registry.register_schema(subject, Schema(text, "AVRO")) == id
    return registry


def written(id):
    path = {17: "orders-value/1.avsc", 18: "orders-value/2.avsc", 21: "refunds-value/1.avsc"}[id]
    # The serializer strips what it looks up.
    return (orders.EXAMPLE / "schemas" / path).read_text().strip()


def serialized(registry, id, value, **config):
    topic = "refunds" if id == 21 else "orders"
    conf = {"auto.register.schemas": False, **config}
    serializer = AvroSerializer(registry, written(id), conf=conf)
    headers = {}
    return serializer(value, SerializationContext(topic, MessageField.VALUE, headers))


@pytest.mark.parametrize("protocol", ["h1", "h2"])
@pytest.mark.parametrize("id", [17, 18])
def test_an_order_of_the_official_serializer_passes(caller, service, registry, protocol, id):
    body = serialized(registry, id, orders.order())
    assert body[:5] == bytes([0, 0, 0, 0, id])
    answer = caller(protocol=protocol).post("/v1/orders", content=body)
    assert (answer.status_code, orders.read_accepted(answer.content)["lines"]) == (201, 2)
    assert service.saw() == [f"whole {len(body)}"]


def test_a_refund_passes_from_payments_alone(caller, service, registry):
    body = serialized(registry, 21, orders.REFUND)
    assert caller("shop-payments").post("/v1/orders", content=body).status_code == 201
    assert service.saw() == [f"whole {len(body)}"]
    answer = caller("shop-checkout").post("/v1/orders", content=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "schema_not_allowed")
    assert (problem["subject"], problem["version"]) == ("refunds-value", 1)
    assert service.saw() == []


def test_an_id_that_nobody_published_here_is_refused(caller, service, registry):
    body = serialized(registry, 17, orders.order())
    answer = caller().post("/v1/orders", content=b"\0" + (20).to_bytes(4, "big") + body[5:])
    assert (answer.status_code, answer.json()["code"]) == (422, "schema_unknown")
    assert "schema id 20" in answer.json()["detail"]
    assert service.saw() == []


def test_a_schema_id_in_a_kafka_header_is_no_framing_of_http(caller, service, registry):
    """In header mode the payload is a bare datum, and this route's contract wants a prefix."""
    config = {"schema.id.serializer": header_schema_id_serializer}
    body = serialized(registry, 17, orders.order(), **config)
    assert body == orders.datum(17, orders.order())
    answer = caller().post("/v1/orders", content=body)
    assert (answer.status_code, answer.json()["code"]) == (415, "framing_invalid")
    assert "Confluent (00 and the schema's id in four bytes) or SingleObject" in answer.json()["detail"]
    assert service.saw() == []
