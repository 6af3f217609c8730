//! A bounded JSON reader that knows the place of every value and takes Java's comments.
//!
//! Strict JSON but for a byte order mark at the start and the comments `//` and `/* */`, which Avro's Java parser
//! takes. Time is linear in the text but for sorting an object's names; nesting is bounded, so reading and walking a
//! value may recurse.
//!
//! What is read is a [`Tape`]: for each value where it stands in the text, and no copy of it. Strings lose their escapes,
//! and places their bytes, when somebody asks.

mod reader;

use reader::Reader;
use std::borrow::Cow;
use std::fmt;

/// A place in a text, for a person: line and column from 1, columns in characters; and the byte from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// In bytes, from 0.
    pub byte: u32,
}

/// A text that holds one JSON value: where that stands, and each value in it.
#[derive(Debug)]
pub struct Tape<'t> {
    text: &'t str,
    /// In the order of the text; an object has a name and a value in turn.
    tokens: Vec<Token>,
}

/// A value of a text, or the name of a member.
#[derive(Debug, Clone, Copy, Default)]
struct Token {
    /// Its first byte.
    start: u32,
    /// The byte behind it; 0 while it is open.
    end: u32,
    /// The token behind it and all that it holds; 0 while it is open.
    next: u32,
}

/// A JSON value, where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Json<'a> {
    tape: &'a Tape<'a>,
    at: u32,
}

/// What a JSON value can be. Numbers keep their text, so that none is rounded.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are JSON's")]
pub enum Value<'a> {
    Null,
    Boolean(bool),
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Items<'a>),
    Object(Members<'a>),
}

/// The items of an array, in the order of the text.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    tape: &'a Tape<'a>,
    at: u32,
    end: u32,
}

/// The members of an object, in the order of the text: each a name, which is a string, and a value.
#[derive(Debug, Clone)]
pub struct Members<'a>(Items<'a>);

/// What a text may cost to read. Each bound is inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the text.
    pub bytes_max: u32,
    /// Arrays and objects open inside each other.
    pub depth_max: u32,
    /// Values, member names included.
    pub values_max: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes_max: 1 << 20, depth_max: 256, values_max: 1 << 18 }
    }
}

/// Why a text is no JSON, or too much of it, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Where.
    pub place: Place,
    /// What is wrong and what would be right.
    pub message: Box<str>,
}

impl Place {
    /// Where the text begins, behind a byte order mark.
    pub(super) fn first(text: &str) -> Self {
        Self { line: 1, column: 1, byte: place_byte(if text.starts_with(MARK) { MARK.len_utf8() } else { 0 }) }
    }

    /// The place of a byte.
    pub(super) fn of(text: &str, byte: u32) -> Self {
        Self::first(text).further(text, byte)
    }

    /// The place of a byte that is no earlier in the text.
    pub(super) fn further(self, text: &str, byte: u32) -> Self {
        let passed = text.get(self.byte as usize..byte as usize).unwrap_or_default();
        let Some(end) = passed.rfind('\n') else {
            return Self { column: self.column + place_byte(passed.chars().count()), byte, ..self };
        };
        let lines = passed.bytes().filter(|byte| *byte == b'\n').count();
        let column = passed.get(end..).unwrap_or_default().chars().count();
        Self { line: self.line + place_byte(lines), column: place_byte(column), byte }
    }
}

/// A byte order mark.
const MARK: char = '\u{feff}';

/// A number of bytes or characters as a [`Place`] keeps it; the bound on the text keeps it exact.
fn place_byte(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl<'t> Tape<'t> {
    /// Reads the one value that a text holds.
    ///
    /// # Errors
    /// At the first place where the text is no JSON, goes past a bound, or names a member of an object twice.
    pub fn read(text: &'t str, bounds: &Bounds) -> Result<Self, JsonError> {
        let first = Place::first(text);
        if text.len() > bounds.bytes_max as usize {
            let message = format!("the text has {} bytes; at most {} are read", text.len(), bounds.bytes_max);
            return Err(JsonError { place: first, message: message.into() });
        }
        let mut reader = Reader::new(text, first.byte, *bounds);
        reader.value(0)?;
        reader.skip_blank()?;
        match reader.peek() {
            None => Ok(Self { text, tokens: reader.tokens }),
            Some(_) => Err(reader.unexpected("the end of the text")),
        }
    }

    /// The value.
    #[must_use]
    pub fn root(&self) -> Json<'_> {
        Json { tape: self, at: 0 }
    }

    fn token(&self, at: u32) -> Token {
        self.tokens.get(at as usize).copied().unwrap_or_default()
    }
}

