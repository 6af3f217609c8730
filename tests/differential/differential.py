"""Random schemas and bytes through avrogate and its peers: see README.md."""

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import sys
import time

import decode
import dialects
import generate
import peers
import schema as schemas

sys.setrecursionlimit(20_000)

# Data of one schema.
VALUES = 3
# Longer data are not cut at every byte.
CUT_MAX = 40
FAILURES_MAX = 10
# What hamba makes of a logical type, and Java of text, does not tell how it was written.
UNREAD = {"hamba": "logicalType", "java": "avro.java.string"}


class Run:
    def __init__(self, avrogate, others, corpus, mutants):
        self.avrogate, self.others, self.corpus, self.mutants = avrogate, others, corpus, mutants
        self.counts = collections.Counter()
        self.verdicts = collections.Counter()
        # By peer and rule: what it takes, what it refuses, what was kept from it.
        self.allowed = collections.defaultdict(collections.Counter)
        self.failures = []

    def fail(self, *lines):
        if len(self.failures) < FAILURES_MAX:
            print("\nDIFFERENCE", *lines, sep="\n  ", flush=True)
        self.failures.append(lines)

    def seed(self, seed, until):
        """Schemas of one seed, for as long as `until` says."""
        source = random.Random(seed)
        while not until(self):
            text = self.schema(source)
            if text:
                self.judge(text, *self.data(source, text))

    def schema(self, source):
        if self.corpus and source.random() < 0.1:
            text = source.choice(self.corpus)
            self.counts["corpus schemas"] += 1
        else:
            text = json.dumps(generate.Schemas(source).root())
        return text

    def data(self, source, text):
        node = schemas.read(json.loads(text))
        data = []
        for _ in range(VALUES):
            marks = generate.Data(source).write(node)
            if len(marks.bytes) > 4000:
                continue
            whole = bytes(marks.bytes)
            data.append(whole)
            if len(whole) <= CUT_MAX:
                data += [whole[:end] for end in range(len(whole))]
            data += generate.mutants(source, marks, self.mutants)
            self.counts["values"] += 1
        return node, list(dict.fromkeys(data))

    def judge(self, text, node, data):
        self.counts["schemas"] += 1
        self.counts["data"] += len(data)
        expected = [decode.judge(decode.Decoder(datum), node) for datum in data]
        sent = [self.send(peer, text, node, data) for peer in self.others]
        told = self.avrogate.judge(text, [datum.hex() for datum in data])
        for datum, wanted, said in zip(data, expected, told, strict=True):
            self.compare_avrogate(text, node, datum, wanted, said)
        for peer, (plain, given) in zip(self.others, sent, strict=True):
            asked = [data[at].hex() for at in given]
            results = peer.answer(plain, asked)
            if results is None:
                self.counts[f"schemas that {peer.name} refuses"] += 1
                continue
            for at, result in zip(given, results, strict=True):
                self.compare(peer, text, node, data[at], expected[at], result)

    def send(self, peer, text, node, data):
        """Sends what the peer can be given: data over which it would loop are kept from it."""
        plain = without(UNREAD[peer.name], text) if peer.name in UNREAD else text
        if not dialects.DIALECTS[peer.name].loops and not schemas.has_empty_items(node):
            peer.send(plain, [datum.hex() for datum in data])
            return plain, range(len(data))
        given = []
        for at, datum in enumerate(data):
            try:
                decode.judge(dialects.DIALECTS[peer.name](datum), node)
                given.append(at)
            except decode.Endless:
                self.allowed[peer.name]["kept from it"] += 1
        peer.send(plain, [data[at].hex() for at in given])
        return plain, given

    def compare_avrogate(self, text, node, datum, wanted, said):
        verdict, value, fault, offset = wanted
        self.verdicts[fault or "valid"] += 1
        if said["verdict"] == "valid":
            found = ("accept", None, None)
        else:
            found = ("trailing" if said.get("fault") == "trailing_bytes" else "reject", said.get("fault"), said.get("offset"))
        if found != (verdict, fault, offset):
            self.fail("avrogate and the specification", text, datum.hex(), f"avrogate: {said}", f"expected: {wanted}")
        elif "value" in said and not decode.same(value, decode.from_avro_json(node, said["value"])):
            self.fail("avrogate's value", text, datum.hex(), f"avrogate: {said['value']}", f"expected: {value}")

    def compare(self, peer, text, node, datum, wanted, result):
        verdict, value, fault, _ = wanted
        found = "accept" if isinstance(result, dict) else result
        self.counts["comparisons"] += 1
        if found == "accept" == verdict and decode.same(value, result["value"]):
            return
        if "accept" not in (found, verdict):
            # Both refuse: a datum with bytes behind it is none.
            return
        dialect = dialects.DIALECTS[peer.name](datum)
        as_peer = decode.judge(dialect, node)
        if as_peer[0] == found and dialect.departures:
            does = "takes" if found == "accept" else "refuses"
            if found == verdict:
                does = "has another value of"
            if found != "accept" or decode.same(as_peer[1], result["value"]):
                self.allowed[peer.name][dialect.departures[0], does] += 1
                return
        self.fail(
            f"{peer.name} and avrogate",
            text,
            datum.hex(),
            f"{peer.name}: {result}",
            f"avrogate: {fault or value}",
            f"its dialect: {as_peer[:2]}, departing from rules {dialect.departures}",
        )


