//! `avrogate validate`: judges bodies as the sidecar does, without a mesh.
//!
//! Every body goes through the [`Inspector`](crate::wire::Inspector) of the data path, bare data too, so that the
//! verdict, the offset and the words are those of a refused request. Memory is one piece of one body, the first bytes of
//! it to explain a refusal, and the whole where its value is shown.

mod explained;
mod input;
mod judge;
mod verdict;

use crate::avro::{JsonEncoding, Limits};
use crate::finding::{Colour, Finding};
use crate::wire::{ContractLimits, Framing};
use clap::{ArgGroup, Args, ValueEnum};
pub(super) use input::decode_hex;
use input::{HexLines, PIECE_BYTES};
use judge::{Body, Judge};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use verdict::Report;

/// Judges bytes against a schema, as the sidecar does.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("judged by").required(true).args(["schema", "schemas"])),
    group(ArgGroup::new("input").required(true).multiple(true).args(["files", "hex", "explain_program"])),
    override_usage = "avrogate validate [OPTIONS] <--schema <FILE>|--schemas <DIR>> [FILE]...",
    after_help = "\
Examples:
  avrogate validate --schema order.avsc --hex '02 04 68 69'
  avrogate validate --schemas schemas --print order.bin
  avrogate validate --schemas schemas --subject orders-value@2 --hex - < lines
  avrogate validate --schema order.avsc --explain-program
  avrogate validate --schemas schemas --reader orders-value@3 order.bin

Exit status: 0 all valid, 100 some invalid, 1 something could not be read or shown, 2 usage."
)]
pub(super) struct ValidateArgs {
    /// A schema file; given several times, files that refer to each other, and the last holds the root.
    #[arg(long, value_name = "FILE")]
    schema: Vec<PathBuf>,
    /// A directory of schemas and their catalogue, as the sidecar reads it.
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
    /// Accepts this subject of the directory alone; without --framing, for bare data of it. The latest version where
    /// none is named and data are bare.
    #[arg(long, value_name = "SUBJECT[@VERSION]", conflicts_with = "schema")]
    subject: Option<String>,
    /// Also refuses what a reader with this schema cannot read: a subject and version of the directory, or a file; given
    /// several times, files that refer to each other, and the last holds the root. With --explain-program, why a schema
    /// can never be read.
    #[arg(long, value_name = "FILE|SUBJECT@VERSION")]
    reader: Vec<String>,
    /// What stands before a datum. By default nothing with --schema or --subject, and with --schemas either prefix.
    #[arg(long, value_name = "FRAMING", value_enum)]
    framing: Option<FramingWord>,
    /// The registry id of --schema, for --framing confluent.
    #[arg(long, value_name = "N", conflicts_with = "schemas")]
    id: Option<u32>,
    /// Files of one body each; `-` is the standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A body in hexadecimal, blanks allowed; `-` reads one a line from the standard input, where an empty line is an
    /// empty body.
    #[arg(long, value_name = "HEX")]
    hex: Vec<String>,
    /// How verdicts are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Shows what data are judged by, step by step and beside the schema's fields, and judges nothing.
    #[arg(long, conflicts_with_all = ["files", "hex"])]
    explain_program: bool,
    /// Shows what passed as Avro JSON; of map entries with one key, the last.
    #[arg(long)]
    print: bool,
    /// Records, arrays and maps inside each other.
    #[arg(long, value_name = "N", default_value_t = Limits::default().depth_max)]
    max_depth: u32,
    /// Array items and map entries of one datum.
    #[arg(long, value_name = "N", default_value_t = Limits::default().items_max)]
    max_items: u64,
    /// Bytes of one body, prefix included.
    #[arg(long, value_name = "N", default_value_t = ContractLimits::default().body_bytes_max)]
    max_bytes: u64,
    /// Refuses varints with needless bytes, on which the specification is silent.
    #[arg(long)]
    strict_varints: bool,
    /// Judges logical types as well: a decimal within its precision, the text of a UUID, a time within its day.
    #[arg(long)]
    logical: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each body; below one that is invalid, why.
    Text,
    /// A JSON object for each body, one a line.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FramingWord {
    /// The datum alone.
    Bare,
    /// A zero byte and the registry id in four bytes.
    Confluent,
    /// C3 01 and CRC-64-AVRO in eight bytes.
    SingleObject,
}

impl From<FramingWord> for Framing {
    fn from(word: FramingWord) -> Self {
        match word {
            FramingWord::Bare => Self::Bare,
            FramingWord::Confluent => Self::Confluent,
            FramingWord::SingleObject => Self::SingleObject,
        }
    }
}

/// Why there is nobody to judge.
#[derive(Debug)]
enum Failure {
    /// The arguments do not go together.
    Usage(String),
    /// The schemas cannot be used.
    Findings(Vec<Finding>),
}

