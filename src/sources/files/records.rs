//! The records of a CSV file.
//!
//! Not read by the crate `csv`, which accepts a quote in the wrong place: then a field holds what its writer never put there,
//! or swallows the rows that follow. Here such a record is broken (docs/decisions, 3).

use std::io::{self, BufRead};
use std::ops::Range;

use super::allowance::{Allowance, Turn};
use super::config::CsvDialect;
use super::text::LARGE;

/// One record; used again and again.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The fields, one after the other.
    text: Vec<u8>,
    /// Where each field ends, as far as ends are kept: a line of nothing but delimiters has one for each of its bytes.
    ends: Vec<usize>,
    /// How many fields there are.
    count: usize,
    /// The number of ends that are kept.
    kept: usize,
    /// The line on which it begins, from 1.
    pub(super) line: u64,
    /// Lines of the file that it takes.
    pub(super) lines: u64,
    /// What is wrong with its quotes.
    pub(super) fault: Option<Fault>,
    any_quoted: bool,
    any_bare: bool,
}

/// What is wrong with the quotes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A closing quote with something other than a delimiter or the line's end behind it.
    AfterQuote,
    /// The same, the quote with a backslash in front where backslashes mean nothing.
    Backslash,
    /// The same, two quotes where backslashes escape.
    Doubled,
    /// A quote inside a field without quotes, beside a field that has them.
    Bare,
}

impl Fault {
    /// Why the row is unusable.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::AfterQuote => "broken CSV line: text after a closing quote",
            Self::Backslash => "broken CSV line: \\\" inside quotes (another csv_dialect?)",
            Self::Doubled => "broken CSV line: \"\" inside quotes (another csv_dialect?)",
            Self::Bare => "broken CSV line: a quote inside a field without quotes",
        }
    }
}

impl Record {
    /// How many fields it has; of more than are kept (see [`Records::keep`]) only the number is known.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// A field that is kept, by its number.
    pub(super) fn field(&self, number: usize) -> &[u8] {
        &self.text[self.range(number)]
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|number| self.field(number))
    }

    fn range(&self, number: usize) -> Range<usize> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[number]
    }

    fn clear(&mut self, line: u64, kept: usize) {
        if self.text.capacity() > LARGE {
            self.text = Vec::new();
        }
        self.text.clear();
        self.ends.clear();
        (self.count, self.kept) = (0, kept);
        (self.line, self.lines, self.fault) = (line, 1, None);
        (self.any_quoted, self.any_bare) = (false, false);
    }

    fn found(&mut self, fault: Fault) {
        self.fault.get_or_insert(fault);
    }

    fn end_field(&mut self) {
        self.count += 1;
        if self.ends.len() < self.kept {
            self.ends.push(self.text.len());
        }
    }

    fn end(&mut self) {
        self.end_field();
        if self.any_quoted && self.any_bare {
            self.found(Fault::Bare);
        }
    }
}

/// Where a byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between two records.
    Between,
    FieldStart,
    Plain,
    /// After a backslash outside quotes.
    PlainEscaped,
    Quoted,
    /// After a backslash inside quotes.
    Escaped,
    /// After a quote inside quotes: the end, or the first of two.
    QuoteSeen,
}

/// How reading a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Record,
    /// There are no more.
    End,
    /// The file ends inside quotes.
    Open,
    /// It has more bytes than a record may have.
    TooLong,
}

/// Takes records from a file.
pub(super) struct Records<'a, R> {
    input: R,
    allowance: Option<&'a Allowance>,
    turn: Option<Turn<'a>>,
    dialect: CsvDialect,
    delimiter: u8,
    /// Bytes at which a field without quotes is looked at.
    special: [bool; 256],
    /// The line that is read next.
    line: u64,
    /// A carriage return was the last byte: a line feed belongs to it.
    returned: bool,
    state: State,
    /// Bytes of a record, at most: a quote that is not closed takes the rest of the file into one field.
    most: usize,
    /// Fields of which the ends are kept.
    kept: usize,
}

/// Columns of a file, at most.
pub(super) const COLUMNS: usize = 65_536;

impl<'a, R: BufRead> Records<'a, R> {
    /// `most`: bytes of a record, as they stand in the file, its end included.
    pub(super) fn new(input: R, dialect: CsvDialect, delimiter: u8, most: usize) -> Self {
        let mut special = [false; 256];
        for byte in [delimiter, b'"', b'\r', b'\n'] {
            special[usize::from(byte)] = true;
        }
        special[usize::from(b'\\')] = dialect == CsvDialect::Cqlsh;
        let (line, returned, state, kept) = (1, false, State::Between, COLUMNS);
        Self { input, allowance: None, turn: None, dialect, delimiter, special, line, returned, state, most, kept }
    }

    /// Large records take turns by this allowance, until the next one is read.
    pub(super) const fn taking_turns(mut self, allowance: &'a Allowance) -> Self {
        self.allowance = Some(allowance);
        self
    }

    /// From now on only the first `fields` fields of each record are kept.
    pub(super) const fn keep(&mut self, fields: usize) {
        self.kept = fields;
    }