def without(attribute, text):
    """The schema without what makes its peer's values no longer tell how they were written."""

    def plain(json):
        if isinstance(json, list):
            return [plain(item) for item in json]
        if isinstance(json, dict):
            return {key: plain(value) for key, value in json.items() if key != attribute}
        return json

    return json.dumps(plain(json.loads(text)))


def corpus(directory):
    """The schemas of the corpus that stand alone and that the harness can write data of."""
    texts = []
    for file in sorted(pathlib.Path(directory).rglob("*.avsc")):
        try:
            text = file.read_text()
            node = schemas.read(json.loads(text))
            if len(generate.Data(random.Random(0)).write(node).bytes) < 4000:
                texts.append(text)
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            continue
    return texts


def accepted(avrogate, texts):
    """Those that avrogate accepts: what makes a schema is not asked here."""
    found = []
    for text in texts:
        try:
            avrogate.judge(text, [""])
            found.append(text)
        except SystemExit:
            continue
    return found


def table(run):
    """The counts per rule and peer, in Markdown."""
    names = [peer.name for peer in run.others]
    rows = sorted({key for counts in run.allowed.values() for key in counts if isinstance(key, tuple)})
    lines = ["| rule | the peer | " + " | ".join(names) + " |", "|---|---|" + "--:|" * len(names)]
    for rule, does in rows:
        counts = [run.allowed[name].get((rule, does), 0) for name in names]
        lines.append(f"| {rule} | {does} it | " + " | ".join(f"{count:,}" if count else "" for count in counts) + " |")
    kept = [run.allowed[name].get("kept from it", 0) for name in names]
    lines.append("| 13, 16 | is not given it | " + " | ".join(f"{count:,}" if count else "" for count in kept) + " |")
    return "\n".join(lines)


def report(run, begun):
    print(f"\n{time.monotonic() - begun:.0f} s, " + ", ".join(f"{count:,} {what}" for what, count in run.counts.items()))
    print("avrogate: " + ", ".join(f"{count:,} {fault}" for fault, count in run.verdicts.most_common()))
    restarts = {peer.name: peer.restarts for peer in run.others if peer.restarts}
    if restarts:
        print(f"died: {restarts}")
    print(f"\nAllowed differences:\n\n{table(run)}\n")
    print(f"{run.counts['data'] - len(run.failures)} passed, {len(run.failures)} failed", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--built", required=True, help="where `run` has built the peers")
    parser.add_argument("--avrogate", required=True, help="the binary")
    parser.add_argument("--apache-avro", required=True, help="its peer of that name")
    parser.add_argument("--seed", type=int, action="append", default=[])
    parser.add_argument("--seconds", type=float, default=30, help="for each seed")
    parser.add_argument("--data", type=int, help="for each seed; instead of --seconds")
    parser.add_argument("--mutants", type=int, default=60, help="of each value")
    parser.add_argument("--peer", action="append", help="these alone")
    parser.add_argument("--corpus", help="a directory of schemas")
    args = parser.parse_args()
    avrogate = peers.Avrogate(args.avrogate)
    others = [peer for peer in peers.peers(args.built, args.apache_avro) if not args.peer or peer.name in args.peer]
    texts = accepted(avrogate, corpus(args.corpus)) if args.corpus else []
    run = Run(avrogate, others, texts, args.mutants)
    begun = time.monotonic()
    # A long run that is ended tells what it has found.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for seed in args.seed or [1, int.from_bytes(os.urandom(4))]:
            print(f"seed {seed}", flush=True)
            end, most = time.monotonic() + args.seconds, run.counts["data"] + (args.data or 0)
            run.seed(seed, lambda run: run.counts["data"] >= most if args.data else time.monotonic() > end)
    finally:
        for peer in others:
            peer.stop()
        report(run, begun)
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
