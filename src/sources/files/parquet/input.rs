//! A Parquet file's bytes: of a local file as its reader asks for them, of one in a bucket by ranges that are known
//! beforehand.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::super::location::FileLocation;
use super::super::read_ahead::{Cursor, Window};
use super::super::stored_file::StoredFile;
use super::leaves::leaves;
use super::thrift::refused;

/// A file that is there.
pub(super) enum Opened<'a> {
    Local(&'a Path),
    /// With its end, and where that begins.
    Stored(&'a Arc<StoredFile>, (u64, Bytes)),
}

impl<'a> Opened<'a> {
    pub(super) fn new(location: &'a FileLocation) -> io::Result<Self> {
        Ok(match location {
            FileLocation::Local(path) => Self::Local(path),
            FileLocation::Stored(file) => Self::Stored(file, Window::end(file)?),
        })
    }

    /// Whether what is read should be known beforehand.
    pub(super) const fn is_stored(&self) -> bool {
        matches!(self, Self::Stored(..))
    }

    /// To read what describes it.
    pub(super) fn description(&self) -> io::Result<Input> {
        self.lanes(Vec::new)
    }

    /// To read these columns of a row group, and of them these rows.
    pub(super) fn columns(
        &self,
        metadata: &ArrowReaderMetadata,
        group: usize,
        roots: &[usize],
        selection: Option<&RowSelection>,
    ) -> io::Result<Input> {
        let leaves = || roots.iter().flat_map(|root| leaves(metadata, *root));
        self.lanes(|| leaves().map(|leaf| lane(metadata, group, leaf, selection)).collect())
    }

    /// To read one leaf of a row group.
    pub(super) fn leaf(&self, metadata: &ArrowReaderMetadata, group: usize, leaf: usize) -> io::Result<Input> {
        self.lanes(|| vec![lane(metadata, group, leaf, None)])
    }

    fn lanes(&self, lanes: impl FnOnce() -> Vec<Vec<Range<u64>>>) -> io::Result<Input> {
        Ok(match self {
            Self::Local(path) => Input::Local(File::open(path)?),
            Self::Stored(file, tail) => Input::Stored(Window::new(Arc::clone(file), tail.clone(), lanes())),
        })
    }
}

/// The ranges of a leaf in a row group that reading these rows takes: its dictionary, and the pages that have them.
fn lane(
    metadata: &ArrowReaderMetadata,
    group: usize,
    leaf: usize,
    selection: Option<&RowSelection>,
) -> Vec<Range<u64>> {
    let (start, length) = metadata.metadata().row_group(group).column(leaf).byte_range();
    let all = start..start.saturating_add(length);
    let index = metadata.metadata().offset_index().and_then(|groups| groups.get(group)?.get(leaf));
    let pages = index.map(OffsetIndexMetaData::page_locations).filter(|pages| !pages.is_empty());
    let (Some(selection), Some(pages)) = (selection, pages) else { return vec![all] };
    let first = u64::try_from(pages[0].offset).unwrap_or(start);
    let dictionary = start..first.max(start);
    let pages = selection.scan_ranges(pages);
    std::iter::once(dictionary).chain(pages).filter(|range| !range.is_empty()).collect()
}

/// What the decoder reads from.
pub(super) enum Input {
    Local(File),
    Stored(Arc<Window>),
}

/// What it reads headers from.
pub(super) enum Header {
    Local(BufReader<File>),
    Stored(Cursor),
}

impl Length for Input {
    fn len(&self) -> u64 {
        match self {
            Self::Local(file) => file.len(),
            Self::Stored(window) => window.len(),
        }
    }
}

impl ChunkReader for Input {
    type T = Header;

    fn get_read(&self, start: u64) -> Result<Header> {
        Ok(match self {
            Self::Local(file) => Header::Local(file.get_read(start)?),
            Self::Stored(window) => Header::Stored(Cursor::new(Arc::clone(window), start)),
        })
    }

    /// A file that claims to have more than it has must not make anybody take memory for it.
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are not in the file")));
        }
        match self {
            Self::Local(file) => file.get_bytes(start, length),
            Self::Stored(window) => {
                window.bytes(start, length).map_err(|error| ParquetError::External(Box::new(error)))
            }
        }
    }
}

impl Read for Header {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read(buffer),
            Self::Stored(cursor) => cursor.read(buffer),
        }
    }
}

/// A file's bytes to read what describes it.
pub(super) struct Description<'i> {
    pub(super) input: &'i Input,
    /// Why it is not taken apart, once that is known.
    pub(super) refused: OnceLock<&'static str>,
}

/// Bytes of a description, and of the index of pages, at most.
const DESCRIPTION: usize = 64 << 20;
const INDEX: u64 = 16 << 20;
/// A file ends with the length of its description and a mark.
const END: u64 = 8;

impl<'i> Description<'i> {
    pub(super) const fn new(input: &'i Input) -> Self {
        Self { input, refused: OnceLock::new() }
    }

    fn refuse(&self, what: &'static str) -> ParquetError {
        ParquetError::General((*self.refused.get_or_init(|| what)).to_owned())
    }
}

impl Length for Description<'_> {
    fn len(&self) -> u64 {
        self.input.len()
    }
}

impl ChunkReader for Description<'_> {
    type T = Header;

    fn get_read(&self, start: u64) -> Result<Header> {
        self.input.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if length > DESCRIPTION {
            return Err(self.refuse("has too large a description: write fewer and larger row groups"));
        }
        let bytes = self.input.get_bytes(start, length)?;
        // With what stands at its end, or without.
        let behind = self.input.len() - (start + length as u64);
        let end = length.saturating_sub(usize::try_from(END.saturating_sub(behind)).unwrap_or(0));
        if behind <= END
            && end > 0
            && let Some(what) = refused(&bytes[..end])
        {
            return Err(self.refuse(what));
        }
        Ok(bytes)
    }
}

/// Whether there is an index of pages, and it is not too much: several columns may claim the same bytes.
pub(super) fn has_index(metadata: &ParquetMetaData) -> bool {
    let columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    let lengths = columns.map(|column| [column.column_index_length(), column.offset_index_length()]);
    let bytes = lengths.flatten().flatten().map(|length| u64::try_from(length).unwrap_or(u64::MAX));
    (1..=INDEX).contains(&bytes.fold(0, u64::saturating_add))
}