impl<'a> Json<'a> {
    /// What it is.
    #[must_use]
    pub fn value(self) -> Value<'a> {
        match self.first() {
            b'{' => Value::Object(Members(self.inner())),
            b'[' => Value::Array(self.inner()),
            b'"' => Value::String(self.unescaped()),
            b'n' => Value::Null,
            b't' => Value::Boolean(true),
            b'f' => Value::Boolean(false),
            _ => Value::Number(self.text()),
        }
    }

    /// As it is written.
    #[must_use]
    pub fn text(self) -> &'a str {
        let Token { start, end, .. } = self.tape.token(self.at);
        self.tape.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Its first byte.
    #[must_use]
    pub fn start(self) -> u32 {
        self.tape.token(self.at).start
    }

    /// The value of an object's member; `None` for other values too.
    #[must_use]
    pub fn get(self, member: &str) -> Option<Self> {
        self.members().find(|(name, _)| name.is(member)).map(|(_, value)| value)
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        (self.first() == b'"').then(|| self.unescaped())
    }

    /// The items of an array.
    #[must_use]
    pub fn as_array(self) -> Option<Items<'a>> {
        (self.first() == b'[').then(|| self.inner())
    }

    /// What it is, for a sentence: `a string`, `null`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self.value() {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }

    /// The members of an object; none of any other value.
    fn members(self) -> Members<'a> {
        let inner = self.inner();
        Members(if self.first() == b'{' { inner } else { Items { end: inner.at, ..inner } })
    }

    /// The values directly in it.
    fn inner(self) -> Items<'a> {
        Items { tape: self.tape, at: self.at + 1, end: self.tape.token(self.at).next }
    }

    /// The byte by which JSON tells what a value is.
    fn first(self) -> u8 {
        self.tape.text.as_bytes().get(self.start() as usize).copied().unwrap_or_default()
    }

    /// Whether a string is this one.
    fn is(self, text: &str) -> bool {
        self.unescaped() == text
    }

    /// The text of what is known to be a string.
    fn unescaped(self) -> Cow<'a, str> {
        unescaped(self.tape.text, self.tape.token(self.at))
    }
}

/// The text of a string that was read before.
fn unescaped(text: &str, Token { start, end, .. }: Token) -> Cow<'_, str> {
    let written = text.get(start as usize + 1..(end as usize).saturating_sub(1)).unwrap_or_default();
    if written.contains('\\') {
        return Reader::new(text, start, Bounds::default()).string().unwrap_or_default();
    }
    written.into()
}

impl<'a> Iterator for Items<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Json<'a>> {
        let json = Json { tape: self.tape, at: self.at };
        self.at = self.tape.token(self.at).next;
        (json.at < self.end).then_some(json)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Json<'a>, Json<'a>);

    fn next(&mut self) -> Option<(Json<'a>, Json<'a>)> {
        Some((self.0.next()?, self.0.next()?))
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place.line, self.place.column, self.message)
    }
}

impl std::error::Error for JsonError {}

/// Of items, each with its position, the positions of those that are equal to an earlier one, in order.
pub(super) fn repeated<T: Ord, P: Ord + Copy>(mut items: Vec<(T, P)>) -> Vec<P> {
    items.sort_unstable();
    let mut found: Vec<P> = items
        .windows(2)
        .filter_map(|pair| {
            if let [(one, _), (two, at)] = pair
                && one == two
            {
                Some(*at)
            } else {
                None
            }
        })
        .collect();
    found.sort_unstable();
    found
}

