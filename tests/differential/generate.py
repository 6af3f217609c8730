"""Schemas, data of them, and what damage does to data: all from one `random.Random`."""

import struct

TEXTS = ["", "a", "abc", "é", "日本語", "a😀b", "x" * 31, "ü" * 40, "\0", "ab" * 70]
EDGES = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 2**31 - 1, -(2**31), 2**31, 2**53, -(2**53), 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.5, -2.75, float("inf"), float("-inf"), float("nan"), 1e-40, 3.4e38]
UUID = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"

# Where a type may carry a logical type. `uuid` is on text alone: apache-avro takes 16 bytes for another form of it.
LOGICAL = {
    "int": ["date", "time-millis"],
    "long": ["time-micros", "timestamp-millis", "timestamp-micros", "local-timestamp-micros"],
    "string": ["uuid"],
    "bytes": ["decimal"],
}


class Schemas:
    """Writes one random schema. Every record can end: what refers to an open record stands in an array, in a map or in
    a later branch of a union."""

    def __init__(self, random):
        self.random = random
        self.count = 0
        self.done = []
        self.open = []
        # Some peers refuse a fixed of no bytes, and with it the whole schema.
        self.odd = random.random() < 0.15

    def root(self):
        return self.complex(0) if self.random.random() < 0.9 else self.any(0)

    def any(self, depth, guarded=False):
        return self.complex(depth, guarded) if self.random.random() < 0.45 and depth < 5 else self.simple(guarded)

    def simple(self, guarded):
        kinds = ["null", "boolean", "int", "long", "float", "double", "bytes", "string", "string", "long"]
        kind = self.random.choice([*kinds, "enum", "fixed", "done", "open"])
        if kind == "enum":
            symbols = [f"S{at}" for at in range(self.random.choice([1, 2, 3, 64, 65]))]
            return self.named({"type": "enum", "symbols": symbols})
        if kind == "fixed":
            sizes = [1, 2, 4, 12, 16, 33] + [0] * self.odd
            size = self.random.choice(sizes)
            fixed = {"type": "fixed", "size": size}
            if size == 12 and self.random.random() < 0.5:
                fixed["logicalType"] = "duration"
            return self.named(fixed)
        if kind == "done":
            return self.random.choice(self.done) if self.done else "string"
        if kind == "open":
            return self.random.choice(self.open) if self.open and guarded else "int"
        if kind in LOGICAL and self.random.random() < 0.15:
            logical = self.random.choice(LOGICAL[kind])
            more = {"precision": 9, "scale": 2} if logical == "decimal" else {}
            return {"type": kind, "logicalType": logical, **more}
        return kind

    def complex(self, depth, guarded=False):
        kind = self.random.choice(["array", "map", "union", "union", "record", "record", "record"])
        if kind == "array":
            return {"type": "array", "items": self.any(depth + 1, True)}
        if kind == "map":
            return {"type": "map", "values": self.any(depth + 1, True)}
        if kind == "union":
            return self.union(depth, guarded)
        count = self.random.choice([1, 1, 2, 3, 5, 9] + [0] * self.odd)
        record = self.named({"type": "record", "fields": []}, done=False)
        name = record["name"]
        self.open.append(name)
        record["fields"] = [{"name": f"f{at}", "type": self.any(depth + 1)} for at in range(count)]
        self.open.remove(name)
        self.done.append(name)
        return record

    def union(self, depth, guarded):
        branches, kinds = [], set()
        if self.random.random() < 0.5:
            branches, kinds = ["null"], {"null"}
        for at in range(self.random.choice([1, 1, 2, 4])):
            # A record that refers to itself needs a branch before it that does not.
            branch = self.any(depth + 1, guarded or len(branches) > 0)
            kind = branch.get("name", branch["type"]) if isinstance(branch, dict) else str(branch)
            if isinstance(branch, list) or kind in kinds:
                if isinstance(branch, str):
                    continue
                # What it keeps may refer to what is still open, so nothing else may refer to it.
                wrapped = self.named({"type": "record", "fields": [{"name": "kept", "type": branch}]}, done=False)
                kind, branch = wrapped["name"], wrapped
            kinds.add(kind)
            branches.append(branch)
        return branches or ["null"]

    def named(self, definition, done=True):
        self.count += 1
        name = f"N{self.count}"
        if done:
            self.done.append(name)
        return {"name": name, **definition}


class Marks:
    """Bytes, and where in them numbers, texts and booleans stand: `(at, length, what, value)`."""

    def __init__(self):
        self.bytes = bytearray()
        self.marks = []

    def put(self, some, what, value=None):
        self.marks.append((len(self.bytes), len(some), what, value))
        self.bytes += some

    def append(self, other):
        base = len(self.bytes)
        self.marks += [(base + at, length, what, value) for at, length, what, value in other.marks]
        self.bytes += other.bytes


