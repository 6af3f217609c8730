//! Other people's data: every datum of the corpus's container files is judged good, whole and in pieces, and every broken
//! file is found out.
//!
//! Reads the directory that `AVROGATE_CORPUS` names; says that it was left out where there is none. A container file
//! says its schema, its codec, and then blocks: a count, a size, that many data in so many bytes, a marker.

mod corpus;

use apache_avro::{Bzip2Settings, Codec, DeflateSettings, XzSettings, ZstandardSettings};
use avrogate::avro::{Fault, Limits, Program, Schema, Step, Validator};
use std::collections::BTreeMap;
use std::fs;
use std::ops::AddAssign;
use std::sync::Arc;

/// Broken, all but two on purpose: the end of the path, and how the finding begins.
const BROKEN: [(&str, &str); 9] = [
    ("c/tests/avro-1237-bad-union-discriminant.avro", "block 0, datum 1: union index 2, the union has 2 branches"),
    ("c/tests/avro-1238-truncated.avro", "block 0: truncated"),
    ("testdata/deflate-invalid-data.avro", "block 0: the codec says"),
    ("testdata/snappy-invalid-crc.avro", "block 0: the codec says"),
    ("testdata/snappy-invalid-data.avro", "block 0: the codec says"),
    ("testdata/snappy-short-crc.avro", "block 0: the codec says"),
    ("testdata/zstd-invalid-data.avro", "block 0: the codec says"),
    // An editor has put a line feed behind the last block; fastavro refuses these too.
    ("js/test/dat/person-10.no-codec.avro", "block 1: truncated"),
    ("avsc/test/dat/person-10.no-codec.avro", "block 1: truncated"),
];

/// Data up to this many bytes are cut at every byte: the work grows with the square.
const CUT_MAX: usize = 2048;

/// What was judged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Judged {
    blocks: u64,
    data: u64,
    bytes: u64,
    cuts: u64,
}

impl AddAssign for Judged {
    fn add_assign(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.data += other.data;
        self.bytes += other.bytes;
        self.cuts += other.cuts;
    }
}

/// What is left of a container file. Every method says nothing where the file ends too early.
struct Rest<'f>(&'f [u8]);

impl<'f> Rest<'f> {
    fn take(&mut self, count: usize) -> Option<&'f [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn long(&mut self) -> Option<i64> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            bits |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'f [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }

    /// The header's map: blocks of keys and values, up to a block of none.
    fn metadata(&mut self) -> Option<BTreeMap<&'f [u8], &'f [u8]>> {
        let mut metadata = BTreeMap::new();
        loop {
            let count = self.long()?;
            if count == 0 {
                return Some(metadata);
            }
            if count < 0 {
                self.long()?;
            }
            for _ in 0..count.unsigned_abs() {
                metadata.insert(self.bytes()?, self.bytes()?);
            }
        }
    }
}

fn codec(name: &[u8]) -> Codec {
    match name {
        b"null" => Codec::Null,
        b"deflate" => Codec::Deflate(DeflateSettings::default()),
        b"snappy" => Codec::Snappy,
        b"zstandard" => Codec::Zstandard(ZstandardSettings::default()),
        b"bzip2" => Codec::Bzip2(Bzip2Settings::default()),
        b"xz" => Codec::Xz(XzSettings::default()),
        _ => panic!("a codec that this test does not know: {}", String::from_utf8_lossy(name)),
    }
}

