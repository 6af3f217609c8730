//! YAML documents read into types: the one place that knows the YAML library.
//!
//! Keys that a type does not know (`deny_unknown_fields` on the types), duplicate keys and merge keys are refused, the
//! size of a text and of what it expands to is bounded, and what is wrong is a [`Finding`] with its place.

#![warn(clippy::indexing_slicing)]

use crate::finding::{Finding, Place};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::options::AliasLimits;
use serde_saphyr::{
    Budget, DefaultMessageFormatter, DuplicateKeyPolicy, Error, Location, MergeKeyPolicy, MessageFormatter, Options,
};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A value and where it stands in its text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "serde_saphyr::Spanned<T>")]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is used; of an alias, where the alias stands.
    pub place: Place,
}

/// The version of the document's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The only one so far.
    #[serde(rename = "avrogate.dev/v1alpha1")]
    V1Alpha1,
}

/// Bytes of one text.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// Mappings, sequences and scalars of one text.
pub const NODES_MAX: usize = 2_000_000;

/// What aliases of one text may repeat, in parser events.
pub const ALIASED_MAX: usize = 100_000;

/// Mappings and sequences inside each other.
pub const DEPTH_MAX: usize = 32;

/// The documents of a text, in order; empty ones are left out.
///
/// # Errors
/// The first place that is no YAML, or not of the type: nothing behind it can be read with certainty.
pub fn documents<T: DeserializeOwned>(file: &Arc<str>, text: &str) -> Result<Vec<T>, Finding> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("{} bytes are more than the {TEXT_BYTES_MAX} that a document may have", text.len());
        return Err(Finding::of_file("file-too-large", Arc::clone(file), message));
    }
    serde_saphyr::from_multiple_with_options(text, options()).map_err(|error| finding(file, &error))
}

/// The one document of a text.
///
/// # Errors
/// As [`documents`]; and where there is none, or more than one.
pub fn document<T: DeserializeOwned>(file: &Arc<str>, text: &str) -> Result<T, Finding> {
    let mut documents = documents(file, text)?;
    match (documents.pop(), documents.len()) {
        (Some(only), 0) => Ok(only),
        (None, _) => Err(Finding::of_file("document-missing", Arc::clone(file), "the file holds no document")),
        (Some(_), others) => {
            let message = format!("the file holds {} documents where one is expected", others + 1);
            Err(Finding::of_file("document-surplus", Arc::clone(file), message))
        }
    }
}

/// JSON Schema (2020-12) of a document, for editors and other programs: from the type that reads it.
#[must_use]
pub fn json_schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

impl<T> Spanned<T> {
    /// What is made of the value, at the same place.
    pub fn map<U>(&self, make: impl FnOnce(&T) -> U) -> Spanned<U> {
        Spanned { value: make(&self.value), place: self.place.clone() }
    }
}

impl<T> From<serde_saphyr::Spanned<T>> for Spanned<T> {
    fn from(spanned: serde_saphyr::Spanned<T>) -> Self {
        Self { place: place(spanned.referenced), value: spanned.value }
    }
}

impl<T> From<&Spanned<T>> for Place {
    fn from(spanned: &Spanned<T>) -> Self {
        spanned.place.clone()
    }
}

/// A place is nothing that a person writes.
impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

fn place(location: Location) -> Place {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: number(location.line()), column: number(location.column()), span: bytes(location) }
}

fn bytes(location: Location) -> Option<Range<usize>> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    Some(start..start.checked_add(length)?)
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_nodes = NODES_MAX;
    budget.max_events = 2 * NODES_MAX;
    budget.max_depth = DEPTH_MAX;
    budget.max_inclusion_depth = 0;
    budget.max_total_scalar_bytes = TEXT_BYTES_MAX;
    let mut aliases = AliasLimits::default();
    aliases.max_total_replayed_events = ALIASED_MAX;
    aliases.max_replay_stack_depth = DEPTH_MAX;

    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits = aliases;
    options.duplicate_keys = DuplicateKeyPolicy::Error;
    options.merge_keys = MergeKeyPolicy::Error;
    options.strict_booleans = true;
    options.strict_indentation = true;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    options
}

/// What the library found, in our words where a person meets it often.
fn finding(file: &Arc<str>, error: &Error) -> Finding {
    let located = error.location().map(place);
    let error = original(error);
    let (rule, message, help) = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            ("key-unknown", format!("unknown key `{field}`"), Some(one_of(expected)))
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            ("value-unknown", format!("unknown value `{variant}`"), Some(one_of(expected)))
        }
        Error::SerdeMissingField { field, .. } => ("key-missing", format!("the key `{field}` is missing"), None),
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("key");
            ("key-duplicate", format!("`{key}` stands here a second time"), None)
        }
        Error::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            ("value-invalid", "expected exactly one of the keys, and no other beside it".to_owned(), None)
        }
        Error::MergeKeyNotAllowed { .. } => {
            let help = "write the keys out, so that each stands where it is read".to_owned();
            ("merge-key", "merge keys (`<<`) are not read".to_owned(), Some(help))
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => ("document-too-large", plain(error), None),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            ("value-invalid", format!("expected {expected}, found {unexpected}"), None)
        }
        Error::InvalidScalar { ty, .. } => ("value-invalid", format!("expected {}", kind(ty)), None),
        Error::NullIntoString { .. } => ("value-invalid", "expected a text, found null".to_owned(), None),
        Error::InvalidBooleanStrict { .. } => ("value-invalid", "expected true or false".to_owned(), None),
        Error::Message { .. } | Error::Unexpected { .. } | Error::SerdeInvalidLength { .. } => {
            ("value-invalid", plain(error), None)
        }
        _ => ("yaml-invalid", plain(error), None),
    };
    let finding = match located {
        Some(place) => Finding::error(rule, file, place, message),
        None => Finding::of_file(rule, Arc::clone(file), message),
    };
    Finding { help, ..finding }
}

