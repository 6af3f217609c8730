//! What a verdict costs, against the decoders that a service would use instead. `benches/README.md` says how to read it.
//!
//! Twelve workloads, each judged by avrogate whole and in chunks, by code written for its one schema (`by_hand`), by
//! other decoders, and beside them the least that touching each byte costs. All run in turns in one process, many short
//! rounds, so that what disturbs the machine disturbs all of them; a ratio is the median of the rounds' ratios.
//!
//! The promise: three times as fast as serde_avro_fast by geometric mean over the record workloads, slower on none of
//! the twelve. The process fails where it does not hold. What we would like to reach stands below the tables.

mod by_hand;
mod contestants;
mod workloads;

use avrogate::avro::{Limits, Program, Schema};
use contestants::Judge;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use workloads::Workload;

/// How long each contestant has in a round: short enough that most turns are not interrupted.
const TURN: Duration = Duration::from_micros(200);

/// Rounds for each workload; fewer where they take longer than so long together, yet never fewer than a few.
const ROUNDS_MAX: usize = 1000;
const ROUNDS_MIN: usize = 21;
const ROUNDS_TIME: Duration = Duration::from_secs(3);

const PROMISED_RATIO: f64 = 3.0;

/// The contestants by their place in a row of times.
const NAMES: [&str; COUNT] = [
    "avrogate",
    "by hand",
    "serde_avro_fast",
    "arrow-avro",
    "apache-avro",
    "memcpy",
    "simdutf8",
    "16 KiB",
    "1,460 B",
    "1 B",
];
const COUNT: usize = 10;
const OURS: usize = 0;
const BY_HAND: usize = 1;
const SERDE: usize = 2;
const ARROW: usize = 3;
const APACHE: usize = 4;
const MEMCPY: usize = 5;
const SIMDUTF8: usize = 6;
/// avrogate in chunks, and their sizes.
const CHUNKED: [(usize, usize); 3] = [(7, 16 * 1024), (8, 1460), (9, 1)];

fn main() -> ExitCode {
    // `cargo bench --bench verdict -- tree` measures the workloads whose name has "tree" in it.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let workloads: Vec<_> = workloads::all().into_iter().filter(|workload| workload.name.contains(&filter)).collect();
    // First, as in a process that has just begun.
    let compile_ms = compile_ms();
    let rows: Vec<_> = workloads.iter().map(|workload| (workload, measure(workload))).collect();
    print_verdicts(&rows);
    print_chunks(&rows);
    print_levels(&workloads);
    if !filter.is_empty() {
        return ExitCode::SUCCESS;
    }
    print_reach(&rows, compile_ms);
    let records = geometric_mean(records(&rows).map(|(_, row)| row.of(SERDE, OURS)));
    if records >= PROMISED_RATIO && rows.iter().all(|(_, row)| row.of(SERDE, OURS) >= 1.0) {
        return ExitCode::SUCCESS;
    }
    println!("\nnot as promised: {PROMISED_RATIO} times serde_avro_fast over the records, slower on none");
    ExitCode::FAILURE
}

/// Each round's times, of each contestant; not a number where it refuses the schema.
struct Row(Vec<[f64; COUNT]>);

type Rows<'a> = [(&'a Workload, Row)];

impl Row {
    fn time(&self, at: usize) -> f64 {
        median(self.0.iter().map(|times| times[at]))
    }

    /// How often the second's time goes into the first's.
    fn of(&self, first: usize, second: usize) -> f64 {
        median(self.0.iter().map(|times| times[first] / times[second]))
    }

    /// The fastest decoder that checks what we do, by its ratio to us.
    fn fastest_decoder(&self) -> f64 {
        [SERDE, ARROW, APACHE].map(|at| self.of(at, OURS)).into_iter().fold(f64::INFINITY, f64::min)
    }
}

fn records<'a, 'b>(rows: &'b Rows<'a>) -> impl Iterator<Item = &'b (&'a Workload, Row)> {
    rows.iter().filter(|(workload, _)| workload.is_record)
}

fn contestants(workload: &Workload) -> [Option<Judge>; COUNT] {
    let [large, packet, byte] = CHUNKED.map(|(_, size)| Some(contestants::avrogate_in_chunks(workload, size)));
    [
        Some(contestants::avrogate(workload)),
        Some(contestants::by_hand(workload)),
        Some(contestants::serde_avro_fast(workload)),
        contestants::arrow_avro(workload).filter(|_| takes(contestants::arrow_avro, workload)),
        Some(contestants::apache_avro(workload)),
        Some(contestants::memcpy(workload)),
        Some(contestants::simdutf8(workload)),
        large,
        packet,
        byte,
    ]
}

fn takes(new: impl Fn(&Workload) -> Option<Judge>, workload: &Workload) -> bool {
    new(workload).is_some_and(|mut judge| judge(&workload.bytes, 1))
}

