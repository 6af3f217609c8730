//! Bodies with a content coding, honest and otherwise. The encoders are not the decoders' own where there is a choice;
//! `tests/peers` has those of Python.

use avrogate::wire::Coding;
use flate2::{Compression, Crc, GzBuilder, write};
use std::io::Write;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

/// A body in one coding, as an ordinary encoder writes it.
pub(crate) fn encoded(coding: Coding, body: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => gzip(GzBuilder::new(), body),
        Coding::Deflate => zlib(body),
        Coding::Zstd => zstd(body, &[CParameter::ChecksumFlag(true)]),
        Coding::Br => brotli(body, 22),
    }
}

/// One gzip member with this header.
pub(crate) fn gzip(header: GzBuilder, body: &[u8]) -> Vec<u8> {
    let mut to = header.write(Vec::new(), Compression::best());
    to.write_all(body).unwrap();
    to.finish().unwrap()
}

/// One gzip member with a checksum of its header, which no encoder here writes.
pub(crate) fn gzip_with_header_crc(body: &[u8], off_by: u16) -> Vec<u8> {
    let plain = gzip(GzBuilder::new().filename("order"), body);
    let (header, rest) = plain.split_at(10 + "order\0".len());
    let mut header = header.to_vec();
    header[3] |= 1 << 1;
    let mut crc = Crc::new();
    crc.update(&header);
    let sum = (crc.sum() & 0xffff) as u16;
    [&header, &sum.wrapping_add(off_by).to_le_bytes()[..], rest].concat()
}

/// The zlib format.
pub(crate) fn zlib(body: &[u8]) -> Vec<u8> {
    let mut to = write::ZlibEncoder::new(Vec::new(), Compression::best());
    to.write_all(body).unwrap();
    to.finish().unwrap()
}

/// A bare DEFLATE stream, which some call `deflate`.
pub(crate) fn deflate(body: &[u8]) -> Vec<u8> {
    let mut to = write::DeflateEncoder::new(Vec::new(), Compression::best());
    to.write_all(body).unwrap();
    to.finish().unwrap()
}

/// One zstd frame whose content's length is known.
pub(crate) fn zstd(body: &[u8], parameters: &[CParameter]) -> Vec<u8> {
    let mut encoder = CCtx::create();
    parameters.iter().for_each(|parameter| _ = encoder.set_parameter(*parameter).unwrap());
    let mut to = Vec::with_capacity(zstd_safe::compress_bound(body.len()));
    encoder.compress2(&mut to, body).unwrap();
    to
}

/// One zstd frame whose content's length was not known when it began.
pub(crate) fn zstd_stream(body: &[u8], parameters: &[CParameter]) -> Vec<u8> {
    let mut encoder = CCtx::create();
    parameters.iter().for_each(|parameter| _ = encoder.set_parameter(*parameter).unwrap());
    let mut to = vec![0; zstd_safe::compress_bound(body.len()) + 64];
    let mut out = OutBuffer::around(&mut to[..]);
    let mut input = InBuffer::around(body);
    encoder.compress_stream2(&mut out, &mut input, ZSTD_EndDirective::ZSTD_e_flush).unwrap();
    let left = encoder.compress_stream2(&mut out, &mut input, ZSTD_EndDirective::ZSTD_e_end).unwrap();
    assert_eq!(left, 0);
    let length = out.pos();
    to.truncate(length);
    to
}

/// A brotli stream in a window of so many bits.
pub(crate) fn brotli(body: &[u8], window_bits: i32) -> Vec<u8> {
    let large = window_bits > 24;
    let parameters =
        brotli::enc::BrotliEncoderParams { quality: 5, lgwin: window_bits, large_window: large, ..Default::default() };
    let mut to = Vec::new();
    brotli::BrotliCompress(&mut &*body, &mut to, &parameters).unwrap();
    to
}
