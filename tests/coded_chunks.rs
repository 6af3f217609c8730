//! However a coded body is cut, its verdict is the same: of honest streams, and of streams that are bent in any way.

#![allow(clippy::unwrap_used, reason = "a helper that cannot go on ends the test")]

mod common;

use avrogate::avro::Schema;
use avrogate::reason::Reason;
use avrogate::wire::{
    CodedInspector, Coding, CodingSet, Contract, ContractLimits, Framing, FramingSet, Inspector, OnInvalid, Programs,
    PublishedSchema, Readings, Refused, Schemas,
};
use common::coded::encoded;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

const BODY_BYTES_MAX: u64 = 200_000;
const RATIO_MAX: u64 = 8;

/// The contract of all tests: bare bytes, of which anything is a datum.
static CONTRACT: LazyLock<(Arc<Contract>, Arc<Schemas>)> = LazyLock::new(|| {
    let schema = Arc::new(Schema::parse(r#""bytes""#).unwrap());
    let published = PublishedSchema::new("bytes", 1, vec![], schema, &Programs::default());
    let schemas = Arc::new(Schemas::new(vec![published]).unwrap());
    let contract = Contract {
        framings: FramingSet::new(&[Framing::Bare]).unwrap(),
        schemas: schemas.iter().map(|(index, _)| index).collect(),
        readings: Readings::default(),
        codings: CodingSet::new(&Coding::ALL),
        limits: ContractLimits { body_bytes_max: BODY_BYTES_MAX, ratio_max: RATIO_MAX, ..ContractLimits::default() },
        on_invalid: OnInvalid::Reject,
    };
    (Arc::new(contract), schemas)
});

fn inspector(coding: Coding) -> CodedInspector {
    let (contract, schemas) = &*CONTRACT;
    CodedInspector::new(coding, Inspector::new(contract.clone(), schemas.clone(), None))
}

/// The length that may go on, or why nothing may; the body comes in pieces of these lengths, over and over.
fn verdict(coding: Coding, body: &[u8], lengths: &[usize]) -> Result<u64, Refused> {
    let mut inspector = inspector(coding);
    let mut rest = body;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        assert_eq!(inspector.push(piece)?, 0, "nothing goes before the end");
        rest = behind;
    }
    let end = inspector.finish();
    if end.is_ok() {
        assert_eq!(inspector.memory(), 0, "nothing is held when all is judged");
    }
    end
}

/// Bytes that no coding makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A datum of these bytes.
fn datum(bytes: &[u8]) -> Vec<u8> {
    let mut datum = Vec::new();
    let mut length = bytes.len() << 1;
    while length > 0x7f {
        datum.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    datum.push(u8::try_from(length).unwrap());
    datum.extend(bytes);
    datum
}

/// Bytes that compress not at all, somewhat, or very well, around the sizes of blocks and outputs.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![0..200_usize, 4000..4200_usize, 16_000..17_000_usize, 0..40_000_usize];
    prop_oneof![
        3 => length.prop_flat_map(|length| vec(any::<u8>(), length)),
        3 => (vec(any::<u8>(), 1..300), 1..200_usize).prop_map(|(pattern, times)| pattern.repeat(times)),
        1 => (0..260_000_usize).prop_map(|length| vec![0; length]),
        1 => (vec(any::<u8>(), 0..9000), 0..190_000_usize).prop_map(|(noise, zeros)| [noise, vec![0; zeros]].concat()),
    ]
}

/// What an adversary, or a bad line, does to a stream.
#[derive(Debug, Clone)]
enum Bend {
    Not,
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Behind(Vec<u8>),
}

impl Bend {
    fn apply(&self, mut body: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Not => {}
            Self::Cut(at) => body.truncate(at.index(body.len())),
            Self::Flip(at, bits) => {
                let at = at.index(body.len());
                body[at] ^= bits;
            }
            Self::Behind(more) => body.extend(more),
        }
        body
    }
}

