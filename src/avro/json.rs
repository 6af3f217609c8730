//! A bounded JSON reader that keeps the place of every value and takes Java's comments.
//!
//! Strict JSON but for a byte order mark at the start and the comments `//` and `/* */`, which Avro's Java parser
//! takes. Time is linear in the text; nesting is bounded, so reading, walking and dropping a value may recurse.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

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

/// A JSON value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Json {
    /// The value.
    pub value: Value,
    /// Its first character.
    pub place: Place,
}

/// What a JSON value can be. Numbers keep their text, so that none is rounded.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are JSON's")]
pub enum Value {
    Null,
    Boolean(bool),
    Number(Arc<str>),
    String(Arc<str>),
    Array(Vec<Json>),
    /// Members in the order of the text.
    Object(Vec<(Json, Json)>),
}

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

impl Json {
    /// Reads the one value that a text holds.
    ///
    /// # Errors
    /// At the first place where the text is no JSON, goes past a bound, or names a member of an object twice.
    pub fn read(text: &str, bounds: &Bounds) -> Result<Self, JsonError> {
        let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let first = Place { line: 1, column: 1, byte: place_byte(start) };
        if text.len() > bounds.bytes_max as usize {
            let message = format!("the text has {} bytes; at most {} are read", text.len(), bounds.bytes_max);
            return Err(JsonError { place: first, message: message.into() });
        }
        let mut reader = Reader { text, at: start, mark: first, bounds, values: 0 };
        let value = reader.value(0)?;
        reader.skip_blank()?;
        match reader.peek() {
            None => Ok(value),
            Some(_) => Err(reader.unexpected("the end of the text")),
        }
    }

    /// The value of an object's member; `None` for other values too.
    #[must_use]
    pub fn get(&self, member: &str) -> Option<&Self> {
        match &self.value {
            Value::Object(members) => members.iter().find(|(name, _)| name.as_str() == Some(member)).map(|(_, v)| v),
            Value::Null | Value::Boolean(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = &self.value { Some(text) } else { None }
    }

    /// The items of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Value::Array(items) = &self.value { Some(items) } else { None }
    }

    /// What it is, for a sentence: `a string`, `null`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place.line, self.place.column, self.message)
    }
}

impl std::error::Error for JsonError {}

