//! Files of text: opened, unpacked, and looked at before anything is read of them.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as Zstd;

use super::BUFFER;
use super::allowance::{Allowance, Holding, Turn};
use super::errors::FileContext;
use super::names::Packed;
use super::part::Part;
use super::sniff::not_text;
use crate::sources::SourceError;
use crate::sources::rows::Reading;

/// Bytes with which a frame of zstd may begin, before its first block.
const FRAME_HEADER: usize = 18;
/// Bytes that a frame of zstd may look back on without being counted.
const WINDOW: u64 = 8 << 20;
/// The most that is looked back on, as by zstd's own program.
const LARGEST_WINDOW: u64 = 128 << 20;
/// Bytes that are looked at beforehand; a header is expected to end within them.
const START: usize = 64 << 10;

/// A file of text, unpacked.
pub(super) struct TextFile<'a> {
    /// What it begins with, up to [`START`] bytes.
    pub(super) start: Vec<u8>,
    rest: Box<dyn BufRead>,
    reserved: Option<Reserved<'a>>,
}

/// What a file with a large window holds as long as it is read: the turn, so that its lines need not wait for another.
pub(super) type Reserved<'a> = (Turn<'a>, Holding);

impl<'a> TextFile<'a> {
    /// Opens it. `None`: it is empty.
    ///
    /// # Errors
    /// It cannot be read, or is no text in UTF-8.
    pub(super) fn open(
        part: &Part,
        reading: &Reading<'_>,
        allowance: &'a Arc<Allowance>,
    ) -> Result<Option<Self>, SourceError> {
        let place = FileContext::of(reading.scan.table, part);
        let failed = |error: io::Error| place.io(&error);
        let mut raw = BufReader::with_capacity(BUFFER, reading.watched(part.location.stream().map_err(failed)?));
        let start = begin(&mut raw, FRAME_HEADER).map_err(failed)?;
        let mut reserved = None;
        if start.is_empty() {
            return Ok(None);
        }
        let rest = Cursor::new(start.clone()).chain(raw);
        let mut rest: Box<dyn BufRead> = match part.packed {
            Packed::No => Box::new(rest),
            Packed::Gzip if start.starts_with(b"\x1F\x8B") => {
                Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(rest)))
            }
            Packed::Zstd if is_zstd(&start) => {
                let window = window(&start).unwrap_or(WINDOW).clamp(WINDOW, LARGEST_WINDOW);
                if window > WINDOW {
                    let turn = allowance.turn();
                    let bytes = usize::try_from(window).unwrap_or(usize::MAX);
                    let holding = allowance.take_in_turn(bytes, 0);
                    let holding = holding.map_err(|_| place.broken("has a zstd window of more than may be held"))?;
                    reserved = Some((turn, holding));
                }
                let mut unpacked = Zstd::with_buffer(rest).map_err(failed)?;
                unpacked.window_log_max(u64::BITS - (window - 1).leading_zeros()).map_err(failed)?;
                Box::new(BufReader::with_capacity(BUFFER, unpacked))
            }
            Packed::Gzip => return Err(place.broken("is not compressed with gzip, as its name says")),
            Packed::Zstd => return Err(place.broken("is not compressed with zstd, as its name says")),
        };
        let start = begin(&mut rest, START).map_err(failed)?;
        if start.is_empty() {
            return Ok(None);
        }
        match not_text(&start) {
            Some(what) => Err(place.broken(what)),
            None => Ok(Some(Self { start, rest, reserved })),
        }
    }

    /// All of it, and what must be held meanwhile.
    pub(super) fn into_bytes(self) -> (impl BufRead, Option<Reserved<'a>>) {
        (Cursor::new(self.start).chain(self.rest), self.reserved)
    }
}

/// A frame, or one to be skipped.
fn is_zstd(start: &[u8]) -> bool {
    start.starts_with(b"\x28\xB5\x2F\xFD") || matches!(start, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
}

/// The bytes that its first frame wants to look back on, which are held as long as it is unpacked. `None`: it begins with no
/// frame. <https://github.com/facebook/zstd/blob/dev/doc/zstd_compression_format.md#frame_header>
fn window(start: &[u8]) -> Option<u64> {
    let [descriptor, rest @ ..] = start.strip_prefix(b"\x28\xB5\x2F\xFD")? else { return None };
    if descriptor & 0x20 == 0 {
        let window = rest.first()?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // All of the content, of which the length comes behind the number of a dictionary.
    let content = rest.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    let bytes = |count: usize| Some(content.get(..count)?.iter().rfold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    match descriptor >> 6 {
        0 => bytes(1),
        1 => bytes(2).map(|length| length + 256),
        2 => bytes(4),
        _ => bytes(8),
    }
}

/// Reads up to `most` bytes.
fn begin(from: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    from.take(most as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// A line beyond this waits for its turn, and its buffer is not kept for the next one.
pub(super) const LARGE: usize = 1 << 20;

/// The lines of a file, one at a time.
pub(super) struct Lines<'a, R> {
    input: R,
    /// Bytes of a line, at most.
    most: usize,
    line: Vec<u8>,
    allowance: Option<&'a Allowance>,
    turn: Option<Turn<'a>>,
}

/// A line.
pub(super) enum Line<'l> {
    /// Its end included.
    Whole(&'l [u8]),
    /// It has more bytes than a line may have, and is not read any further.
    TooLong,
}

impl<'a, R: BufRead> Lines<'a, R> {
    /// Large lines take turns by `allowance`, until the next line is read.
    pub(super) const fn new(input: R, most: usize, allowance: Option<&'a Allowance>) -> Self {
        Self { input, most, line: Vec::new(), allowance, turn: None }
    }

    /// Reads the next line; `None`: there are no more.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        if self.line.capacity() > LARGE {
            self.line = Vec::new();
        }
        self.turn = None;
        self.line.clear();
        loop {
            let bytes = self.input.fill_buf()?;
            if bytes.is_empty() {
                return Ok((!self.line.is_empty()).then_some(Line::Whole(&self.line)));
            }
            let end = memchr::memchr(b'\n', bytes);
            let length = end.map_or(bytes.len(), |end| end + 1);
            if self.line.len() + end.unwrap_or(length) > self.most {
                return Ok(Some(Line::TooLong));
            }
            if self.line.len() + length > LARGE && self.turn.is_none() {
                self.turn = self.allowance.map(Allowance::turn);
            }
            self.line.extend_from_slice(&bytes[..length]);
            self.input.consume(length);
            if end.is_some() {
                return Ok(Some(Line::Whole(&self.line)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_a_frame() {
        let mut streamed = zstd::Encoder::new(Vec::new(), 3).unwrap();
        streamed.window_log(27).unwrap();
        std::io::Write::write_all(&mut streamed, &vec![b'a'; 1 << 20]).unwrap();
        assert_eq!(window(&streamed.finish().unwrap()), Some(1 << 27));
        for bytes in [0, 200, 300, 70_000] {
            let whole = zstd::bulk::compress(&vec![b'a'; bytes], 3).unwrap();
            assert_eq!(window(&whole), Some(bytes as u64));
        }
        assert_eq!(window(b"\x50\x2A\x4D\x18abcd"), None);
    }
}