fn bend() -> impl Strategy<Value = Bend> {
    prop_oneof![
        Just(Bend::Not),
        any::<prop::sample::Index>().prop_map(Bend::Cut),
        (any::<prop::sample::Index>(), 1..=255_u8).prop_map(|(at, bits)| Bend::Flip(at, bits)),
        vec(any::<u8>(), 1..5000).prop_map(Bend::Behind),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_has_the_same_verdict(
        payload in payload(),
        coding in prop::sample::select(&Coding::ALL[..]),
        bend in bend(),
        lengths in vec(prop_oneof![1..20_usize, 1..5000_usize, Just(4096_usize)], 1..6),
    ) {
        let datum = datum(&payload);
        let body = bend.apply(encoded(coding, &datum));
        let whole = verdict(coding, &body, &[body.len().max(1)]);
        prop_assert_eq!(&verdict(coding, &body, &lengths), &whole);
        if body.len() < 3000 {
            prop_assert_eq!(&verdict(coding, &body, &[1]), &whole);
        }
        if matches!(bend, Bend::Not) {
            let (came, holds) = (body.len() as u64, datum.len() as u64);
            if came.max(holds) > BODY_BYTES_MAX || holds > (came * RATIO_MAX).max(64 << 10) {
                prop_assert!(whole.is_err());
            } else if came < 4096 || holds <= 64 << 10 {
                // In one block, or too short for the ratio to matter on the way.
                prop_assert_eq!(&whole, &Ok(came));
            }
        }
        if matches!(bend, Bend::Cut(_) | Bend::Behind(_)) {
            prop_assert!(whole.is_err());
        }
    }
}

/// Trailing bytes are found wherever the blocks of the decoder end.
#[test]
fn a_byte_behind_a_stream_of_any_length_is_refused() {
    for coding in Coding::ALL {
        let mut ends = Vec::new();
        for length in (4060..4110).chain(8150..8200) {
            let body = encoded(coding, &datum(&noise(length)));
            ends.push(body.len());
            assert_eq!(verdict(coding, &body, &[body.len()]), Ok(body.len() as u64), "{coding} {length}");
            let longer = [&body[..], &[0]].concat();
            for lengths in [&[longer.len()][..], &[body.len(), 1]] {
                let refused = verdict(coding, &longer, lengths).unwrap_err();
                assert_eq!(&*refused.detail, format!("the {coding} stream is followed by other bytes"), "{length}");
            }
        }
        for end in [4095, 4096, 4097, 8191, 8192, 8193] {
            assert!(ends.contains(&end), "{coding}: {ends:?}");
        }
    }
}

/// A ratio is looked at on the way: a stream that holds much need not come to its end.
#[test]
fn a_body_may_hold_as_many_times_what_came_as_the_limit_and_no_more() {
    // One block each way, so that the ratio is exact.
    for coding in Coding::ALL {
        let body = |zeros: usize| datum(&[noise(3000), vec![0; zeros]].concat());
        let verdict = |zeros: usize| {
            let datum = body(zeros);
            let coded = encoded(coding, &datum);
            assert!(coded.len() < 4096);
            let fits = datum.len() as u64 <= (RATIO_MAX * coded.len() as u64).max(64 << 10);
            (fits, verdict(coding, &coded, &[7]))
        };
        // Short bodies may be whatever they are.
        let floor = (64 << 10) - 3000 - 3;
        let (fits, at) = verdict(floor);
        assert!(fits && at.is_ok(), "{coding}: {at:?}");
        let (fits, past) = verdict(floor + 1);
        assert!(!fits, "{coding}");
        let refused = past.unwrap_err();
        assert_eq!(&*refused.detail, format!("the {coding} stream holds more than 8 times the bytes that came"));
    }
}

/// Beyond that floor the ratio alone counts, and it counts all that has been given to the decoder.
#[test]
fn a_longer_body_may_hold_exactly_as_many_times_what_came_as_the_limit() {
    for coding in Coding::ALL {
        // Several blocks, of which the last holds all that compresses.
        let holding_so_many_more = |more: u64| {
            let mut zeros = 70_000;
            for _ in 0..100 {
                let datum = datum(&[noise(10_000), vec![0; zeros]].concat());
                let coded = encoded(coding, &datum);
                let (holds, wanted) = (datum.len() as u64, RATIO_MAX * coded.len() as u64 + more);
                if holds == wanted {
                    return coded;
                }
                zeros = (zeros as u64 + wanted - holds).try_into().unwrap();
            }
            panic!("no such body: {coding} {more}");
        };
        let (at, past) = (holding_so_many_more(0), holding_so_many_more(1));
        assert_eq!(verdict(coding, &at, &[7]), Ok(at.len() as u64), "{coding}");
        let refused = verdict(coding, &past, &[7]).unwrap_err();
        assert_eq!(&*refused.detail, format!("the {coding} stream holds more than 8 times the bytes that came"));
    }
}

/// As it comes, and in how many pieces is all the same.
#[test]
fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
    for coding in Coding::ALL {
        let most = usize::try_from(BODY_BYTES_MAX).unwrap();
        let of_length = |length: usize| {
            let overhead = encoded(coding, &datum(&noise(length))).len() - length;
            let body = encoded(coding, &datum(&noise(length - overhead)));
            assert_eq!(body.len(), length, "{coding}");
            body
        };
        let (at, past) = (of_length(most), of_length(most + 1));
        for lengths in [[at.len() + 1], [1000], [4096]] {
            assert_eq!(verdict(coding, &at, &lengths), Ok(BODY_BYTES_MAX), "{coding} {lengths:?}");
            let refused = verdict(coding, &past, &lengths).unwrap_err();
            assert_eq!(
                (refused.reason, &*refused.detail),
                (Reason::BodyTooLarge, "more than 200000 bytes"),
                "{coding}"
            );
        }
    }
}
