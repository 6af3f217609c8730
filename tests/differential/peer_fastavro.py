"""fastavro as a peer: see `peers.py` for the protocol."""

import io
import json
import math
import resource
import struct
import sys

import fastavro
from fastavro import _read


def main():
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    sys.setrecursionlimit(10_000)
    # Values as the wire has them: what a logical type makes of them is not compared.
    _read.LOGICAL_READERS.clear()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            written = json.loads(asked["schema"])
            schema = fastavro.parse_schema(written)
            named = {}
            fastavro.schema.parse_schema(written, named_schemas=named)
        except Exception as error:
            print(json.dumps({"refused": repr(error)[:200]}), flush=True)
            continue
        results = [judge(bytes.fromhex(data), schema, named) for data in asked["data"]]
        print(json.dumps({"results": results}), flush=True)


def judge(data, schema, named):
    body = io.BytesIO(data)
    try:
        value = fastavro.schemaless_reader(body, schema, None, return_named_type=True)
    except Exception:
        return "reject"
    return "trailing" if body.tell() < len(data) else {"value": shown(value, schema, named)}


def shown(value, schema, named):
    if isinstance(schema, list):
        return branch(value, schema, named)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind in ("record", "error"):
        return {"#": [shown(value[field["name"]], field["type"], named) for field in schema["fields"]]}
    if kind == "array":
        return [shown(item, schema["items"], named) for item in value]
    if kind == "map":
        return {key.encode().hex(): shown(inner, schema["values"], named) for key, inner in value.items()}
    if isinstance(kind, str) and kind in named:
        return shown(value, named[kind], named)
    if isinstance(kind, (dict, list)):
        return shown(value, kind, named)
    return simple(value)


def branch(value, branches, named):
    """A named type comes with its name; of arrays and of maps a union has one each."""
    if isinstance(value, tuple):
        return shown(value[1], named[value[0]], named)
    for word, python in (("array", list), ("map", dict)):
        if isinstance(value, python):
            return shown(value, next(of for of in branches if isinstance(of, dict) and of["type"] == word), named)
    return simple(value)


def simple(value):
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return "nan" if math.isnan(value) else "n" + struct.pack(">d", value).hex()
    return "x" + value.hex() if isinstance(value, bytes) else "s" + value.encode().hex()


main()
