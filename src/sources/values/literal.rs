//! Finds one's way in JSON and in the spellings that other programs have for lists and maps: Python's literals
//! (`{'a': [True, None], b: 'it\'s'}`), `cqlsh` (quotes doubled: `'it''s'`), pandas and numpy (tuples, calls such as
//! `Timestamp('…')`, lists without commas), Spark's cast to text (`{a -> 1, b -> null}`).
//!
//! Works on the bytes as they are: values come as spans of the text, so that counting the entries of a map or picking
//! one of them allocates nothing. Not here: what a value means.

mod canonical;
mod cells;

use serde_json::Value;

pub use canonical::canonical;
pub use cells::{spark_elements, spark_members, unescaped_cell};

/// Nesting beyond this does not read, so that no text can exhaust the stack.
const MAX_DEPTH: u8 = 100;

/// How strictly the text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// JSON and nothing else, but for `NaN`, which Python's writer leaves in it: text of these letters.
    Json,
    /// JSON, or what other programs write, with bare words as keys.
    Tolerant,
}

/// What in a quoted text stands for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escapes {
    /// Nothing: it is as it stands.
    None,
    /// Backslashes and what follows them.
    Backslashes,
    /// Single quotes, which come in twos; and backslashes.
    DoubledQuotes,
}

/// One value, still as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span<'a> {
    /// What stands between the quotes.
    Text(&'a [u8], Escapes),
    /// A number.
    Number(&'a str),
    /// True or false.
    Bool(bool),
    /// `null` or `None`.
    Null,
    /// A list or tuple, brackets included.
    List(&'a [u8]),
    /// A map, braces included.
    Map(&'a [u8]),
}

impl Span<'_> {
    /// Whether it is text that reads exactly so.
    #[must_use]
    pub fn is_text(&self, text: &str) -> bool {
        match self {
            Self::Text(inner, Escapes::None) => *inner == text.as_bytes(),
            Self::Text(inner, escapes) => {
                let mut decoded = Vec::new();
                unescape(inner, *escapes, &mut decoded);
                decoded == text.as_bytes()
            }
            _ => false,
        }
    }
}

/// The value that makes up the whole text. `None` if the text is not exactly one value.
#[must_use]
pub fn span(text: &[u8], spelling: Spelling) -> Option<Span<'_>> {
    let mut scanner = Scanner { text, at: 0, depth: 0, spelling };
    let value = scanner.value()?;
    scanner.blanks();
    (scanner.at == text.len()).then_some(value)
}

/// Calls `each` for every entry of a map; their number. `None` if the text is no map or is broken somewhere; some entries
/// may have come before that shows. pandas writes maps as lists of pairs.
pub fn members<'a>(text: &'a [u8], spelling: Spelling, mut each: impl FnMut(Span<'a>, Span<'a>)) -> Option<usize> {
    let mut scanner = Scanner { text, at: 0, depth: 0, spelling };
    scanner.blanks();
    if spelling == Spelling::Tolerant && scanner.peek() == Some(b'[') {
        return pairs(text, each);
    }
    let count = scanner.map(&mut each)?;
    scanner.blanks();
    (scanner.at == text.len()).then_some(count)
}

/// Calls `each` for every pair of a list of nothing else.
fn pairs<'a>(text: &'a [u8], mut each: impl FnMut(Span<'a>, Span<'a>)) -> Option<usize> {
    let mut all = true;
    let count = elements(text, Spelling::Tolerant, |element| {
        let mut pair = [None; 2];
        let mut length = 0;
        if let Span::List(list @ [b'(', ..]) = element {
            elements(list, Spelling::Tolerant, |part| {
                if let Some(slot) = pair.get_mut(length) {
                    *slot = Some(part);
                }
                length += 1;
            });
        }
        match pair {
            [Some(key), Some(value)] if length == 2 => each(key, value),
            _ => all = false,
        }
    })?;
    all.then_some(count)
}

