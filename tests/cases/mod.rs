//! The cases of a verdict, in `verdict` and `resolution`, as tests and fuzz targets read them.
//!
//! A file is a list of groups: the rules it shows (`rules`, by their number in the table of the README), a `schema` as
//! JSON, `limits` where they are not the defaults, and `cases`. The `bytes` of a case are hexadecimal; `80*9` is nine
//! of them and `#` begins a comment. Its `verdict` is `ok`, or a fault's code, its offset and its path:
//! `utf8_invalid at 4 in lines[0].sku`. With a `reader`, another schema, the verdict is on what that takes of what is
//! written with `schema`; a pair that can never be read has no cases but `incompatible`, one line for each reason.

#![allow(unreachable_pub, reason = "the fuzz targets' library shows it to the targets")]

use avrogate::avro::{Incompatibilities, Limits, Program, Resolution, Schema};
use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};
use std::path::Path;
use std::sync::Arc;

/// What is said of one schema.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The name of its file.
    #[serde(skip)]
    pub file: Arc<str>,
    #[serde(default)]
    pub rules: Vec<u8>,
    pub schema: String,
    pub reader: Option<String>,
    #[serde(default, with = "LimitsWritten")]
    pub limits: Limits,
    #[serde(default)]
    pub cases: Vec<Case>,
    pub incompatible: Option<String>,
}

/// What is said of one datum.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(deserialize_with = "unhex")]
    pub bytes: Vec<u8>,
    pub verdict: String,
}

#[derive(Deserialize)]
#[serde(remote = "Limits", deny_unknown_fields, rename_all = "camelCase", default = "Limits::default")]
struct LimitsWritten {
    bytes_max: u64,
    depth_max: u32,
    items_max: u64,
    strict_varints: bool,
    logical: bool,
}

/// Every group in this folder, in the order of files and of groups in them.
pub fn groups(folder: &Path) -> Vec<Group> {
    let folders = ["verdict", "resolution"].map(|name| folder.join(name).read_dir().expect("a folder of cases"));
    let mut files: Vec<_> = folders.into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files.iter().flat_map(|path| read(path)).collect()
}

fn read(path: &Path) -> Vec<Group> {
    let file: Arc<str> = path.display().to_string().into();
    let text = std::fs::read_to_string(path).expect("cases");
    let groups: Vec<Group> = avrogate::yaml::document(&file, &text).unwrap_or_else(|finding| panic!("{finding}"));
    groups.into_iter().map(|group| Group { file: file.clone(), ..group }).collect()
}

impl Group {
    /// The program of the group's data, or why none can be read.
    pub fn program(&self) -> Result<Arc<Program>, Incompatibilities> {
        let parse = |text| Schema::parse(text).unwrap_or_else(|errors| panic!("{}: {errors}: {text}", self.file));
        let writer = parse(&self.schema);
        let program = Arc::new(Program::compile(&writer));
        let Some(reader) = &self.reader else { return Ok(program) };
        Ok(Resolution::of(&writer, &parse(reader))?.program(&program))
    }
}

fn unhex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut bytes = Vec::new();
    for token in text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace()) {
        let (digits, times) = token.split_once('*').unwrap_or((token, "1"));
        let pairs = digits.as_bytes().chunks(2);
        let some = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let some: Option<Vec<u8>> = some.collect();
        let some = some.filter(|_| digits.len() % 2 == 0).zip(times.parse().ok());
        let (some, times) =
            some.ok_or_else(|| D::Error::invalid_value(Unexpected::Str(token), &"hexadecimal digits"))?;
        bytes.extend(some.repeat(times));
    }
    Ok(bytes)
}