/// That who is compared does judge: all but the floor refuse what is no datum. apache-avro takes some data that is cut.
fn check(workload: &Workload) {
    let bytes = &workload.bytes;
    let cut = bytes[..bytes.len() - 1].to_vec();
    let longer = [&bytes[..], &[0]].concat();
    let spoiled = workload.spoiled();
    for at in (0..COUNT).filter(|at| ![MEMCPY, SIMDUTF8].contains(at)) {
        for (what, bytes) in [("cut", Some(&cut)), ("longer", Some(&longer)), ("not UTF-8", spoiled.as_ref())] {
            let (Some(bytes), Some(judge)) = (bytes, &mut contestants(workload)[at]) else { continue };
            assert!(
                !judge(bytes, 1) || (at == APACHE && what == "cut"),
                "{} takes {} {what}",
                NAMES[at],
                workload.name
            );
        }
    }
}

fn measure(workload: &Workload) -> Row {
    check(workload);
    let mut contestants = contestants(workload);
    let bytes = &workload.bytes;
    let mut turns = contestants.each_mut().map(|judge| judge.as_mut().map_or(0, |judge| turns(judge, bytes)));
    turns[ARROW] = turns[ARROW].max(contestants::batch(workload));
    Row(rounds(&mut contestants, turns, bytes))
}

fn rounds<const N: usize>(judges: &mut [Option<Judge>; N], turns: [u32; N], bytes: &[u8]) -> Vec<[f64; N]> {
    let mut rounds = Vec::with_capacity(ROUNDS_MAX);
    let start = Instant::now();
    while rounds.len() < ROUNDS_MIN || (rounds.len() < ROUNDS_MAX && start.elapsed() < ROUNDS_TIME) {
        let mut times = [f64::NAN; N];
        for ((judge, turns), time) in judges.iter_mut().zip(turns).zip(&mut times) {
            if let Some(judge) = judge {
                *time = run(judge, bytes, turns).as_secs_f64() * 1e9 / f64::from(turns);
            }
        }
        rounds.push(times);
    }
    rounds
}

/// How often a contestant judges in its turn.
fn turns(judge: &mut Judge, bytes: &[u8]) -> u32 {
    let mut turns = 1;
    while run(judge, bytes, turns) < TURN {
        turns *= 2;
    }
    turns
}

fn run(judge: &mut Judge, bytes: &[u8], turns: u32) -> Duration {
    let start = Instant::now();
    assert!(black_box(judge(bytes, turns)));
    start.elapsed()
}

/// Parsing and compiling a schema of a thousand fields.
fn compile_ms() -> f64 {
    let schema = workloads::thousand_fields();
    median((0..101).map(|_| {
        let start = Instant::now();
        black_box(Program::compile(&Schema::parse(black_box(&schema)).expect("a schema")));
        start.elapsed().as_secs_f64() * 1e3
    }))
}

fn print_verdicts(rows: &Rows<'_>) {
    println!("ns a message, in brackets how many times avrogate's: medians of up to {ROUNDS_MAX} rounds\n");
    print!("| {:<21} | {:>7} | {:>9} | {:>5} |", "", "bytes", NAMES[OURS], "B/ns");
    NAMES[BY_HAND..=SIMDUTF8].iter().for_each(|name| print!(" {name:>17} |"));
    println!("\n|---|{}", "---:|".repeat(9));
    for (workload, row) in rows {
        let (ours, bytes) = (row.time(OURS), workload.bytes.len());
        print!("| {:<21} | {bytes:>7} | {ours:>9.1} | {:>5.1} |", workload.name, bytes as f64 / ours);
        for at in BY_HAND..=SIMDUTF8 {
            let cell = match row.time(at) {
                time if time.is_nan() && !cfg!(feature = "bench-peers") => "-".to_owned(),
                time if time.is_nan() => "refuses".to_owned(),
                time => format!("{time:.1} ({:.2})", row.of(at, OURS)),
            };
            print!(" {cell:>17} |");
        }
        println!();
    }
    let kinds: [(&str, fn(&Workload) -> bool); 3] = [
        ("records", |workload| workload.is_record),
        ("all", |_| true),
        ("all but text", |workload| !workload.is_text()),
    ];
    for (name, belongs) in kinds {
        print!("| {:<21} | {:>7} | {:>9} | {:>5} |", format!("mean, {name}"), "", "", "");
        for at in BY_HAND..=SIMDUTF8 {
            print!(" {:>17} |", mean_and_least(rows.iter().filter(|(workload, _)| belongs(workload)), at));
        }
        println!();
    }
}

/// The geometric mean of a contestant's ratios to us, and the least.
fn mean_and_least<'a>(rows: impl Iterator<Item = &'a (&'a Workload, Row)>, at: usize) -> String {
    let ratios: Vec<_> = rows.map(|(_, row)| row.of(at, OURS)).filter(|ratio| !ratio.is_nan()).collect();
    if ratios.is_empty() {
        return "-".to_owned();
    }
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    format!("{:.2}, least {least:.2}", geometric_mean(ratios.into_iter()))
}