/// Judges every datum of a container file; the error says where and why it is none.
fn judge(file: &[u8]) -> Result<Judged, String> {
    let truncated = |what: &str| format!("{what}: truncated");
    let mut rest = Rest(file.strip_prefix(b"Obj\x01").ok_or("no container file")?);
    let metadata = rest.metadata().ok_or_else(|| truncated("header"))?;
    let marker = rest.take(16).ok_or_else(|| truncated("header"))?;
    let schema = metadata.get(b"avro.schema".as_slice()).ok_or("header: no schema")?;
    let schema = str::from_utf8(schema).map_err(|error| error.to_string())?;
    let schema = Schema::parse(schema).map_err(|errors| format!("schema: {errors}"))?;
    let program = Arc::new(Program::compile(&schema));
    let codec = codec(metadata.get(b"avro.codec".as_slice()).unwrap_or(&b"null".as_slice()));

    let mut judged = Judged::default();
    while !rest.0.is_empty() {
        let at = format!("block {}", judged.blocks);
        let count = rest.long().ok_or_else(|| truncated(&at))?;
        let mut block = rest.bytes().ok_or_else(|| truncated(&at))?.to_vec();
        if rest.take(16).ok_or_else(|| truncated(&at))? != marker {
            return Err(format!("{at}: another marker than the header's"));
        }
        codec.decompress(&mut block).map_err(|error| format!("{at}: the codec says: {error}"))?;
        judged += judge_block(&program, count, &block).map_err(|error| format!("{at}, {error}"))?;
    }
    Ok(judged)
}

/// Judges the data of a block, which must fill it exactly.
fn judge_block(program: &Arc<Program>, count: i64, block: &[u8]) -> Result<Judged, String> {
    let mut judged = Judged { blocks: 1, bytes: block.len() as u64, ..Judged::default() };
    let mut rest = block;
    for number in 0..count {
        let mut validator = Validator::new(program.clone(), Limits::default());
        let consumed = match validator.push(rest) {
            Ok(Step::Done { consumed }) => consumed,
            Ok(Step::NeedMore) => return Err(format!("datum {number}: truncated")),
            Err(violation) => return Err(format!("datum {number}: {violation}")),
        };
        let (datum, behind) = rest.split_at(consumed);
        judged.data += 1;
        judged.cuts += judge_in_pieces(program, datum).map_err(|error| format!("datum {number}: {error}"))?;
        rest = behind;
    }
    if rest.is_empty() { Ok(judged) } else { Err(format!("{} bytes behind the last datum", rest.len())) }
}

/// A good datum is good byte by byte as well, and no beginning of it is whole. Says how many cuts were tried.
fn judge_in_pieces(program: &Arc<Program>, datum: &[u8]) -> Result<u64, String> {
    let mut validator = Validator::new(program.clone(), Limits::default());
    for byte in datum {
        validator.push(&[*byte]).map_err(|violation| format!("byte by byte: {violation}"))?;
    }
    validator.finish().map_err(|violation| format!("byte by byte: {violation}"))?;
    let cuts = if datum.len() > CUT_MAX { 0 } else { datum.len() };
    for cut in 0..cuts {
        let mut validator = Validator::new(program.clone(), Limits::default());
        let fault = validator.push(&datum[..cut]).and_then(|_| validator.finish()).map_err(|violation| violation.fault);
        if fault != Err(Fault::Truncated) {
            return Err(format!("cut at {cut}: {fault:?}"));
        }
    }
    Ok(cuts as u64)
}

#[test]
fn every_datum_is_good_but_for_the_broken() {
    let Some(corpus) = corpus::corpus("corpus_containers") else { return };
    let (mut good, mut broken, mut judged, mut wrong) = (0, 0, Judged::default(), Vec::new());
    for path in corpus::files(&corpus) {
        let file = fs::read(&path).expect("a file of the corpus");
        if !file.starts_with(b"Obj\x01") {
            continue;
        }
        let name = corpus::name(&corpus, &path);
        let expected = BROKEN.iter().find(|(end, _)| name.ends_with(end)).map(|(_, why)| *why);
        match (judge(&file), expected) {
            (Ok(found), None) => {
                good += 1;
                judged += found;
            }
            (Err(why), Some(expected)) if why.starts_with(expected) => broken += 1,
            (found, _) => wrong.push(format!("{name}\n  is     {found:?}\n  wanted {}", expected.unwrap_or("good"))),
        }
    }
    let Judged { blocks, data, bytes, cuts } = judged;
    println!("{good} good files: {blocks} blocks, {data} data, {bytes} bytes, {cuts} cuts; {broken} broken files");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(broken, BROKEN.len());
    assert!(good > 40, "{good}");
}
