"""Orders, refunds and what the service answers, written and read by fastavro."""

import io
import json
import struct
from decimal import Decimal
from pathlib import Path

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "example"

# In every text of every payload, so that a log that tells one is found out.
MARK = "s3cr3t"


def _load(path):
    return json.loads((EXAMPLE / "schemas" / path).read_text())


# By registry id, as deploy/example/schemas/catalog.yaml has them.
WRITTEN = {17: _load("orders-value/1.avsc"), 18: _load("orders-value/2.avsc"), 21: _load("refunds-value/1.avsc")}
SCHEMAS = {id: fastavro.parse_schema(schema) for id, schema in WRITTEN.items()}
ACCEPTED = fastavro.parse_schema(_load("orders-accepted/1.avsc"))


def _plain(schema):
    """The schema without logical types: on the wire they change nothing, but fastavro has no date for every long."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema


_PLAIN = {id: fastavro.parse_schema(_plain(schema)) for id, schema in WRITTEN.items()}


def crc64(schema):
    """The fingerprint of single-object encoding, little-endian; fastavro tells it in that order, in hexadecimal."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO"))


def order(customer="alice", lines=2, coupon=None):
    """An order; of version 2, since fastavro leaves out what version 1 does not have."""
    line = {"sku": f"{MARK}-sku", "quantity": 2, "price": Decimal("19.99"), "status": "NEW"}
    return {
        "id": f"{MARK}-o-4711",
        "customer": f"{MARK}-{customer}",
        "placed_at": 1_795_000_000_000,
        "currency": "EUR",
        "lines": [line] * lines,
        "note": f"{MARK}-note",
        "coupon": coupon,
    }


REFUND = {"order": f"{MARK}-o-4711", "amount": Decimal("19.99"), "reason": None}


def datum(id, value):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMAS[id], value)
    return out.getvalue()


def confluent(id, value):
    """Confluent's framing: a zero byte, the registry id, the datum."""
    return struct.pack(">bI", 0, id) + datum(id, value)


def single_object(id, value):
    """Avro's single-object encoding."""
    return b"\xc3\x01" + crc64(SCHEMAS[id]) + datum(id, value)


def read(body):
    """What a body holds, in either framing. Every byte of it has to belong to the datum."""
    if body[:1] == b"\0":
        id, length = struct.unpack(">I", body[1:5])[0], 5
    else:
        length = 10
        id = next(id for id, schema in SCHEMAS.items() if body[:length] == b"\xc3\x01" + crc64(schema))
    rest = io.BytesIO(body[length:])
    value = fastavro.schemaless_reader(rest, _PLAIN[id])
    if rest.read(1):
        raise ValueError("bytes behind the datum")
    return value


def accepted(id, lines):
    """The service's answer, in single-object encoding."""
    out = io.BytesIO(b"\xc3\x01" + crc64(ACCEPTED))
    out.seek(0, io.SEEK_END)
    fastavro.schemaless_writer(out, ACCEPTED, {"id": id, "lines": lines, "accepted_at": 1_795_000_000_000})
    return out.getvalue()


def read_accepted(body):
    """The answer, as its caller reads it."""
    assert body[:10] == b"\xc3\x01" + crc64(ACCEPTED), body[:10].hex()
    rest = io.BytesIO(body[10:])
    value = fastavro.schemaless_reader(rest, ACCEPTED)
    assert not rest.read(1)
    return value
