//! A body has one outcome, however it is cut, and nothing of it is released before its end.
//!
//! Input: a byte for the contract, cuts, the body.

#![no_main]

use avrogate::Reason;
use avrogate::avro::{Fault, FieldPath};
use avrogate::wire::{
    CodingSet, Contract, ContractLimits, Found, Framing, FramingSet, Inspector, OnInvalid, Readings, SchemaIndex, Schemas,
};
use avrogate_fuzz::{CUTS, pieces, published};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static SCHEMAS: LazyLock<Arc<Schemas>> = LazyLock::new(published);

/// What an inspector says in the end: the bytes released, or the reason and the place.
type Outcome = (Result<u64, (Reason, Option<SchemaIndex>, Option<(Fault, u64, FieldPath)>)>, Found);

fuzz_target!(|input: &[u8]| {
    let Some(([choice], rest)) = input.split_first_chunk() else { return };
    let Some((cuts, body)) = rest.split_first_chunk::<CUTS>() else { return };
    let contract = Arc::new(contract(*choice));

    let whole = inspect(&contract, [body]);
    if let (Ok(released), found) = &whole {
        assert_eq!(*released, body.len() as u64);
        let schema = found.schema.expect("a schema of what is released");
        assert!(contract.schemas.contains(schema));
        assert!(contract.framings.contains(found.framing.expect("a framing of what is released")));
    }
    for pieces in [pieces(cuts, body), pieces(&[0; CUTS], body)] {
        assert_eq!(inspect(&contract, pieces), whole);
    }
});

fn contract(choice: u8) -> Contract {
    let framings: &[Framing] = match choice & 3 {
        0 => &[Framing::Confluent],
        1 => &[Framing::SingleObject],
        2 => &[Framing::Confluent, Framing::SingleObject],
        _ => &[Framing::Bare],
    };
    let framings = FramingSet::new(framings).expect("framings that go together");
    // A bare body is of one schema; else one schema of those published is not accepted.
    let left_out = usize::from(choice >> 2) % SCHEMAS.len();
    let member = |nth: usize| (nth == left_out) == framings.is_bare();
    let members = SCHEMAS.iter().enumerate().filter(|(nth, _)| member(*nth)).map(|(_, (index, _))| index);
    let body_bytes_max = if choice & 0x80 == 0 { 1 << 20 } else { 16 };
    Contract {
        framings,
        schemas: members.collect(),
        readings: Readings::default(),
        codings: CodingSet::default(),
        limits: ContractLimits { body_bytes_max, ..ContractLimits::default() },
        on_invalid: OnInvalid::Reject,
    }
}

fn inspect<'b>(contract: &Arc<Contract>, pieces: impl IntoIterator<Item = &'b [u8]>) -> Outcome {
    let mut inspector = Inspector::new(contract.clone(), SCHEMAS.clone(), None);
    let push_all = || {
        for piece in pieces {
            assert_eq!(inspector.push(piece)?, 0, "released before the end");
        }
        inspector.finish()
    };
    let outcome = push_all().map_err(|refused| {
        let place = refused.violation.map(|violation| (violation.fault, violation.offset, violation.path));
        (refused.reason, refused.schema, place)
    });
    (outcome, inspector.found())
}