/// A byte's offset as a [`Place`] keeps it; the bound on the text keeps it exact.
fn place_byte(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Stands before the byte `at`. Every function leaves it behind what it read.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    /// The last place that was counted. Places are asked for in the order of the text, so each character is counted
    /// once, however long its line is.
    mark: Place,
    bounds: &'a Bounds,
    values: u32,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    fn place(&mut self) -> Place {
        for character in self.text.get(self.mark.byte as usize..self.at).unwrap_or_default().chars() {
            if character == '\n' {
                self.mark.line += 1;
                self.mark.column = 1;
            } else {
                self.mark.column += 1;
            }
        }
        self.mark.byte = place_byte(self.at);
        self.mark
    }

    fn error(&mut self, message: impl Into<Box<str>>) -> JsonError {
        JsonError { place: self.place(), message: message.into() }
    }

    fn unexpected(&mut self, expected: &str) -> JsonError {
        let message = match self.rest().chars().next() {
            Some(found) => format!("expected {expected}, found {}", quoted(found.encode_utf8(&mut [0; 4]))),
            None => format!("expected {expected}, but the text ends here"),
        };
        self.error(message)
    }

    /// Skips white space and comments.
    fn skip_blank(&mut self) -> Result<(), JsonError> {
        loop {
            while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
                self.at += 1;
            }
            let rest = self.rest();
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                match rest.get(2..).and_then(|comment| comment.find("*/")) {
                    Some(length) => self.at += length + 4,
                    None => return Err(self.error("this comment has no end: close it with `*/`")),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn count_value(&mut self) -> Result<(), JsonError> {
        self.values += 1;
        if self.values > self.bounds.values_max {
            let values_max = self.bounds.values_max;
            return Err(self.error(format!("more than {values_max} values; no more are read")));
        }
        Ok(())
    }

    /// The value that comes next, inside `depth` arrays and objects.
    fn value(&mut self, depth: u32) -> Result<Json, JsonError> {
        self.skip_blank()?;
        self.count_value()?;
        let place = self.place();
        let value = match self.peek() {
            Some(b'{' | b'[') if depth >= self.bounds.depth_max => {
                let depth_max = self.bounds.depth_max;
                return Err(self.error(format!("nested deeper than {depth_max} arrays and objects")));
            }
            Some(b'{') => Value::Object(self.object(depth + 1)?),
            Some(b'[') => Value::Array(self.array(depth + 1)?),
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            Some(_) if self.eat("null") => Value::Null,
            Some(_) if self.eat("true") => Value::Boolean(true),
            Some(_) if self.eat("false") => Value::Boolean(false),
            Some(_) | None => return Err(self.unexpected("a JSON value")),
        };
        Ok(Json { value, place })
    }

    fn array(&mut self, depth: u32) -> Result<Vec<Json>, JsonError> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_blank()?;
        if self.eat("]") {
            return Ok(items);
        }
        loop {
            items.push(self.value(depth)?);
            self.skip_blank()?;
            if self.eat("]") {
                return Ok(items);
            }
            if !self.eat(",") {
                return Err(self.unexpected("`,` or `]` after an array's item"));
            }
        }
    }

    fn object(&mut self, depth: u32) -> Result<Vec<(Json, Json)>, JsonError> {
        self.at += 1;
        let mut members = Vec::new();
        let mut names = HashSet::new();
        self.skip_blank()?;
        if self.eat("}") {
            return Ok(members);
        }
        loop {
            self.skip_blank()?;
            self.count_value()?;
            let place = self.place();
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a member's name in double quotes"));
            }
            let name = self.string()?;
            if !names.insert(name.clone()) {
                let message = format!("{} is a member of this object already", quoted(&name));
                return Err(JsonError { place, message: message.into() });
            }
            self.skip_blank()?;
            if !self.eat(":") {
                return Err(self.unexpected("`:` after a member's name"));
            }
            members.push((Json { value: Value::String(name), place }, self.value(depth)?));
            self.skip_blank()?;
            if self.eat("}") {
                return Ok(members);
            }
            if !self.eat(",") {
                return Err(self.unexpected("`,` or `}` after an object's member"));
            }
        }
    }

    /// A number as it is written, held to JSON's grammar.
    fn number(&mut self) -> Result<Arc<str>, JsonError> {
        let start = self.at;
        self.eat("-");
        if !self.eat("0") {
            self.digits()?;
        } else if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.error("a number does not begin with 0: leave it out"));
        }
        if self.eat(".") {
            self.digits()?;
        }
        if self.eat("e") || self.eat("E") {
            let _sign = self.eat("+") || self.eat("-");
            self.digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default().into())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    /// A string, from its opening quote to its closing one.
    fn string(&mut self) -> Result<Arc<str>, JsonError> {
        let open = self.place();
        self.at += 1;
        let mut unescaped = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= b' ') {
                self.at += 1;
            }
            // The bytes that stop the loop are ASCII, so both ends are characters' ends.
            let plain = self.text.get(start..self.at).unwrap_or_default();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    if unescaped.is_empty() {
                        return Ok(plain.into());
                    }
                    unescaped.push_str(plain);
                    return Ok(unescaped.into());
                }
                Some(b'\\') => {
                    unescaped.push_str(plain);
                    unescaped.push(self.escape()?);
                }
                Some(control) => {
                    let message = format!("a string holds no control character: write \\u{control:04x}");
                    return Err(self.error(message));
                }
                None => return Err(JsonError { place: open, message: "this string has no closing quote".into() }),
            }
        }
    }

    /// The character of an escape, from its backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let open = self.place();
        self.at += 1;
        let byte = self.peek();
        self.at += usize::from(byte.is_some_and(|byte| byte.is_ascii()));
        match byte {
            Some(b'"') => Ok('"'),
            Some(b'\\') => Ok('\\'),
            Some(b'/') => Ok('/'),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => {
                let first = self.code_unit(open)?;
                let mut units = [first, 0];
                let mut length = 1;
                if (0xd800..0xdc00).contains(&first) && self.eat("\\u") {
                    units = [first, self.code_unit(open)?];
                    length = 2;
                }
                let character = char::decode_utf16(units.into_iter().take(length)).next().and_then(Result::ok);
                let half = "half a surrogate pair is no character: write both, such as \\ud83d\\ude00";
                character.ok_or_else(|| JsonError { place: open, message: half.into() })
            }
            Some(_) | None => {
                let message = "no such escape: JSON has \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hex digits";
                Err(JsonError { place: open, message: message.into() })
            }
        }
    }

    /// The four hex digits behind `\u`.
    fn code_unit(&mut self, open: Place) -> Result<u16, JsonError> {
        let unit = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        self.at += 4;
        unit.ok_or_else(|| JsonError { place: open, message: "\\u wants four hex digits".into() })
    }
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

    fn read(text: &str) -> Result<Json, JsonError> {
        Json::read(text, &Bounds::default())
    }

    fn check_error(text: &str, bounds: &Bounds, expected: &str) {
        let error = Json::read(text, bounds).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text}\n  is     {error}\n  wanted {expected}");
    }

    /// Values without their places.
    fn bare(json: &Json) -> String {
        match &json.value {
            Value::Null => "null".into(),
            Value::Boolean(value) => value.to_string(),
            Value::Number(text) => text.to_string(),
            Value::String(text) => format!("{text:?}"),
            Value::Array(items) => format!("[{}]", items.iter().map(bare).collect::<Vec<_>>().join(",")),
            Value::Object(members) => {
                let members: Vec<_> = members.iter().map(|(name, v)| format!("{}:{}", bare(name), bare(v))).collect();
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
            assert_eq!(bare(&read(text).expect(text)), expected, "{text}");
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
            assert_eq!(Json::read(text, &SMALL).is_ok(), whole, "{text}");
        }
        assert!(Json::read(&format!("\"{}\"", "x".repeat(38)), &SMALL).is_ok());
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
        let json = read("\u{feff}{\"é\":\r\n  [true, \"x\"]}").expect("JSON");
        let items = json.get("é").and_then(Json::as_array).expect("an array");
        assert_eq!(json.place, Place { line: 1, column: 1, byte: 3 });
        assert_eq!(items[0].place, Place { line: 2, column: 4, byte: 14 });
        assert_eq!(items[1].place, Place { line: 2, column: 10, byte: 20 });
    }
}
