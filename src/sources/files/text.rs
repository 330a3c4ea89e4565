//! Files of text: opened, unpacked, and looked at before anything is read of them.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as Zstd;

use super::BUFFER;
use super::errors::Place;
use super::found::no_text;
use super::layout::Part;
use super::names::Packed;
use crate::sources::SourceError;

/// Bytes that are looked at beforehand; a header is expected to end within them.
const START: usize = 64 << 10;

/// A file of text, unpacked.
pub(super) struct TextFile {
    /// What it begins with, up to [`START`] bytes.
    pub(super) start: Vec<u8>,
    rest: Box<dyn BufRead>,
}

impl TextFile {
    /// Opens it. `None`: there is not a byte in it.
    ///
    /// # Errors
    /// It cannot be read, or is no text in UTF-8.
    pub(super) fn open(part: &Part, place: Place<'_>) -> Result<Option<Self>, SourceError> {
        let failed = |error: io::Error| place.io(&error);
        let mut raw = BufReader::with_capacity(BUFFER, part.spot.stream().map_err(failed)?);
        let start = begin(&mut raw, 4).map_err(failed)?;
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
                Box::new(BufReader::with_capacity(BUFFER, Zstd::with_buffer(rest).map_err(failed)?))
            }
            Packed::Gzip => return Err(place.broken("is not compressed with gzip, as its name says")),
            Packed::Zstd => return Err(place.broken("is not compressed with zstd, as its name says")),
        };
        let start = begin(&mut rest, START).map_err(failed)?;
        if start.is_empty() {
            return Ok(None);
        }
        match no_text(&start) {
            Some(what) => Err(place.broken(what)),
            None => Ok(Some(Self { start, rest })),
        }
    }

    /// All of it.
    pub(super) fn into_bytes(self) -> impl BufRead {
        Cursor::new(self.start).chain(self.rest)
    }
}

/// A frame, or one to be skipped.
fn is_zstd(start: &[u8]) -> bool {
    start.starts_with(b"\x28\xB5\x2F\xFD") || matches!(start, [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..])
}

/// Takes up to so many bytes.
fn begin(from: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    from.take(most as u64).read_to_end(&mut start)?;
    Ok(start)
}
