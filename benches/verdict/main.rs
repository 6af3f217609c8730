//! What a verdict costs, against the decoders that a service would use instead.
//!
//! Twelve workloads, each judged by avrogate, by code written for its one schema (`by_hand`), by serde_avro_fast with a
//! visitor that looks at everything and keeps nothing, and by apache-avro. All run in turns in one process, many short
//! rounds, so that what disturbs the machine disturbs all of them; a ratio is the median of the rounds' ratios.
//!
//! The promise: three times as fast as serde_avro_fast by geometric mean over the record workloads, slower on none of
//! the twelve. The process fails where it does not hold.

mod by_hand;
mod workloads;

use avrogate::avro::{Limits, Program, Schema, Step, Validator};
use serde::de::{Deserialize, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_avro_fast::de::read::SliceRead;
use serde_avro_fast::de::{DeserializerConfig, DeserializerState};
use std::fmt;
use std::hint::black_box;
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use workloads::Workload;

/// How long each contestant has in a round: short enough that most turns are not interrupted.
const TURN: Duration = Duration::from_micros(200);

/// Rounds for each workload; fewer where they take longer than so long together, yet never fewer than a few.
const ROUNDS_MAX: usize = 1000;
const ROUNDS_MIN: usize = 21;
const ROUNDS_TIME: Duration = Duration::from_secs(2);

const PROMISED_RATIO: f64 = 3.0;

fn main() -> ExitCode {
    // `cargo bench --bench verdict -- tree` measures the workloads whose name has "tree" in it.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("ns a message, medians of up to {ROUNDS_MAX} rounds; ratios to avrogate, medians of the rounds' ratios\n");
    println!(
        "{:<24}{:>9}{:>11}{:>8}{:>11}{:>8}{:>17}{:>8}{:>13}{:>8}",
        "", "bytes", "avrogate", "B/ns", "by hand", "", "serde_avro_fast", "", "apache-avro", ""
    );
    let mut rows = Vec::new();
    for workload in workloads::all().into_iter().filter(|workload| workload.name.contains(&filter)) {
        let row = measure(&workload);
        let [ours, by_hand, serde, apache] = row.times;
        let bytes = workload.bytes.len();
        println!(
            "{:<24}{bytes:>9}{ours:>11.1}{:>8.2}{by_hand:>11.1}{:>7.2}x{serde:>17.1}{:>7.2}x{apache:>13.1}{:>7.2}x",
            workload.name,
            bytes as f64 / ours,
            row.ratios[0],
            row.ratios[1],
            row.ratios[2],
        );
        rows.push((workload.is_record, row));
    }
    let records = geometric_means(rows.iter().filter(|(is_record, _)| *is_record).map(|(_, row)| row));
    let all = geometric_means(rows.iter().map(|(_, row)| row));
    for (name, means) in [("records", records), ("all", all)] {
        println!(
            "{:<24}{:>9}{:>11}{:>8}{:>11}{:>7.2}x{:>17}{:>7.2}x{:>13}{:>7.2}x",
            format!("geometric mean, {name}"),
            "",
            "",
            "",
            "",
            means[0],
            "",
            means[1],
            "",
            means[2]
        );
    }
    let is_kept = records[1] >= PROMISED_RATIO && rows.iter().all(|(_, row)| row.ratios[1] >= 1.0);
    if !filter.is_empty() || is_kept {
        return ExitCode::SUCCESS;
    }
    println!("\nnot as promised: {PROMISED_RATIO} times serde_avro_fast over the records, slower on none");
    ExitCode::FAILURE
}

/// Median times and, for each but the first, the median of its ratios to the first.
struct Row {
    times: [f64; 4],
    ratios: [f64; 3],
}

fn measure(workload: &Workload) -> Row {
    let mut ours = avrogate(workload);
    let mut by_hand = |bytes: &[u8]| (workload.by_hand)(bytes);
    let mut serde = serde_avro_fast(workload);
    let mut apache = apache_avro(workload);
    let mut contestants: [&mut dyn FnMut(&[u8]) -> bool; 4] = [&mut ours, &mut by_hand, &mut serde, &mut apache];
    let bytes = &workload.bytes;
    for (at, judge) in contestants.iter_mut().enumerate() {
        assert!(judge(bytes), "{} is valid", workload.name);
        // apache-avro takes some data that is cut.
        assert!(at == 3 || !judge(&bytes[..bytes.len() - 1]), "{} is truncated", workload.name);
        assert!(!judge(&[&bytes[..], &[0]].concat()), "{} has a byte too many", workload.name);
    }
    let turns = contestants.each_mut().map(|judge| turns(judge, bytes));
    let mut rounds: Vec<[f64; 4]> = Vec::with_capacity(ROUNDS_MAX);
    let start = Instant::now();
    while rounds.len() < ROUNDS_MIN || (rounds.len() < ROUNDS_MAX && start.elapsed() < ROUNDS_TIME) {
        let mut times = [0.0; 4];
        for ((judge, turns), time) in contestants.iter_mut().zip(turns).zip(&mut times) {
            *time = run(judge, bytes, turns).as_secs_f64() * 1e9 / f64::from(turns);
        }
        rounds.push(times);
    }
    let median_of = |value: &dyn Fn(&[f64; 4]) -> f64| median(rounds.iter().map(value).collect());
    Row {
        times: [0, 1, 2, 3].map(|at| median_of(&|times| times[at])),
        ratios: [1, 2, 3].map(|at| median_of(&|times| times[at] / times[0])),
    }
}

/// How often a contestant judges in its turn.
fn turns(judge: &mut dyn FnMut(&[u8]) -> bool, bytes: &[u8]) -> u32 {
    let mut turns = 1;
    while run(judge, bytes, turns) < TURN {
        turns *= 2;
    }
    turns
}

fn run(judge: &mut dyn FnMut(&[u8]) -> bool, bytes: &[u8], turns: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..turns {
        assert!(judge(black_box(bytes)));
    }
    start.elapsed()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn geometric_means<'a>(rows: impl Iterator<Item = &'a Row>) -> [f64; 3] {
    let rows: Vec<_> = rows.collect();
    [0, 1, 2].map(|at| {
        let sum: f64 = rows.iter().map(|row| row.ratios[at].ln()).sum();
        (sum / rows.len() as f64).exp()
    })
}

/// As the gate does: one validator, reset for each message.
fn avrogate(workload: &Workload) -> impl FnMut(&[u8]) -> bool {
    let program = Arc::new(Program::compile(&Schema::parse(workload.schema).expect("a schema")));
    let mut validator = Validator::new(program.clone(), Limits::default());
    move |bytes| {
        validator.reset(&program);
        matches!(validator.push(bytes), Ok(Step::Done { consumed }) if consumed == bytes.len())
    }
}

fn serde_avro_fast(workload: &Workload) -> impl FnMut(&[u8]) -> bool {
    let schema: serde_avro_fast::Schema = workload.schema.parse().expect("a schema for serde_avro_fast");
    move |bytes| {
        let mut config = DeserializerConfig::new(&schema);
        // It counts unions as well.
        config.allowed_depth = 200;
        let mut state = DeserializerState::with_config(SliceRead::new(bytes), config);
        Checked::deserialize(state.deserializer()).is_ok() && matches!(state.into_reader().read(&mut [0]), Ok(0))
    }
}

fn apache_avro(workload: &Workload) -> impl FnMut(&[u8]) -> bool {
    let schema =
        Box::leak(Box::new(apache_avro::Schema::parse_str(workload.schema).expect("a schema for apache-avro")));
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(schema).build().expect("a reader");
    move |mut bytes| reader.read_value(&mut bytes).is_ok() && bytes.is_empty()
}

/// Any value, looked at and dropped.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(Self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(Self)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Self, A::Error> {
        let (_, variant) = access.variant::<Self>()?;
        variant.newtype_variant::<Self>()
    }
}
