//! Watches the bytes of a CSV file go by, to know at its end whether a quote is still open.
//!
//! The csv crate takes such a file for sound: the open field swallows every row up to the end, and where it stands in
//! the last column the row even has its right number of fields. Rows would be lost without a word.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::config::checked::CsvDialect;

/// Where a byte stands; the same steps as the csv crate's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// After a backslash inside quotes (Spark's dialect).
    Escaped,
    /// After a quote inside quotes: the end, or the first of two.
    QuoteSeen,
}

/// A reader that knows whether what went through ends inside quotes.
pub(super) struct Quotes<R> {
    inner: R,
    dialect: CsvDialect,
    state: State,
    /// Bytes of a byte order mark that may still come.
    mark: &'static [u8],
    open: Rc<Cell<bool>>,
}

impl<R: Read> Quotes<R> {
    /// Watches `inner`; the second value tells whether a quote is open after what has been read so far.
    pub(super) fn watch(inner: R, dialect: CsvDialect) -> (Self, Rc<Cell<bool>>) {
        let open = Rc::new(Cell::new(false));
        let watched = Self { inner, dialect, state: State::FieldStart, mark: b"\xEF\xBB\xBF", open: Rc::clone(&open) };
        (watched, open)
    }

    fn step(&mut self, mut bytes: &[u8]) {
        while let (Some((&expected, rest)), Some((&first, tail))) = (self.mark.split_first(), bytes.split_first()) {
            if first != expected {
                self.mark = &[];
                break;
            }
            (self.mark, bytes) = (rest, tail);
        }
        let spark = self.dialect == CsvDialect::Spark;
        let mut state = self.state;
        for &byte in bytes {
            state = match (state, byte) {
                (State::FieldStart, b'"') => State::Quoted,
                (State::Quoted, b'"') => State::QuoteSeen,
                (State::Quoted, b'\\') if spark => State::Escaped,
                (State::Quoted | State::Escaped, _) => State::Quoted,
                (State::QuoteSeen, b'"') if !spark => State::Quoted,
                (_, b',' | b'\n' | b'\r') => State::FieldStart,
                _ => State::Plain,
            };
        }
        self.state = state;
        self.open.set(matches!(state, State::Quoted | State::Escaped));
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.step(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_open(text: &str, dialect: CsvDialect) -> bool {
        // One byte at a time, so that every state is left and entered again.
        let (mut watched, open) = Quotes::watch(text.as_bytes(), dialect);
        let mut byte = [0];
        while watched.read(&mut byte).unwrap() > 0 {}
        open.get()
    }

    #[test]
    fn only_a_quote_that_opened_a_field_and_was_not_closed_is_open() {
        for (text, open) in [
            ("a,b\n", false),
            ("a,\"b", true),
            ("a,\"b\"", false),
            ("a,\"b\"\"", true),
            ("a,\"b\"\"\"", false),
            ("a,\"b\nc,d\n", true),
            ("5\" pipe,x\n", false),
            ("\"a\"x\"", false),
            ("\u{FEFF}\"a\n", true),
            ("\u{FEFF}\"a\"\n", false),
        ] {
            assert_eq!(ends_open(text, CsvDialect::Rfc4180), open, "{text:?}");
        }
        for (text, open) in [("\"a\\\"", true), ("\"a\\\\\"", false), ("\"a\\", true), ("a\\\"", false)] {
            assert_eq!(ends_open(text, CsvDialect::Spark), open, "{text:?}");
        }
    }
}