class Data:
    """Writes random data of a schema, as any writer may: several blocks, with or without sizes, needless bytes."""

    def __init__(self, random):
        self.random = random
        self.overlong = random.random() < 0.2
        self.deep = random.choice([3, 5, 8, 8, 70])
        self.wide = random.choice([3, 3, 5, 40])
        # Values that are still to come; behind the last, all ends as soon as it can.
        self.left = 500

    def write(self, node):
        marks = Marks()
        self.value(node, marks, 0)
        return marks

    def number(self, marks, value, what):
        data = varint(value)
        if self.overlong and self.random.random() < 0.2:
            most = 5 if what in ("int", "index") else 10
            data = overlong(data, self.random.randint(len(data), most))
        marks.put(data, what, value)

    def edge(self, bits):
        value = self.random.choice(EDGES) if self.random.random() < 0.5 else self.random.randint(-200, 200)
        return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))

    def value(self, node, marks, depth):
        random = self.random
        self.left -= 1
        if self.left < 0:
            self.deep = 0
        match node.kind:
            case "boolean":
                marks.put(bytes([random.randint(0, 1)]), "boolean")
            case "int":
                self.number(marks, self.edge(32), "int")
            case "long":
                self.number(marks, self.edge(64), "long")
            case "float":
                marks.put(struct.pack("<f", random.choice(FLOATS)), "float")
            case "double":
                marks.put(struct.pack("<d", random.choice(FLOATS)), "double")
            case "fixed":
                marks.put(random.randbytes(node.size), "fixed")
            case "bytes":
                some = random.randbytes(random.choice([0, 1, 4, 4, 70]))
                self.number(marks, len(some), "length")
                marks.put(some, "bytes")
            case "string":
                self.text(marks, UUID if node.logical == "uuid" and random.random() < 0.8 else random.choice(TEXTS))
            case "enum":
                self.number(marks, random.randrange(len(node.symbols)), "index")
            case "union":
                # The first branch can always end.
                at = 0 if depth > self.deep else random.randrange(len(node.branches))
                if self.deep > 60 and depth < self.deep:
                    at = len(node.branches) - 1
                self.number(marks, at, "index")
                self.value(node.branches[at], marks, depth + 1)
            case "record":
                for _, of in node.fields:
                    self.value(of, marks, depth + 1)
            case "array" | "map":
                self.blocks(node, marks, depth)

    def text(self, marks, text):
        some = text.encode()
        self.number(marks, len(some), "length")
        marks.put(some, "text")

    def blocks(self, node, marks, depth):
        random = self.random
        left = 0 if depth > self.deep else random.randint(0, self.wide if depth < 2 else 3)
        if self.deep > 60:
            left = 1 if depth < self.deep else 0
        while left:
            count = random.randint(1, left)
            left -= count
            block = Marks()
            for at in range(count):
                if node.kind == "map":
                    self.text(block, random.choice(["k", "k", f"k{at}", "ключ"]))
                self.value(node.of, block, depth + 1)
            if random.random() < 0.4:
                self.number(marks, -count, "count")
                self.number(marks, len(block.bytes), "size")
            else:
                self.number(marks, count, "count")
            marks.append(block)
        self.number(marks, 0, "count")


def varint(value):
    """Any value, even one of more than 64 bits."""
    number = value << 1 if value >= 0 else (-value << 1) - 1
    some = bytearray()
    while number >= 0x80:
        some.append(number & 0x7F | 0x80)
        number >>= 7
    some.append(number)
    return bytes(some)


def overlong(data, length):
    """The same number in more bytes."""
    more = length - len(data)
    return data if more <= 0 else data[:-1] + bytes([data[-1] | 0x80]) + b"\x80" * (more - 1) + b"\0"


def mutants(random, marks, count):
    """So many damaged copies."""
    for _ in range(count):
        data = bytearray(marks.bytes)
        damage(random, data, marks.marks)
        while random.random() < 0.2:
            damage(random, data, [])
        yield bytes(data)


def damage(random, data, marks):
    at = random.randint(0, len(data))
    kind = random.random()
    if marks and kind < 0.6:
        at, length, what, value = random.choice(marks)
        data[at : at + length] = damaged(random, bytes(data[at : at + length]), what, value)
    elif kind < 0.7 and at < len(data):
        data[at] ^= 1 << random.randrange(8)
    elif kind < 0.78 and at < len(data):
        data[at] = random.choice([0, 1, 2, 3, 0x7F, 0x80, 0xFF, random.randrange(256)])
    elif kind < 0.85:
        data[at:at] = random.choice([b"\0", b"\1", b"\2", b"\x80", b"\xff", random.randbytes(2)])
    elif kind < 0.91:
        del data[at : at + random.choice([1, 1, 2, 5])]
    elif kind < 0.96:
        del data[at:]
    else:
        data += random.choice([b"\0", b"\1", b"\x80", b"\0" * 9, bytes(data[:20])])


def damaged(random, old, what, value):
    if value is not None:
        narrow = what in ("int", "index")
        kind = random.randrange(10)
        if kind < 3:
            return varint(value + random.choice([1, -1, 1, -1, 2, 64]))
        if kind == 3:
            return varint(-value if value else -1)
        if kind == 4:
            return overlong(old, random.choice([2, 5, 6, 9, 10, 11, 12]))
        if kind == 5:
            return varint(random.choice(EDGES))
        if kind == 6:
            return varint(random.choice([5, 10, 40, 200, 5000]) * random.choice([1, -1]))
        if kind == 7:
            last = random.choice([0x0F, 0x10, 0x1F, 0x7F] if narrow else [0x00, 0x01, 0x02, 0x7F])
            return random.choice([b"\xff", b"\x80"]) * (4 if narrow else 9) + bytes([last])
        if kind == 8:
            return b"\x80" * random.choice([5, 10, 13])
        return old[:-1]
    if what == "boolean":
        return bytes([random.choice([2, 3, 0x7F, 0x80, 0xFF])])
    if what == "text" and old:
        at = random.randrange(len(old))
        bad = random.choice([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xe3\x81"])
        bad = bad[: len(old) - at]
        return old[:at] + bad + old[at + len(bad) :]
    return old[: random.randint(0, len(old))] if random.random() < 0.5 else old + b"\0"
