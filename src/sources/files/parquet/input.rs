//! A Parquet file's bytes: of a local file as its reader asks for them, of one in a bucket by ranges that are known
//! beforehand.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection};
use parquet::errors::{ParquetError, Result};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};

use super::super::ahead::{Cursor, Window};
use super::super::spot::{Spot, Stored};
use super::types::leaves;

/// A file that is there.
pub(super) enum Opened<'a> {
    Local(&'a Path),
    /// With its end, and where that begins.
    Stored(&'a Arc<Stored>, (u64, Bytes)),
}

impl<'a> Opened<'a> {
    pub(super) fn new(spot: &'a Spot) -> io::Result<Self> {
        Ok(match spot {
            Spot::Local(path) => Self::Local(path),
            Spot::Stored(file) => Self::Stored(file, Window::end(file)?),
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

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
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