/// The error inside what the library wraps around it.
fn original(error: &Error) -> &Error {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => original(error),
        other => other,
    }
}

/// What a type of Rust is to a person.
fn kind(ty: &str) -> &str {
    match ty {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "i128" => "a whole number",
        "floating point" => "a number",
        other => other,
    }
}

/// The library's own words, on one line.
fn plain(error: &Error) -> String {
    let escaped = |char: char| match char {
        // What it quotes is no text of Rust.
        '\'' | '"' => char.to_string(),
        _ => char.escape_debug().to_string(),
    };
    DefaultMessageFormatter.format_message(error).chars().map(escaped).collect()
}

fn one_of(expected: &[&str]) -> String {
    match expected {
        [] => "nothing is known here".to_owned(),
        [only] => format!("known here: `{only}`"),
        several => format!("known here: `{}`", several.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Sample {
        name: Spanned<String>,
        #[serde(default)]
        max_count: u32,
        #[serde(default)]
        kind: Option<Kind>,
        #[serde(default)]
        tags: BTreeMap<String, Spanned<String>>,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        Exact,
        Prefix,
    }

    fn check(text: &str, expected: &str) {
        match documents::<Sample>(&Arc::from("s.yaml"), text) {
            Ok(samples) => panic!("{text:?} was read: {samples:?}"),
            Err(finding) => assert_eq!(finding.to_string(), expected, "{text:?}"),
        }
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        check("name: a\nmaxCont: 3\n", "s.yaml:2:1: error[key-unknown]: unknown key `maxCont`");
        check("name: a\nname: b\n", "s.yaml:2:1: error[key-duplicate]: `name` stands here a second time");
        check("maxCount: 3\n", "s.yaml:1:1: error[key-missing]: the key `name` is missing");
        check("name: a\nkind: Exakt\n", "s.yaml:2:7: error[value-unknown]: unknown value `Exakt`");
        check("name: a\ntags: {x: y, x: z}\n", "s.yaml:2:14: error[key-duplicate]: `x` stands here a second time");
        check(
            "name: a\nmaxCount: many\n",
            "s.yaml:2:11: error[value-invalid]: expected a whole number from 0 to 4294967295",
        );
        check(
            "name: a\n---\nname: b\nmaxCount: -1\n",
            "s.yaml:4:11: error[value-invalid]: expected a whole number from 0 to 4294967295",
        );
        check("name: null\n", "s.yaml:1:7: error[value-invalid]: expected a text, found null");
        check("name: [\n", "s.yaml:1:7: error[value-invalid]: expected string scalar");
        check("name: \"a\n", "s.yaml:2:1: error[yaml-invalid]: invalid indentation in multiline quoted scalar");
        check("name: a\n<<: {maxCount: 3}\n", "s.yaml:2:1: error[merge-key]: merge keys (`<<`) are not read");
    }

    #[test]
    fn places_of_values() {
        let samples: Vec<Sample> =
            documents(&Arc::from("s.yaml"), "---\nname: ä\nkind: Exact\n---\n---\nname:   b\nkind: Prefix").unwrap();
        let places: Vec<_> = samples.iter().map(|sample| Place::from(&sample.name)).collect();
        assert_eq!((places[0].line, places[0].column, places[0].span.clone()), (2, 7, Some(10..12)));
        assert_eq!((places[1].line, places[1].column, places[1].span.clone()), (6, 9, Some(41..42)));
        assert_eq!((samples[0].max_count, samples[0].tags.len()), (0, 0));
        assert!(matches!((&samples[0].kind, &samples[1].kind), (Some(Kind::Exact), Some(Kind::Prefix))));
    }

    #[test]
    fn what_grows_is_bounded() {
        let deep = format!("tags: {}1{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        let error = documents::<BTreeMap<String, serde_json::Value>>(&Arc::from("s.yaml"), &deep).unwrap_err();
        assert_eq!(error.rule, "document-too-large", "{error}");
        let long = "#".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(documents::<Sample>(&Arc::from("s.yaml"), &long).unwrap_err().rule, "file-too-large");
        let mut bomb = "name: a\ntags:\n  a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (this, before) in "bcdefghi".chars().zip("abcdefgh".chars()) {
            let many = vec![format!("*{before}"); 10].join(",");
            bomb += &format!("  {this}: &{this} [{many}]\n");
        }
        let error = documents::<BTreeMap<String, serde_json::Value>>(&Arc::from("s.yaml"), &bomb).unwrap_err();
        assert_eq!(error.rule, "document-too-large", "{error}");
    }

    #[test]
    fn one_document_is_one() {
        let one = |text| document::<Sample>(&Arc::from("s.yaml"), text).map(|sample| sample.name.value);
        assert_eq!(one("name: a\n---\n"), Ok("a".to_owned()));
        assert_eq!(one("").unwrap_err().rule, "document-missing");
        assert_eq!(one("name: a\n---\nname: b\n").unwrap_err().rule, "document-surplus");
    }
}