/// Calls `each` for every element of a list; their number. `None` if the text is no list or is broken somewhere.
pub fn elements<'a>(text: &'a [u8], spelling: Spelling, mut each: impl FnMut(Span<'a>)) -> Option<usize> {
    let mut scanner = Scanner { text, at: 0, depth: 0, spelling };
    scanner.blanks();
    let count = scanner.list(&mut each)?;
    scanner.blanks();
    (scanner.at == text.len()).then_some(count)
}

/// The value as a tree.
#[must_use]
pub fn tree(span: Span<'_>, spelling: Spelling) -> Option<Value> {
    Some(match span {
        Span::Text(..) => Value::String(text_of(span)),
        Span::Number(digits) => Value::Number(serde_json::from_str(digits).ok()?),
        Span::Bool(value) => Value::Bool(value),
        Span::Null => Value::Null,
        Span::List(text) => {
            let mut list = Vec::new();
            elements(text, spelling, |element| list.push(tree(element, spelling)))?;
            Value::Array(list.into_iter().collect::<Option<_>>()?)
        }
        Span::Map(text) => {
            let mut map = serde_json::Map::new();
            let mut whole = true;
            members(text, spelling, |key, value| match tree(value, spelling) {
                Some(value) => drop(map.insert(text_of(key), value)),
                None => whole = false,
            })?;
            whole.then_some(Value::Object(map))?
        }
    })
}

/// A scalar as plain text.
fn text_of(span: Span<'_>) -> String {
    match span {
        Span::Text(inner, Escapes::None) => String::from_utf8_lossy(inner).into_owned(),
        Span::Text(inner, escapes) => {
            let mut decoded = Vec::with_capacity(inner.len());
            unescape(inner, escapes, &mut decoded);
            String::from_utf8_lossy(&decoded).into_owned()
        }
        Span::Number(digits) => digits.to_owned(),
        Span::Bool(value) => value.to_string(),
        Span::Null => "null".to_owned(),
        Span::List(text) | Span::Map(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

/// Appends quoted text with its escapes resolved. What is no escape stays as it is; half of a surrogate pair becomes
/// the replacement character.
pub fn unescape(mut inner: &[u8], escapes: Escapes, out: &mut Vec<u8>) {
    let next = |inner: &[u8]| match escapes {
        Escapes::None => None,
        Escapes::Backslashes => memchr::memchr(b'\\', inner),
        Escapes::DoubledQuotes => memchr::memchr2(b'\\', b'\'', inner),
    };
    while let Some(at) = next(inner) {
        out.extend_from_slice(&inner[..at]);
        let quote = inner[at] == b'\'';
        inner = &inner[at + 1..];
        if quote {
            out.push(b'\'');
            inner = inner.strip_prefix(b"'").unwrap_or(inner);
            continue;
        }
        let Some((&escape, tail)) = inner.split_first() else {
            out.push(b'\\');
            return;
        };
        inner = tail;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'\\' | b'\'' | b'"' | b'/' => out.push(escape),
            b'u' => inner = unescape_unicode(inner, 4, escape, out),
            b'U' => inner = unescape_unicode(inner, 8, escape, out),
            b'x' => inner = unescape_unicode(inner, 2, escape, out),
            other => out.extend_from_slice(&[b'\\', other]),
        }
    }
    out.extend_from_slice(inner);
}

/// Appends the character of `\uXXXX` and its like; what is left of the text.
fn unescape_unicode<'a>(inner: &'a [u8], digits: usize, escape: u8, out: &mut Vec<u8>) -> &'a [u8] {
    let Some(mut code) = hex(inner, digits) else {
        out.extend_from_slice(&[b'\\', escape]);
        return inner;
    };
    let mut rest = &inner[digits..];
    if (0xD800..0xDC00).contains(&code)
        && let Some(low) = rest.strip_prefix(b"\\u").and_then(|tail| hex(tail, 4))
        && (0xDC00..0xE000).contains(&low)
    {
        code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        rest = &rest[6..];
    }
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    rest
}

