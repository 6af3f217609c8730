"""How each peer departs from the rules of ../shared/verdict.md, as decoders that do as the peer does.

A difference between avrogate and a peer is allowed where the peer's dialect comes to the peer's verdict and has
departed from the strict decoder on the way: the rule is the first one departed from. A dialect that departs from
nothing explains nothing, so what it does not know is a failure of the run. Depth, items and claimed counts are limits
of avrogate's (rules 13, 14 and 16) that no peer has.
"""

import math
import re

from decode import ANY, Decoder, Endless, Refused, number, unzigzag

# A claimed count that makes those loop who have no limit of their own: such data are kept from them.
COUNT_MAX = 100_000


class Peer(Decoder):
    """What all peers have in common: no limits, and no look at a block's size."""

    # Whether it loops over items that have bytes for longer than there are bytes.
    loops = False

    def open(self):
        self.depth += 1
        if self.depth > self.depth_max:
            self.depart(14)

    def blocks(self, item, once=False):
        self.open()
        total = 0
        while (count := self.read_count()) != 0:
            is_sized = count < 0
            count = self.count(count)
            size = self.read_long() if is_sized else None
            if size is not None and size < 0:
                self.depart(10)
            total += count
            self.items += count
            if self.items > self.items_max:
                self.depart(16)
            self.claimed(count, once)
            items_at = self.at
            for _ in range(1 if once and count else count):
                item()
                if self.is_over():
                    return total
            if size is not None and size != self.at - items_at:
                self.depart(10)
        self.depth -= 1
        return total

    def read_count(self):
        return self.read_long()

    def count(self, count):
        """How many items a count stands for."""
        if count == -(1 << 63):
            raise Refused("block_count_invalid", self.at)
        return abs(count)

    def claimed(self, count, once):
        """Items without bytes are counted to the last; others until the input ends."""
        if once and count > COUNT_MAX:
            raise Endless

    def is_over(self):
        """Whether the peer leaves a block early."""
        return False

    def array(self, node):
        values = []
        total = self.blocks(lambda: values.append(self.value(node.of)), node.of.empty)
        return ANY if node.of.empty and total != len(values) else values

    def raw(self, length_max):
        """A number of at most so many bytes, whatever its bits, and how many bytes it has."""
        start, number = self.at, 0
        for nth in range(length_max):
            if start + nth >= len(self.data):
                raise self.end()
            byte = self.data[start + nth]
            number |= (byte & 0x7F) << 7 * nth
            if byte < 0x80:
                self.at = start + nth + 1
                return number, nth + 1
        raise Refused("varint_overflow", start)

    def cut(self, number, bits, rule):
        """As many bits as the peer keeps."""
        if number >> bits:
            self.depart(rule)
        return number & (1 << bits) - 1


class Java(Peer):
    """org.apache.avro:avro, GenericDatumReader over a BinaryDecoder."""

    def read_int(self):
        number, _ = self.raw(5)
        return unzigzag(self.cut(number, 32, 2))

    def read_long(self):
        number, _ = self.raw(10)
        return unzigzag(self.cut(number, 64, 1))

    def boolean(self, node):
        byte = self.take(1)[0]
        if byte > 1:
            self.depart(4)
        return byte == 1

    def text(self):
        return lax_text(self)


class Fastavro(Peer):
    """fastavro.schemaless_reader, in C."""

    def read_long(self):
        """Bytes without end; a shift of 64 is one of 0."""
        start, number, nth = self.at, 0, 0
        while True:
            if start + nth >= len(self.data):
                raise self.end()
            byte = self.data[start + nth]
            number |= (byte & 0x7F) << 7 * nth % 64
            nth += 1
            if byte < 0x80:
                break
        self.at = start + nth
        if nth > 10 or nth == 10 and byte > 1:
            self.depart(1)
        return unzigzag(number & (1 << 64) - 1)

    def read_int(self):
        number = self.read_long()
        if not -(1 << 31) <= number < 1 << 31:
            self.depart(2)
        return number

    def boolean(self, node):
        byte = self.take(1)[0]
        if byte > 1:
            self.depart(4)
        return byte != 0

    def index(self, count, fault):
        """A negative index counts from the end, as Python's do."""
        start = self.at
        index = self.read_long()
        if self.at - start > 5:
            self.depart(2)
        if index < 0:
            self.depart(8)
        if not -count <= index < count:
            raise Refused(fault, self.at)
        return index

    def int(self, node):
        start = self.at
        number = self.read_int()
        if self.at - start > 5:
            self.depart(2)
        return str(number)

    def count(self, count):
        """A count without an absolute value is one of no items."""
        if count == -(1 << 63):
            self.depart(9)
            return 0
        return abs(count)


