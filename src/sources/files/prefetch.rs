//! The files of a table in a bucket in the order in which they are read, while the beginnings of the next ones are under way:
//! many small files would cost a round trip each, one after the other.

use std::ops::Range;

use super::location::FileLocation;
use super::names::Format;
use super::part::Part;
use super::read_ahead;

/// Files whose beginning is under way or not yet read.
const FILES: usize = 32;
/// Bytes of these beginnings. One may be more than is left of it.
const BYTES: u64 = 8 << 20;

/// Hands out the files with their numbers.
pub(super) struct Prefetch<'p> {
    parts: &'p [Part],
    /// Handed out.
    out: usize,
    /// Begun.
    begun: usize,
    /// Bytes that were begun and are not handed out.
    bytes: u64,
}

impl<'p> Prefetch<'p> {
    pub(super) const fn new(parts: &'p [Part]) -> Self {
        Self { parts, out: 0, begun: 0, bytes: 0 }
    }
}

impl<'p> Iterator for Prefetch<'p> {
    type Item = (usize, &'p Part);

    fn next(&mut self) -> Option<Self::Item> {
        while self.begun < self.parts.len() && self.begun < self.out + FILES && self.bytes < BYTES {
            self.bytes += begin(&self.parts[self.begun]);
            self.begun += 1;
        }
        let number = self.out;
        let part = self.parts.get(number)?;
        self.out += 1;
        self.bytes -= length(&beginning(part));
        Some((number, part))
    }
}

/// Begins to fetch what is read first of a file; how many bytes that is.
fn begin(part: &Part) -> u64 {
    let range = beginning(part);
    let bytes = length(&range);
    if let FileLocation::Stored(file) = &part.location
        && bytes > 0
    {
        file.begin(range);
    }
    bytes
}

fn beginning(part: &Part) -> Range<u64> {
    match (&part.location, part.format) {
        (FileLocation::Local(_), _) => 0..0,
        (FileLocation::Stored(file), Format::Parquet) => read_ahead::end(file.bytes),
        (FileLocation::Stored(file), Format::Csv | Format::Tsv | Format::Jsonl) => read_ahead::start(file.bytes),
    }
}

const fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}
