"""Python's gzip and zlib, zstandard and brotli write coded orders and read what the service is given of them."""

import gzip
import zlib

import brotli
import pytest
import zstandard

import orders
from sidecar import Sidecar

BODY = orders.confluent(17, orders.order())
# Many different lines: equal ones would be taken for a bomb.
LINE = orders.order()["lines"][0]
LINES = [LINE | {"sku": f"{orders.MARK}-{at * 7919 % 10_007}", "quantity": at} for at in range(10_000)]
LONG = orders.confluent(17, orders.order() | {"lines": LINES})
# The last status of the last line: behind it are the end of the array, and the note with its branch and its length.
BAD = bytearray(BODY)
BAD[-len(f"{orders.MARK}-note") - 4] = 7 << 1
BAD = bytes(BAD)


def zlib_streamed(wbits):
    """In two pieces, the first flushed, as who does not know the length beforehand writes."""

    def encode(body):
        compressor, half = zlib.compressobj(wbits=wbits), len(body) // 2
        flushed = compressor.compress(body[:half]) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return flushed + compressor.compress(body[half:]) + compressor.flush()

    return encode


def zstd_streamed(**options):
    def encode(body):
        compressor, half = zstandard.ZstdCompressor(**options).compressobj(), len(body) // 2
        flushed = compressor.compress(body[:half]) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return flushed + compressor.compress(body[half:]) + compressor.flush()

    return encode


def brotli_streamed(body):
    compressor, half = brotli.Compressor(), len(body) // 2
    return compressor.process(body[:half]) + compressor.flush() + compressor.process(body[half:]) + compressor.finish()


WRITERS = {
    "gzip": ("gzip", gzip.compress),
    "gzip-stored": ("gzip", lambda body: gzip.compress(body, 0)),
    "gzip-streamed": ("gzip", zlib_streamed(31)),
    "deflate": ("deflate", zlib.compress),
    "deflate-streamed": ("deflate", zlib_streamed(9)),
    "zstd": ("zstd", zstandard.ZstdCompressor(write_checksum=True).compress),
    "zstd-19": ("zstd", zstandard.ZstdCompressor(level=19).compress),
    "zstd-streamed": ("zstd", zstd_streamed(level=3, write_checksum=True)),
    "br": ("br", brotli.compress),
    "br-streamed": ("br", brotli_streamed),
    "br-fast": ("br", lambda body: brotli.compress(body, quality=0)),
}

every = pytest.mark.parametrize("coding, encode", WRITERS.values(), ids=WRITERS)
both = pytest.mark.parametrize("protocol", ["h1", "h2"])


@pytest.fixture(scope="module")
def coded(binary, certificates, stage_service, tmp_path_factory):
    """A sidecar with the example's policy, whose contracts take every coding."""
    directory = tmp_path_factory.mktemp("codings")
    policy = directory / "policy.yaml"
    written = (orders.EXAMPLE / "policy.d" / "orders.yaml").read_text()
    taking = written.replace("      request:\n", "      request:\n        contentCodings: [gzip, deflate, zstd, br]\n", 1)
    assert taking != written
    policy.write_text(taking)
    sidecar = Sidecar.before(stage_service.port, binary, certificates, directory, policy=policy)
    yield sidecar
    assert sidecar.stop() == 0
    for told in (sidecar.decisions.ended(), sidecar.log.ended()):
        assert orders.MARK not in told and "panicked" not in told


@both
@every
@pytest.mark.parametrize("body", [BODY, LONG], ids=["short", "long"])
def test_the_service_reads_what_was_judged(caller, service, coded, protocol, coding, encode, body):
    body = encode(body)
    client = caller(protocol=protocol, sidecar=coded)
    for content in [body, (body[at : at + 999] for at in range(0, len(body), 999))]:
        answer = client.post("/v1/orders", content=content, headers={"content-encoding": coding})
        assert answer.status_code == 201, answer.text
        (seen,) = service.seen()
        assert (seen.what, seen.headers["content-encoding"]) == (f"whole {len(body)}", coding)


@both
@every
def test_what_it_holds_is_judged(caller, service, coded, protocol, coding, encode):
    client = caller(protocol=protocol, sidecar=coded)
    answer = client.post("/v1/orders", content=encode(BAD), headers={"content-encoding": coding})
    assert (answer.status_code, answer.json()["code"]) == (422, "datum_invalid"), answer.text
    assert "of the decoded body" in answer.json()["detail"]
    answer = client.post("/v1/orders", content=encode(BODY)[:-1], headers={"content-encoding": coding})
    assert (answer.status_code, answer.json()["code"]) == (415, "content_coding_refused"), answer.text
    answer = client.post("/v1/orders", content=encode(BODY) + encode(BODY), headers={"content-encoding": coding})
    assert (answer.status_code, answer.json()["code"]) == (415, "content_coding_refused"), answer.text
    assert answer.headers["accept-encoding"] == "gzip, deflate, zstd, br"
    assert service.saw() == []


@every
def test_whatever_passes_python_can_read(caller, service, coded, coding, encode):
    """Every byte of a coded order becomes other ones: what passes, the service's libraries decode and read.

    Something always does: gzip's header has a time, and without a checksum bent letters are letters."""
    client, body = caller(protocol="h2", sidecar=coded), encode(BODY)
    passed = refused = 0
    for at, was in enumerate(body):
        for byte in {0x00, 0xFF, was ^ 0x01, was ^ 0x80} - {was}:
            bent = body[:at] + bytes([byte]) + body[at + 1 :]
            answer = client.post("/v1/orders", content=bent, headers={"content-encoding": coding})
            saw = service.saw()
            if answer.status_code == 201:
                passed += 1
                assert saw == [f"whole {len(bent)}"], (at, byte)
            else:
                refused += 1
                assert answer.status_code in (413, 415, 422) and saw == [], (at, byte, answer.text)
    print(f"{passed} passed, {refused} refused")
    assert refused > len(body)
