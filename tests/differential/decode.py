"""A decoder written from the specification and ../shared/verdict.md alone: what avrogate is compared with.

It is plain recursion over the schema, and shares nothing with avrogate. Its verdict is strict. A peer's *dialect*
(`dialects.py`) is a subclass that departs from it in named places: each departure is noted with the number of the rule
that the peer does not keep.

Values are JSON in which they compare: numbers without a point as decimal text, floats and doubles as `n` and the bits
of the double (one NaN for all), bytes and fixed as `x` and hexadecimal, text and symbols as `s` and the hexadecimal of
their UTF-8, arrays as lists, maps as objects by hexadecimal key (of one key the last), records as `{"#": [...]}`. A
union's value is its branch's.
"""

import codecs
import math
import struct

DEPTH_MAX = 64
ITEMS_MAX = 1 << 20
# Steps after which a decoder is taken to loop: no generated datum needs a tenth.
STEPS_MAX = 200_000
# Items without bytes whose values are written out; of more only the verdict is compared.
SHOWN_MAX = 1000

# Compares equal with every value.
ANY = {"?": None}


class Refused(Exception):
    """The bytes are no datum: why, at which byte."""

    def __init__(self, fault, offset):
        self.fault = fault
        self.offset = offset


class Endless(Exception):
    """This decoder would loop over a claimed count for longer than anybody waits."""


class Decoder:
    """The strict decoder."""

    depth_max = DEPTH_MAX
    items_max = ITEMS_MAX

    def __init__(self, data):
        self.data = data
        self.at = 0
        self.depth = 0
        self.items = 0
        self.steps = 0
        # Where the decoder departed from the strict one: rule numbers, in order.
        self.departures = []

    def depart(self, rule):
        if rule not in self.departures:
            self.departures.append(rule)

    def value(self, node):
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Endless
        return getattr(self, node.kind)(node)

    def end(self):
        return Refused("truncated", len(self.data))

    def take(self, length):
        if length > len(self.data) - self.at:
            raise self.end()
        self.at += length
        return self.data[self.at - length : self.at]

    def varint(self, length_max, last_max, fault):
        """The unsigned number, of at most so many bytes, the last of which is at most `last_max`."""
        start, number = self.at, 0
        for nth in range(length_max):
            if start + nth >= len(self.data):
                raise self.end()
            byte = self.data[start + nth]
            if nth + 1 == length_max and byte > last_max:
                raise Refused(fault, start)
            number |= (byte & 0x7F) << 7 * nth
            if byte < 0x80:
                self.at = start + nth + 1
                return number
        raise AssertionError("the last byte is less than 0x80")

    def read_long(self):
        return unzigzag(self.varint(10, 0x01, "varint_overflow"))

    def read_int(self):
        return unzigzag(self.varint(5, 0x0F, "int_out_of_range"))

    def null(self, node):
        return None

    def boolean(self, node):
        start = self.at
        byte = self.take(1)[0]
        if byte > 1:
            raise Refused("boolean_invalid", start)
        return byte == 1

    def int(self, node):
        return str(self.read_int())

    def long(self, node):
        return str(self.read_long())

    def float(self, node):
        return number(struct.unpack("<f", self.take(4))[0])

    def double(self, node):
        return number(struct.unpack("<d", self.take(8))[0])

    def bytes(self, node):
        return "x" + self.take(self.length()).hex()

    def length(self):
        start = self.at
        length = self.read_long()
        if length < 0:
            raise Refused("length_negative", start)
        return length

    def fixed(self, node):
        return "x" + self.take(node.size).hex()

    def string(self, node):
        return "s" + self.text()

    def text(self):
        """Text is judged as it comes: of one that the input cuts, what is there must be well-formed so far."""
        start = self.at
        length = self.length()
        here = self.data[self.at : self.at + length]
        if not is_text(here, len(here) == length):
            raise Refused("utf8_invalid", start)
        return self.take(length).hex()

    def index(self, count, fault):
        start = self.at
        index = self.read_int()
        if not 0 <= index < count:
            raise Refused(fault, start)
        return index

    def enum(self, node):
        return "s" + node.symbols[self.index(len(node.symbols), "enum_out_of_range")].encode().hex()

    def union(self, node):
        return self.value(node.branches[self.index(len(node.branches), "union_out_of_range")])

    def open(self):
        self.depth += 1
        if self.depth > self.depth_max:
            raise Refused("depth_exceeded", self.at)

    def record(self, node):
        self.open()
        values = [self.value(of) for _, of in node.fields]
        self.depth -= 1
        return {"#": values}

    def array(self, node):
        values = []

        def item():
            values.append(self.value(node.of))

        if node.of.empty:
            return ANY if self.blocks(item, once=True) > SHOWN_MAX else values
        self.blocks(item)
        return values

    def map(self, node):
        values = {}

        def entry():
            key = self.text()
            values[key] = self.value(node.of)

        self.blocks(entry)
        return values

    def blocks(self, item, once=False):
        """Runs `item` for each; `once` a block where items have no bytes. Says how many there were."""
        self.open()
        total = 0
        while True:
            start = self.at
            count = self.read_long()
            if count == 0:
                break
            if count == -(1 << 63):
                raise Refused("block_count_invalid", start)
            total += abs(count)
            self.items += abs(count)
            if self.items > self.items_max:
                raise Refused("items_exceeded", start)
            size_at = self.at
            size = self.read_long() if count < 0 else None
            if size is not None and size < 0:
                raise Refused("block_size_mismatch", size_at)
            items_at = self.at
            for _ in range(1 if once and abs(count) > SHOWN_MAX else abs(count)):
                item()
            if size is not None and size != self.at - items_at:
                raise Refused("block_size_mismatch", size_at)
        self.depth -= 1
        return total