    /// Reads the next record; empty lines are none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self, record: &mut Record) -> io::Result<Read> {
        record.clear(self.line, self.kept);
        self.turn = None;
        self.state = State::Between;
        // Bytes of the record, those that leave nothing in a field too.
        let mut taken = 0;
        loop {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                return Ok(match self.state {
                    State::Between => Read::End,
                    State::Quoted | State::Escaped => Read::Open,
                    State::FieldStart | State::Plain | State::PlainEscaped | State::QuoteSeen => {
                        record.end();
                        Read::Record
                    }
                });
            }
            let mut step = Step {
                bytes,
                at: 0,
                began: 0,
                dialect: self.dialect,
                delimiter: self.delimiter,
                special: &self.special,
                line: &mut self.line,
                returned: &mut self.returned,
            };
            let ended = step.through(&mut self.state, record);
            let used = step.at;
            if self.state != State::Between {
                taken += used - step.began;
            }
            self.input.consume(used);
            if taken > self.most {
                return Ok(Read::TooLong);
            }
            if ended {
                return Ok(Read::Record);
            }
            if taken > LARGE && self.turn.is_none() {
                self.turn = self.allowance.map(Allowance::turn);
            }
        }
    }
}

/// Going through the bytes that are at hand.
struct Step<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the record begins, if it does in these bytes.
    began: usize,
    dialect: CsvDialect,
    delimiter: u8,
    special: &'a [bool; 256],
    line: &'a mut u64,
    returned: &'a mut bool,
}

impl Step<'_> {
    /// Goes on until the record ends (true) or the bytes do.
    fn through(&mut self, state: &mut State, record: &mut Record) -> bool {
        while let Some(&byte) = self.bytes.get(self.at) {
            match *state {
                State::Between => {
                    if byte == b'\n' || byte == b'\r' {
                        self.line_end(byte);
                        record.line = *self.line;
                    } else {
                        *self.returned = false;
                        self.began = self.at;
                        *state = State::FieldStart;
                    }
                }
                State::FieldStart if byte == b'"' => {
                    record.any_quoted = true;
                    self.at += 1;
                    *state = State::Quoted;
                }
                State::FieldStart | State::Plain => {
                    *state = State::Plain;
                    if self.plain(state, record) {
                        return true;
                    }
                }
                State::Quoted => self.quoted(state, record),
                State::Escaped => {
                    self.escaped(byte, record);
                    *state = State::Quoted;
                }
                State::PlainEscaped => {
                    self.escaped(byte, record);
                    *state = State::Plain;
                }
                State::QuoteSeen => {
                    if byte == b'"' && self.dialect == CsvDialect::Rfc4180 {
                        record.text.push(b'"');
                        self.at += 1;
                        *state = State::Quoted;
                    } else if self.ends_field(byte) {
                        *state = State::Plain;
                    } else {
                        let backslash = record.text.last() == Some(&b'\\');
                        record.found(match (self.dialect, byte) {
                            (CsvDialect::Rfc4180, _) if backslash => Fault::Backslash,
                            (CsvDialect::Spark | CsvDialect::Cqlsh, b'"') => Fault::Doubled,
                            _ => Fault::AfterQuote,
                        });
                        *state = State::Plain;
                    }
                }
            }
        }
        false
    }

    const fn ends_field(&self, byte: u8) -> bool {
        byte == self.delimiter || byte == b'\n' || byte == b'\r'
    }

    /// A field without quotes, or what follows a closing one; whether the record ends.
    fn plain(&mut self, state: &mut State, record: &mut Record) -> bool {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| self.special[usize::from(*byte)]).unwrap_or(rest.len());
        record.text.extend_from_slice(&rest[..length]);
        self.at += length;
        let Some(&byte) = self.bytes.get(self.at) else { return false };
        if self.ends_field(byte) && byte != self.delimiter {
            self.line_end(byte);
            record.end();
            return true;
        }
        self.at += 1;
        if byte == self.delimiter {
            record.end_field();
            *state = State::FieldStart;
        } else if byte == b'"' {
            // A quote after a backslash is what some writers do in fields without quotes; what it means is said later.
            record.any_bare |= record.text.last() != Some(&b'\\');
            record.text.push(byte);
        } else {
            *state = State::PlainEscaped;
        }
        false
    }

    fn quoted(&mut self, state: &mut State, record: &mut Record) {
        let rest = &self.bytes[self.at..];
        let found = if self.dialect == CsvDialect::Rfc4180 {
            memchr::memchr(b'"', rest)
        } else {
            memchr::memchr2(b'"', b'\\', rest)
        };
        let length = found.unwrap_or(rest.len());
        let lines = memchr::memchr_iter(b'\n', &rest[..length]).count() as u64;
        *self.line += lines;
        record.lines += lines;
        record.text.extend_from_slice(&rest[..length]);
        self.at += length;
        if found.is_some() {
            *state = if self.bytes[self.at] == b'"' { State::QuoteSeen } else { State::Escaped };
            self.at += 1;
        }
    }

    /// What stands after a backslash.
    fn escaped(&mut self, byte: u8, record: &mut Record) {
        if byte == b'\n' {
            *self.line += 1;
            record.lines += 1;
        }
        match (self.dialect, byte) {
            (_, b'"' | b'\\') => record.text.push(byte),
            // Spark escapes nothing else, so that it is a backslash.
            (CsvDialect::Rfc4180 | CsvDialect::Spark, _) => record.text.extend_from_slice(&[b'\\', byte]),
            (CsvDialect::Cqlsh, b'n') => record.text.push(b'\n'),
            (CsvDialect::Cqlsh, b'r') => record.text.push(b'\r'),
            (CsvDialect::Cqlsh, b't') => record.text.push(b'\t'),
            (CsvDialect::Cqlsh, _) => record.text.push(byte),
        }
        self.at += 1;
    }

    /// CR, LF, or the two together: one line.
    fn line_end(&mut self, byte: u8) {
        let second = byte == b'\n' && *self.returned;
        *self.line += u64::from(!second);
        *self.returned = byte == b'\r';
        self.at += 1;
    }
}

#[cfg(test)]
mod tests;
