//! A datum has one verdict, however it is cut.
//!
//! Input: a group of the cases in two bytes, cuts, the datum.

#![no_main]

use avrogate::avro::{Limits, Program};
use avrogate_fuzz::{CUTS, groups, judge, pieces, same};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static PROGRAMS: LazyLock<Vec<Option<(Arc<Program>, Limits)>>> =
    LazyLock::new(|| groups().iter().map(|group| Some((group.program().ok()?, group.limits))).collect());

fuzz_target!(|input: &[u8]| {
    let Some((group, rest)) = input.split_first_chunk() else { return };
    let Some((cuts, datum)) = rest.split_first_chunk::<CUTS>() else { return };
    let group = usize::from(u16::from_le_bytes(*group)) % PROGRAMS.len();
    let Some((program, limits)) = &PROGRAMS[group] else { return };

    let whole = judge(program, *limits, [datum]);
    if let Ok(consumed) = whole {
        assert!(consumed <= datum.len() as u64);
    }
    for pieces in [pieces(cuts, datum), pieces(&[0; CUTS], datum)] {
        let cut = judge(program, *limits, pieces);
        assert!(same(&whole, &cut), "whole {whole:?}, cut {cut:?}");
    }
});