/// What the command exits with where bodies are invalid.
const FINDINGS: u8 = 100;
/// What it exits with where the arguments do not go together, as clap does.
const USAGE: u8 = 2;

/// Runs the command.
#[must_use]
pub(super) fn run(args: ValidateArgs) -> ExitCode {
    // Values are decoded, written and dropped by recursion.
    let stack = if args.print { JsonEncoding::STACK_BYTES } else { 1 << 20 };
    let thread = std::thread::Builder::new().stack_size(stack).spawn(move || validate(&args));
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        Ok(Err(_)) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

fn validate(args: &ValidateArgs) -> ExitCode {
    let from_stdin = args.files.iter().filter(|file| file.as_os_str() == "-").count()
        + args.hex.iter().filter(|hex| *hex == "-").count();
    if from_stdin > 1 {
        return usage("the standard input can be read once: `-` stands there twice");
    }
    let judge = match Judge::new(args) {
        Ok(judge) => judge,
        Err(Failure::Usage(message)) => return usage(&message),
        Err(Failure::Findings(findings)) => {
            findings.iter().for_each(show);
            return ExitCode::FAILURE;
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if args.explain_program {
        return match judge.explain_program(&mut out).and_then(|explained| out.flush().map(|()| explained)) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&error),
            Ok(false) => ExitCode::from(FINDINGS),
            _ => ExitCode::SUCCESS,
        };
    }
    let mut report = Report::new(&mut out, args.format, &judge);
    match judge_all(args, &judge, &mut report).and_then(|()| report.flush()) {
        // Whoever closed the pipe has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&error),
        _ if report.failed => ExitCode::FAILURE,
        _ if report.invalid => ExitCode::from(FINDINGS),
        _ => ExitCode::SUCCESS,
    }
}

/// Judges every input in turn. One that cannot be read does not keep the others from it; an error is one of writing.
fn judge_all(args: &ValidateArgs, judge: &Judge, report: &mut Report<'_>) -> io::Result<()> {
    for file in &args.files {
        if file.as_os_str() == "-" {
            judge_reader(io::stdin().lock(), "stdin", judge, report)?;
        } else {
            let name = file.display().to_string();
            match File::open(file) {
                Ok(opened) => judge_reader(opened, &name, judge, report)?,
                Err(error) => report.unread(&name, &error)?,
            }
        }
    }
    for (at, hex) in args.hex.iter().enumerate() {
        if hex == "-" {
            judge_lines(judge, report)?;
        } else {
            let mut body = Body::new(judge);
            let name = format!("hex:{}", at + 1);
            match decode_hex(hex, |bytes| body.push(bytes)) {
                Ok(()) => report.verdict(&name, &body.finish())?,
                Err(error) => report.unread(&name, &error)?,
            }
        }
    }
    Ok(())
}

/// One body, as far as it has to be read: of a refused one, what other versions need.
fn judge_reader(mut reader: impl Read, name: &str, judge: &Judge, report: &mut Report<'_>) -> io::Result<()> {
    let mut body = Body::new(judge);
    let mut piece = vec![0; PIECE_BYTES];
    while body.wants_more() {
        match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => body.push(piece.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return report.unread(name, &error),
        }
    }
    report.verdict(name, &body.finish())
}

/// One body a line of the standard input.
fn judge_lines(judge: &Judge, report: &mut Report<'_>) -> io::Result<()> {
    let mut lines = HexLines::new(BufReader::with_capacity(PIECE_BYTES, io::stdin().lock()));
    loop {
        // Whoever writes the lines by hand reads each verdict before the next.
        if lines.would_wait() {
            report.flush()?;
        }
        let mut body = Body::new(judge);
        match lines.next(|bytes| body.push(bytes)) {
            Ok(None) => return Ok(()),
            Ok(Some(line)) => {
                let name = format!("stdin:{}", lines.number());
                match line {
                    Ok(()) => report.verdict(&name, &body.finish())?,
                    Err(error) => report.unread(&name, &error)?,
                }
            }
            Err(error) => return report.unread("stdin", &error),
        }
    }
}

/// Shows a finding with its place, where the file can still be read.
fn show(finding: &Finding) {
    let mut text = String::new();
    if finding.place.is_some() {
        // The file was read a moment ago within this bound; what has grown since is cut.
        let read = File::open(&*finding.file).map(|file| file.take(crate::registry::FILE_BYTES_MAX));
        let _ = read.and_then(|mut file| file.read_to_string(&mut text));
    }
    let plain = !io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    let colour = if plain { Colour::Never } else { Colour::Ansi };
    let _ = writeln!(io::stderr(), "{}", finding.render(&text, colour));
}

fn usage(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {message}\n\nFor more information, try '--help'.");
    ExitCode::from(USAGE)
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "avrogate: {error}");
    ExitCode::FAILURE
}
