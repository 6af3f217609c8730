//! From the text to its tokens: JSON's grammar, the comments, the bounds, and what is wrong where.

use super::{Bounds, JsonError, Place, Token, place_byte, quoted, repeated, unescaped};
use std::borrow::Cow;

/// Stands before the byte `at`. Every function leaves it behind what it read.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    bounds: Bounds,
    pub(super) tokens: Vec<Token>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, start: u32, bounds: Bounds) -> Self {
        Self { text, at: start as usize, bounds, tokens: Vec::new() }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn eat(&mut self, expected: &str) -> bool {
        let found = self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(expected.as_bytes()));
        if found {
            self.at += expected.len();
        }
        found
    }

    fn error_at(&self, at: usize, message: impl Into<Box<str>>) -> JsonError {
        JsonError { place: Place::of(self.text, place_byte(at)), message: message.into() }
    }

    fn error(&self, message: impl Into<Box<str>>) -> JsonError {
        self.error_at(self.at, message)
    }

    pub(super) fn unexpected(&self, expected: &str) -> JsonError {
        let message = match self.rest().chars().next() {
            Some(found) => format!("expected {expected}, found {}", quoted(found.encode_utf8(&mut [0; 4]))),
            None => format!("expected {expected}, but the text ends here"),
        };
        self.error(message)
    }

    /// Skips white space and comments.
    pub(super) fn skip_blank(&mut self) -> Result<(), JsonError> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(b'/') if self.rest().starts_with("//") => {
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
                Some(b'/') if self.rest().starts_with("/*") => {
                    match self.rest().get(2..).and_then(|comment| comment.find("*/")) {
                        Some(length) => self.at += length + 4,
                        None => return Err(self.error("this comment has no end: close it with `*/`")),
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Begins a token: a value, or a member's name.
    fn begin(&mut self) -> Result<usize, JsonError> {
        let values_max = self.bounds.values_max;
        if self.tokens.len() >= values_max as usize {
            return Err(self.error(format!("more than {values_max} values; no more are read")));
        }
        self.tokens.push(Token { start: place_byte(self.at), ..Token::default() });
        Ok(self.tokens.len() - 1)
    }

    /// Ends the token that began there.
    fn end(&mut self, token: usize) {
        let next = place_byte(self.tokens.len());
        if let Some(token) = self.tokens.get_mut(token) {
            *token = Token { end: place_byte(self.at), next, ..*token };
        }
    }

    /// The value that comes next, inside `depth` arrays and objects.
    pub(super) fn value(&mut self, depth: u32) -> Result<(), JsonError> {
        self.skip_blank()?;
        let token = self.begin()?;
        match self.peek() {
            Some(b'{' | b'[') if depth >= self.bounds.depth_max => {
                let depth_max = self.bounds.depth_max;
                return Err(self.error(format!("nested deeper than {depth_max} arrays and objects")));
            }
            Some(b'{') => {
                let members = self.object(depth + 1);
                // A name that stands here twice does so before whatever went wrong behind it.
                self.different_names(token)?;
                members?;
            }
            Some(b'[') => self.array(depth + 1)?,
            Some(b'"') => drop(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ if self.eat("null") || self.eat("true") || self.eat("false") => {}
            _ => return Err(self.unexpected("a JSON value")),
        }
        self.end(token);
        Ok(())
    }

    fn array(&mut self, depth: u32) -> Result<(), JsonError> {
        self.at += 1;
        self.skip_blank()?;
        if self.eat("]") {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.skip_blank()?;
            if self.eat("]") {
                return Ok(());
            }
            if !self.eat(",") {
                return Err(self.unexpected("`,` or `]` after an array's item"));
            }
        }
    }

    fn object(&mut self, depth: u32) -> Result<(), JsonError> {
        self.at += 1;
        self.skip_blank()?;
        if self.eat("}") {
            return Ok(());
        }
        loop {
            self.skip_blank()?;
            let name = self.begin()?;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a member's name in double quotes"));
            }
            self.string()?;
            self.end(name);
            self.skip_blank()?;
            if !self.eat(":") {
                return Err(self.unexpected("`:` after a member's name"));
            }
            self.value(depth)?;
            self.skip_blank()?;
            if self.eat("}") {
                return Ok(());
            }
            if !self.eat(",") {
                return Err(self.unexpected("`,` or `}` after an object's member"));
            }
        }
    }

    /// Refuses an object, or what is read of it, where a name stands in it twice.
    fn different_names(&self, object: usize) -> Result<(), JsonError> {
        let mut at = object + 1;
        let names = std::iter::from_fn(|| {
            let name = self.tokens.get(at).copied().filter(|name| name.end > 0)?;
            // Behind a value that is still open there is no name.
            let value = self.tokens.get(at + 1).filter(|value| value.next > 0);
            at = value.map_or(self.tokens.len(), |value| value.next as usize);
            Some((unescaped(self.text, name), (name.start, name.end)))
        });
        match repeated(names.collect()).first() {
            None => Ok(()),
            Some(&(start, end)) => {
                let name = unescaped(self.text, Token { start, end, next: 0 });
                let message = format!("{} is a member of this object already", quoted(&name));
                Err(self.error_at(start as usize, message))
            }
        }
    }

    /// A number, held to JSON's grammar.
    fn number(&mut self) -> Result<(), JsonError> {
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
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected("a digit")) } else { Ok(()) }
    }

    /// A string, from its opening quote to its closing one.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let open = self.at;
        self.at += 1;
        let mut unescaped = Cow::default();
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..b' ')).unwrap_or(rest.len());
            // The bytes that stop it are ASCII, so both ends are characters' ends.
            unescaped += self.rest().get(..length).unwrap_or_default();
            self.at += length;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(unescaped);
                }
                Some(b'\\') => unescaped.to_mut().push(self.escape()?),
                Some(control) => {
                    let message = format!("a string holds no control character: write \\u{control:04x}");
                    return Err(self.error(message));
                }
                None => return Err(self.error_at(open, "this string has no closing quote")),
            }
        }
    }

    /// The character of an escape, from its backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let open = self.at;
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
                character.ok_or_else(|| self.error_at(open, half))
            }
            Some(_) | None => {
                let message = "no such escape: JSON has \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four hex digits";
                Err(self.error_at(open, message))
            }
        }
    }

    /// The four hex digits behind `\u`.
    fn code_unit(&mut self, open: usize) -> Result<u16, JsonError> {
        let unit = self
            .text
            .get(self.at..self.at + 4)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        self.at += 4;
        unit.ok_or_else(|| self.error_at(open, "\\u wants four hex digits"))
    }
}