fn print_chunks(rows: &Rows<'_>) {
    println!("\navrogate in chunks: how many times as long as whole, where a message is larger than a chunk\n");
    println!("| {:<21} | {:>7} | {:>7} | {:>7} | {:>21} |", "", "16 KiB", "1,460 B", "1 B", "1 B to apache-avro's");
    println!("|---|---:|---:|---:|---:|");
    for (workload, row) in rows {
        print!("| {:<21} |", workload.name);
        for (at, size) in CHUNKED {
            let ratio = if workload.bytes.len() > size { format!("{:.2}", row.of(at, OURS)) } else { String::new() };
            print!(" {ratio:>7} |");
        }
        println!(" {:>21.2} |", row.of(CHUNKED[2].0, APACHE));
    }
    print!("| {:<21} |", "mean");
    for chunked in CHUNKED {
        print!(" {:>7.2} |", chunked_mean(rows, chunked));
    }
    println!(" {:>21.2} |", geometric_mean(rows.iter().map(|(_, row)| row.of(CHUNKED[2].0, APACHE))));
}

/// What `strictVarints` and `logical` cost. Where a schema has no logical type that a value can break, `logical` costs
/// nothing: it has no other program.
fn print_levels(workloads: &[Workload]) {
    println!("\navrogate at its levels: how many times as long as at the usual one\n");
    println!("| {:<21} | {:>13} | {:>7} |\n|---|---:|---:|", "", "strictVarints", "logical");
    let (schema, bytes) = workloads::logical();
    let data = workloads.iter().map(|workload| (workload.name, workload.schema, &workload.bytes));
    for (name, schema, bytes) in data.chain([("logical types", schema, &bytes)]) {
        let usual = Limits::default();
        let levels = [usual, Limits { strict_varints: true, ..usual }, Limits { logical: true, ..usual }];
        let mut judges = levels.map(|limits| Some(contestants::avrogate_within(schema, limits)));
        let turns = judges.each_mut().map(|judge| judge.as_mut().map_or(0, |judge| turns(judge, bytes)));
        let rounds = rounds(&mut judges, turns, bytes);
        let [strict, logical] = [1, 2].map(|at| median(rounds.iter().map(|times| times[at] / times[0])));
        println!("| {name:<21} | {strict:>13.2} | {logical:>7.2} |");
    }
}

fn chunked_mean(rows: &Rows<'_>, (at, size): (usize, usize)) -> f64 {
    let larger = rows.iter().filter(|(workload, _)| workload.bytes.len() > size);
    geometric_mean(larger.map(|(_, row)| row.of(at, OURS)))
}

/// What we would like to reach, and how far we are.
fn print_reach(rows: &Rows<'_>, compile_ms: f64) {
    let named = |name: &str| rows.iter().find(|(workload, _)| workload.name == name).map(|(_, row)| row);
    let to_floor = |name, floor| named(name).map_or(f64::NAN, |row| row.of(OURS, floor));
    let by_hand = geometric_mean(records(rows).map(|(_, row)| row.of(OURS, BY_HAND)));
    let decoder = geometric_mean(records(rows).map(|(_, row)| row.fastest_decoder()));
    let least_decoder = records(rows).map(|(_, row)| row.fastest_decoder()).fold(f64::INFINITY, f64::min);
    let least_serde = rows.iter().map(|(_, row)| row.of(SERDE, OURS)).fold(f64::INFINITY, f64::min);
    let bytes_per_ns = |name| {
        let row = rows.iter().find(|(workload, _)| workload.name == name);
        row.map_or(f64::NAN, |(workload, row)| workload.bytes.len() as f64 / row.time(OURS))
    };
    println!();
    let most = |what: &str, value: f64, most: f64| print_figure(what, value, "at most", most, value <= most);
    let least = |what: &str, value: f64, least: f64| print_figure(what, value, "at least", least, value >= least);
    most("records, to code by hand", by_hand, 1.5);
    least("records, fastest decoder to us", decoder, 5.0);
    least("records, the least of these", least_decoder, 2.0);
    least("all, the least of serde_avro_fast to us", least_serde, 1.0);
    most("multi-byte text, to simdutf8", to_floor("10 KB multi-byte text", SIMDUTF8), 1.15);
    most("ASCII, to simdutf8", to_floor("10 KB ASCII", SIMDUTF8), 1.15);
    most("bytes, to memcpy", to_floor("4 KiB bytes", MEMCPY), 1.15);
    least("longs, GB/s", bytes_per_ns("1000 longs"), 4.0 / 1.2);
    least("small longs, GB/s", bytes_per_ns("1000 small longs"), 4.0 / 1.2);
    most("16 KiB chunks, to whole", chunked_mean(rows, CHUNKED[0]), 1.05);
    most("1,460-byte chunks, to whole", chunked_mean(rows, CHUNKED[1]), 1.15);
    let one_byte = geometric_mean(rows.iter().map(|(_, row)| row.of(CHUNKED[2].0, APACHE)));
    most("one-byte chunks, to apache-avro whole", one_byte, 3.0);
    most("parsing and compiling 1,000 fields, ms", compile_ms, 5.0);
}

fn print_figure(what: &str, value: f64, bound: &str, of: f64, is_met: bool) {
    println!("{what:<40} {value:>6.2}  {bound} {of:.2}{}", if is_met { "" } else { "  MISSED" });
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value.ln(), count + 1.0));
    (sum / count).exp()
}