/// A text of the input as messages show it: in backticks, escaped, and cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 120;
    let mut shown = String::new();
    for character in text.chars().take(SHOWN_MAX) {
        match character {
            '"' | '\'' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    let dots = if text.chars().nth(SHOWN_MAX).is_some() { "…" } else { "" };
    format!("`{shown}{dots}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { bytes_max: 40, depth_max: 3, values_max: 5 };

    fn read(text: &str) -> Result<Tape<'_>, JsonError> {
        Tape::read(text, &Bounds::default())
    }

    fn check_error(text: &str, bounds: &Bounds, expected: &str) {
        let error = Tape::read(text, bounds).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}\n  is     {error}\n  wanted {expected}");
    }

    /// Values without their places.
    fn bare(json: Json<'_>) -> String {
        match json.value() {
            Value::Null => "null".into(),
            Value::Boolean(value) => value.to_string(),
            Value::Number(text) => text.to_string(),
            Value::String(text) => format!("{text:?}"),
            Value::Array(items) => format!("[{}]", items.map(bare).collect::<Vec<_>>().join(",")),
            Value::Object(members) => {
                let members: Vec<_> = members.map(|(name, v)| format!("{}:{}", bare(name), bare(v))).collect();
                format!("{{{}}}", members.join(","))
            }
        }
    }

    #[test]
    fn reads_json_a_mark_and_comments() {
        for (text, expected) in [
            ("null", "null"),
            (" true ", "true"),
            ("\u{feff}false", "false"),
            ("[]", "[]"),
            ("{ }", "{}"),
            (
                "[1,-0,2.50,1e9,1E-2,123456789012345678901234567890]",
                "[1,-0,2.50,1e9,1E-2,123456789012345678901234567890]",
            ),
            (r#""a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z""#, "\"a\\\"\\\\/\\u{8}\\u{c}\\n\\r\\té😀z\""),
            ("\"é😀\"", "\"é😀\""),
            (r#"{"a":[{"b":null}],"c":""}"#, r#"{"a":[{"b":null}],"c":""}"#),
            ("// one\n/* two\n * / */[/**/1// x\n,2]//", "[1,2]"),
        ] {
            assert_eq!(bare(read(text).expect(text).root()), expected, "{text}");
        }
    }

    #[test]
    fn says_where_and_what() {
        let bounds = Bounds::default();
        for (text, expected) in [
            ("", "1:1: expected a JSON value, but the text ends"),
            ("\u{feff}", "1:1: expected a JSON value"),
            ("int", "1:1: expected a JSON value, found `i`"),
            ("[1,]", "1:4: expected a JSON value, found `]`"),
            ("[1 2]", "1:4: expected `,` or `]`"),
            ("{\"a\" 1}", "1:6: expected `:`"),
            ("{\"a\":1 \"b\"", "1:8: expected `,` or `}`"),
            ("{a:1}", "1:2: expected a member's name"),
            ("{\"a\":1,}", "1:8: expected a member's name"),
            ("{\"a\":1,\n \"é\":2, \"a\":3}", "2:9: `a` is a member of this object already"),
            ("1 1", "1:3: expected the end of the text"),
            ("01", "1:2: a number does not begin with 0"),
            ("-", "1:2: expected a digit"),
            ("1.", "1:3: expected a digit"),
            ("1e+", "1:4: expected a digit"),
            ("\"é", "1:1: this string has no closing quote"),
            ("\"é\t\"", "1:3: a string holds no control character: write \\u0009"),
            (r#""é\x""#, "1:3: no such escape"),
            ("\"\\é\"", "1:2: no such escape"),
            ("\"\\", "1:2: no such escape"),
            (r#""\u12"#, "1:2: \\u wants four hex digits"),
            (r#""\u+123""#, "1:2: \\u wants four hex digits"),
            (r#""\ud800""#, "1:2: half a surrogate pair"),
            (r#""\ud800\u0041""#, "1:2: half a surrogate pair"),
            (r#""\udc00""#, "1:2: half a surrogate pair"),
            ("1 /* x", "1:3: this comment has no end"),
            ("1 /*/", "1:3: this comment has no end"),
            ("1 # x", "1:3: expected the end of the text, found `#`"),
        ] {
            check_error(text, &bounds, expected);
        }
    }

    #[test]
    fn holds_to_its_bounds() {
        for (text, whole) in [("[[[]]]", true), ("[[[[]]]]", false), ("[1,2,3,4]", true), ("[1,2,3,4,5]", false)] {
            assert_eq!(Tape::read(text, &SMALL).is_ok(), whole, "{text}");
        }
        assert!(Tape::read(&format!("\"{}\"", "x".repeat(38)), &SMALL).is_ok());
        check_error(&format!("\"{}\"", "x".repeat(39)), &SMALL, "1:1: the text has 41 bytes; at most 40 are read");
        check_error("[[[[]]]]", &SMALL, "1:4: nested deeper than 3");
        check_error("{\"a\":1,\"b\":2,\"c\":3}", &SMALL, "1:14: more than 5 values");
    }

    #[test]
    fn deep_texts_end_soon() {
        for open in ["[", "{\"a\":"] {
            check_error(&open.repeat(100_000), &Bounds::default(), "1:");
        }
    }

    #[test]
    fn places_count_characters_and_bytes() {
        let text = "\u{feff}{\"é\":\r\n  [true, \"x\"]}";
        let tape = read(text).expect("JSON");
        let items = tape.root().get("é").and_then(Json::as_array).expect("an array");
        let places: Vec<_> = items.map(|item| Place::of(text, item.start())).collect();
        assert_eq!(Place::of(text, tape.root().start()), Place { line: 1, column: 1, byte: 3 });
        assert_eq!(places, [Place { line: 2, column: 4, byte: 14 }, Place { line: 2, column: 10, byte: 20 }]);
    }

    #[test]
    fn a_name_that_stands_twice_is_told_before_what_is_wrong_behind_it() {
        for (text, expected) in [
            (r#"{"a":1,"b":[{"a":1}],"a":1,"b""#, "1:22: `a` is a member"),
            (r#"{"a":1,"\u0061":[1,"#, "1:8: `a` is a member"),
            (r#"{"a":1,"a" 1"#, "1:8: `a` is a member"),
            (r#"{"a":1,"b":{"c":1,"c":1,"d"},"b":1}"#, "1:19: `c` is a member"),
            (r#"{"a":1,"b":2,"a":{"c":1,"c":1}}"#, "1:14: `a` is a member"),
            (r#"{"a":1,"a"#, "1:8: this string has no closing quote"),
        ] {
            check_error(text, &Bounds::default(), expected);
        }
    }
}