def is_text(some, is_whole):
    """Whether bytes are UTF-8, or can be the beginning of it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(some, is_whole)
    except UnicodeDecodeError:
        return False
    cut, _ = decoder.getstate()
    if not cut:
        return True
    # Python waits for the third byte before it refuses some second ones.
    ends = (cut + bytes([second]) * (second > 0) + b"\x80" * more for second in (0, 0x80, 0x90, 0xA0) for more in range(4))
    for end in ends:
        try:
            end.decode()
            return True
        except UnicodeDecodeError:
            continue
    return False


def unzigzag(number):
    return number >> 1 if number % 2 == 0 else -(number >> 1) - 1


def number(value):
    return "nan" if math.isnan(value) else "n" + struct.pack(">d", value).hex()


def judge(decoder, node):
    """`(verdict, value, fault, offset)`: the verdict is `accept`, `reject` or `trailing`."""
    try:
        value = decoder.value(node)
    except Refused as refused:
        return "reject", None, refused.fault, refused.offset
    if decoder.at < len(decoder.data):
        return "trailing", None, "trailing_bytes", decoder.at
    return "accept", value, None, None


def same(one, other):
    """Whether two values are the same."""
    if one == other or one == ANY or other == ANY:
        return True
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    return False


def from_avro_json(node, json):
    """A value from Avro's JSON encoding, with Java's words for what is no JSON number."""
    match node.kind:
        case "null" | "boolean":
            return json
        case "int" | "long":
            return str(json)
        case "float":
            return number(struct.unpack("<f", struct.pack("<f", float(json)))[0])
        case "double":
            return number(float(json))
        case "bytes" | "fixed":
            return "x" + json.encode("latin-1").hex()
        case "string" | "enum":
            return "s" + json.encode().hex()
        case "array":
            return [from_avro_json(node.of, item) for item in json]
        case "map":
            return {key.encode().hex(): from_avro_json(node.of, value) for key, value in json.items()}
        case "record":
            return {"#": [from_avro_json(of, json[name]) for name, of in node.fields]}
        case "union":
            if json is None:
                return None
            [(word, value)] = json.items()
            return from_avro_json(next(branch for branch in node.branches if branch.word == word), value)
