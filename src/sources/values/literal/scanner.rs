//! Walks over the bytes of JSON, or of what other programs write in its place.

use super::escapes::escapes_of_json;
use super::{Escapes, Span, Spelling};

/// Nesting beyond this does not read, so that no text can exhaust the stack.
pub(super) const MAX_DEPTH: u8 = 100;

/// Walks over the text.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: u8,
    spelling: Spelling,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8], spelling: Spelling) -> Self {
        Self { text, at: 0, depth: 0, spelling }
    }

    /// The same text from this byte on.
    pub(super) fn at(text: &'a [u8], at: usize, spelling: Spelling) -> Self {
        Self { at, ..Self::new(text, spelling) }
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Whether all of the text was read.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// The next byte.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// Skips blanks.
    pub(super) fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn tolerant(&self) -> bool {
        self.spelling == Spelling::Tolerant
    }

    /// The next value.
    pub(super) fn value(&mut self) -> Option<Span<'a>> {
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

    /// Calls `each` for every element of the list that begins here; their number.
    pub(super) fn list(&mut self, each: &mut dyn FnMut(Span<'a>)) -> Option<usize> {
        let (open, close) = if self.tolerant() && self.peek() == Some(b'(') { (b'(', b')') } else { (b'[', b']') };
        self.entries(open, close, &mut |scanner| {
            let element = scanner.value()?;
            each(element);
            Some(())
        })
    }

    /// Calls `each` for every member of the map that begins here; their number.
    pub(super) fn map(&mut self, each: &mut dyn FnMut(Span<'a>, Span<'a>)) -> Option<usize> {
        self.entries(b'{', b'}', &mut |scanner| {
            let (key, value) = scanner.member()?;
            each(key, value);
            Some(())
        })
    }

    /// A key and its value.
    pub(super) fn member(&mut self) -> Option<(Span<'a>, Span<'a>)> {
        let key = self.key()?;
        self.blanks();
        if !self.take(b':') {
            return None;
        }
        Some((key, self.value()?))
    }

    /// What is between two brackets, with commas between; a last comma before the closing bracket is borne in Python's
    /// spelling.
    pub(super) fn entries(
        &mut self,
        open: u8,
        close: u8,
        entry: &mut dyn FnMut(&mut Self) -> Option<()>,
    ) -> Option<usize> {
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
    pub(super) fn key(&mut self) -> Option<Span<'a>> {
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

/// Whether it is a number by JSON's grammar.
pub(super) fn number_of_json(text: &[u8]) -> bool {
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