class Avsc(Peer):
    """avsc's Type.fromBuffer. Its numbers are JavaScript's; behind the end it reads zeros until it looks, last."""

    loops = True

    def read_long(self):
        start, number, exact, nth = self.at, 0, 0, 0
        while True:
            if start + nth >= len(self.data):
                self.half = number
                raise self.end()
            byte = self.data[start + nth]
            exact |= (byte & 0x7F) << 7 * nth
            if nth < 4:
                number |= (byte & 0x7F) << 7 * nth
            else:
                number += float(byte & 0x7F) * (128.0**nth if nth < 147 else math.inf)
            nth += 1
            if byte < 0x80:
                break
        self.at = start + nth
        if nth > 10 or number != exact:
            self.depart(1)
        if not isinstance(number, float):
            return unzigzag(number)
        if not math.isfinite(number):
            return number
        odd = math.fmod(number, 2) != 0
        return int((-(number + 1) if odd else number) / 2)

    def read_count(self):
        """It loops for what is there of a count that the input cuts."""
        try:
            return self.read_long()
        except Refused:
            if self.half > 2 * COUNT_MAX:
                raise Endless from None
            raise

    def read_int(self):
        start = self.at
        number = self.read_long()
        if self.at - start > 5 or not -(1 << 31) <= number < 1 << 31:
            self.depart(2)
        return number

    def int(self, node):
        return written(self.read_int())

    def long(self, node):
        number = self.read_long()
        if not -(2**53) + 2 <= number <= 2**53 - 2:
            # It has no more bits for one; close to that, it loses the sign.
            self.depart(1)
            raise Refused("varint_overflow", self.at)
        return str(number)

    def length(self):
        length = super().length()
        if not math.isfinite(length):
            raise self.end()
        return length

    def boolean(self, node):
        byte = self.take(1)[0]
        if byte > 1:
            self.depart(4)
        return byte != 0

    def text(self):
        """What is no text becomes U+FFFD."""
        here = self.take(self.length())
        text = here.decode(errors="replace").encode()
        if text != here:
            self.depart(5)
        return text.hex()

    def count(self, count):
        if count != count:
            self.depart(1)
            return 0
        if abs(count) > COUNT_MAX:
            raise Endless
        return abs(count)

    def index(self, count, fault):
        index = self.read_int()
        if not 0 <= index < count:
            raise Refused(fault, self.at)
        return index


class Hamba(Peer):
    """github.com/hamba/avro/v2, into an `any`. A number that the input cuts, or that is too long, leaves it at the end
    of the input with an io.EOF, which Unmarshal takes for success; from there on numbers and lengths are zero."""

    loops = True

    def __init__(self, data):
        super().__init__(data)
        self.ended = False

    def limited(self, length_max, bits, rule):
        if self.ended:
            return 0
        try:
            number, _ = self.raw(length_max)
        except Refused as refused:
            self.depart(12 if refused.fault == "truncated" else rule)
            self.ended = True
            self.at = len(self.data)
            return 0
        return unzigzag(self.cut(number, bits, rule))

    def read_int(self):
        return self.limited(5, 32, 2)

    def read_long(self):
        return self.limited(10, 64, 1)

    def text(self):
        return lax_text(self)

    def is_over(self):
        return self.ended

    def count(self, count):
        # It makes room for all items of an array at once.
        if abs(count) > COUNT_MAX:
            raise Endless
        return abs(count)


UUID = re.compile(
    rb"(?i)(urn:uuid:)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}"
    rb"|\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}"
)


class ApacheAvro(Peer):
    """apache-avro's GenericDatumReader::read_value. A boolean, a text and a union at the end of the input are null."""

    def read_long(self):
        number, _ = self.raw(10)
        return unzigzag(self.cut(number, 64, 1))

    def read_int(self):
        start = self.at
        number = self.read_long()
        if self.at - start > 5:
            self.depart(2)
        if not -(1 << 31) <= number < 1 << 31:
            raise Refused("int_out_of_range", start)
        return number

    def boolean(self, node):
        if self.at == len(self.data):
            self.depart(12)
            return ANY
        return super().boolean(node)

    def string(self, node):
        length = self.length()
        here = self.data[self.at :][:length]
        if len(here) < length:
            if node.logical == "uuid" or length > 512 << 20:
                raise self.end()
            self.depart(12)
            self.at = len(self.data)
            return ANY
        self.at += length
        try:
            here.decode()
        except UnicodeDecodeError:
            raise Refused("utf8_invalid", self.at) from None
        if node.logical == "uuid" and not UUID.fullmatch(here):
            self.depart(17)
            raise Refused("logical", self.at)
        return "s" + here.hex()

    def bytes(self, node):
        value = super().bytes(node)
        if node.logical == "big-decimal":
            # In the bytes stand bytes and a scale.
            inner = ApacheAvro(bytes.fromhex(value[1:]))
            try:
                inner.take(inner.length())
                inner.read_long()
            except Refused:
                self.depart(17)
                raise
        return value

    def union(self, node):
        start = self.at
        try:
            index = self.read_long()
        except Refused as refused:
            if refused.fault != "truncated":
                raise
            self.depart(12)
            self.at = len(self.data)
            return ANY
        if self.at - start > 5:
            self.depart(2)
        if not 0 <= index < len(node.branches):
            raise Refused("union_out_of_range", start)
        return self.value(node.branches[index])


def lax_text(decoder):
    """Bytes of text, well-formed or not."""
    here = decoder.take(decoder.length())
    try:
        here.decode()
    except UnicodeDecodeError:
        decoder.depart(5)
    return here.hex()


def written(value):
    return str(value) if isinstance(value, int) else number(value)


DIALECTS = {"java": Java, "fastavro": Fastavro, "avsc": Avsc, "hamba": Hamba, "apache-avro": ApacheAvro}