/// The number that the first `digits` bytes are in hexadecimal.
fn hex(text: &[u8], digits: usize) -> Option<u32> {
    text.get(..digits)?.iter().try_fold(0_u32, |code, &byte| Some((code << 4) | char::from(byte).to_digit(16)?))
}

/// Walks over the text.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: u8,
    spelling: Spelling,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn tolerant(&self) -> bool {
        self.spelling == Spelling::Tolerant
    }

    fn value(&mut self) -> Option<Span<'a>> {
        self.blanks();
        let start = self.at;
        match self.peek()? {
            quote @ (b'"' | b'\'') => self.quoted(quote),
            b'[' => {
                self.list(&mut |_| ())?;
                Some(Span::List(&self.text[start..self.at]))
            }
            b'(' if self.tolerant() => {
                self.list(&mut |_| ())?;
                Some(Span::List(&self.text[start..self.at]))
            }
            b'{' => {
                self.map(&mut |_, _| ())?;
                Some(Span::Map(&self.text[start..self.at]))
            }
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.constant(),
        }
    }

    fn list(&mut self, each: &mut dyn FnMut(Span<'a>)) -> Option<usize> {
        let (open, close) = if self.tolerant() && self.peek() == Some(b'(') { (b'(', b')') } else { (b'[', b']') };
        self.entries(open, close, &mut |scanner| {
            let element = scanner.value()?;
            each(element);
            Some(())
        })
    }

    fn map(&mut self, each: &mut dyn FnMut(Span<'a>, Span<'a>)) -> Option<usize> {
        self.entries(b'{', b'}', &mut |scanner| {
            let (key, value) = scanner.member()?;
            each(key, value);
            Some(())
        })
    }

    /// A key and its value.
    fn member(&mut self) -> Option<(Span<'a>, Span<'a>)> {
        let key = self.key()?;
        self.blanks();
        if !self.take(b':') {
            return None;
        }
        Some((key, self.value()?))
    }

    /// What is between two brackets, with commas between; a last comma before the closing bracket is borne in Python's
    /// spelling.
    fn entries(&mut self, open: u8, close: u8, entry: &mut dyn FnMut(&mut Self) -> Option<()>) -> Option<usize> {
        if self.depth == MAX_DEPTH || !self.take(open) {
            return None;
        }
        self.depth += 1;
        let mut count = 0;
        self.blanks();
        while !self.take(close) {
            entry(self)?;
            count += 1;
            let end = self.at;
            self.blanks();
            // numpy puts blanks between the elements of a list.
            let is_parted = self.at > end && open == b'[' && self.tolerant();
            if is_parted && matches!(self.peek(), Some(b'{' | b'[' | b'(' | b'\'' | b'"')) {
                continue;
            }
            if self.take(b',') {
                self.blanks();
                if self.peek() == Some(close) && !self.tolerant() {
                    return None;
                }
            } else if self.peek() != Some(close) {
                return None;
            }
        }
        self.depth -= 1;
        Some(count)
    }

    /// A key: text, and in Python's spelling also a number, a constant or a bare word.
    fn key(&mut self) -> Option<Span<'a>> {
        self.blanks();
        let first = self.peek()?;
        if first == b'"' || first == b'\'' {
            return self.quoted(first);
        }
        if !self.tolerant() {
            return None;
        }
        if first == b'-' || first.is_ascii_digit() {
            return self.number();
        }
        let word = self.word();
        if word == b"u" && matches!(self.peek(), Some(b'"' | b'\'')) {
            return self.quoted(self.peek()?);
        }
        (!word.is_empty()).then_some(Span::Text(word, Escapes::None))
    }

    fn quoted(&mut self, quote: u8) -> Option<Span<'a>> {
        if quote == b'\'' && !self.tolerant() {
            return None;
        }
        let start = self.at + 1;
        let mut at = start;
        let mut escapes = Escapes::None;
        loop {
            at += memchr::memchr2(quote, b'\\', self.text.get(at..)?)?;
            if self.text[at] == b'\\' {
                if escapes == Escapes::None {
                    escapes = Escapes::Backslashes;
                }
            } else if quote == b'\'' && self.text.get(at + 1) == Some(&quote) {
                escapes = Escapes::DoubledQuotes;
            } else {
                break;
            }
            at += 2;
        }
        self.at = at + 1;
        let inner = &self.text[start..at];
        let sound = self.tolerant()
            || (inner.iter().all(|byte| *byte >= b' ') && (escapes == Escapes::None || escapes_of_json(inner)));
        sound.then_some(Span::Text(inner, escapes))
    }

    fn number(&mut self) -> Option<Span<'a>> {
        let start = self.at;
        while self.peek().is_some_and(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let digits = std::str::from_utf8(&self.text[start..self.at]).ok()?;
        number_of_json(digits.as_bytes()).then_some(Span::Number(digits))
    }

    fn word(&mut self) -> &'a [u8] {
        let start = self.at;
        // Bytes beyond ASCII are letters of some script.
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn constant(&mut self) -> Option<Span<'a>> {
        match (self.word(), self.spelling) {
            (b"NaN", Spelling::Json) => Some(Span::Text(b"NaN", Escapes::None)),
            (b"NaN" | b"nan" | b"NaT" | b"NULL", Spelling::Tolerant) => Some(Span::Null),
            (b"true", _) | (b"True", Spelling::Tolerant) => Some(Span::Bool(true)),
            (b"false", _) | (b"False", Spelling::Tolerant) => Some(Span::Bool(false)),
            (b"null", _) | (b"None", Spelling::Tolerant) => Some(Span::Null),
            // Python 2 marks its text: u'…'.
            (b"u", Spelling::Tolerant) => {
                let quote = self.peek().filter(|byte| matches!(byte, b'"' | b'\''))?;
                self.quoted(quote)
            }
            (word, Spelling::Tolerant) if !word.is_empty() => self.call(),
            _ => None,
        }
    }

    /// The rest of a call such as `Timestamp('…', tz='UTC')`, `Decimal('4')` or `array([…], dtype=object)`: its first
    /// argument, where that is text, a list or a map. Of others (`datetime.datetime(2020, 7, …)`) it is known that they are
    /// there, as a list.
    fn call(&mut self) -> Option<Span<'a>> {
        while self.take(b'.') {
            self.word();
        }
        let start = self.at;
        if self.depth == MAX_DEPTH || !self.take(b'(') {
            return None;
        }
        self.depth += 1;
        let first = self.value()?;
        self.blanks();
        while !self.take(b')') {
            if !self.take(b',') {
                return None;
            }
            self.blanks();
            // `dtype=object`, `tz='UTC'`.
            let before = self.at;
            if self.word().is_empty() || !self.take(b'=') {
                self.at = before;
            }
            if self.value().is_none() {
                self.word();
            }
            self.blanks();
        }
        self.depth -= 1;
        Some(match first {
            Span::Text(..) | Span::List(_) | Span::Map(_) => first,
            Span::Number(_) | Span::Bool(_) | Span::Null => Span::List(&self.text[start..self.at]),
        })
    }
}

/// Whether every backslash begins an escape that JSON knows.
fn escapes_of_json(mut inner: &[u8]) -> bool {
    while let Some(at) = memchr::memchr(b'\\', inner) {
        let sound = match inner.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
            Some(b'u') => hex(&inner[at + 2..], 4).is_some(),
            _ => false,
        };
        if !sound {
            return false;
        }
        inner = &inner[at + 2..];
    }
    true
}

/// Whether it is a number by JSON's grammar.
fn number_of_json(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    rest = &rest[whole..];
    if let Some(tail) = rest.strip_prefix(b".") {
        let fraction = digits(tail);
        if fraction == 0 {
            return false;
        }
        rest = &tail[fraction..];
    }
    if let Some(tail) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let tail = tail.strip_prefix(b"+").or_else(|| tail.strip_prefix(b"-")).unwrap_or(tail);
        let exponent = digits(tail);
        return exponent > 0 && exponent == tail.len();
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests;
