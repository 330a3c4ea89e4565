//! The pages of a row group, as the decoder asks for them: unpacked up to a bound, counted as long as they are held, and
//! looked at for what their values become. A run of a few bytes may stand for a million entries of one list, and a text of
//! a dictionary for as many copies of it.
//!
//! Not here: what is done where a page is too much for now (`parquet`).

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowGroups};
use parquet::basic::{Compression, Encoding, Type as Physical};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::schema::types::ColumnDescPtr;

use super::super::allowance::Refused;
use super::super::errors::size;
use super::codec::{Codec, Fault};
use super::input::Input;
use super::leaves::leaves;
use super::sizes::{Broken, claimed, largest_record, longest_delta, longest_plain};
use super::watch::{Stop, Watch};

/// Bytes that a value takes beside its own: its place, its levels.
const OVERHEAD: usize = 24;
/// Bytes that a value of a dictionary takes beside its own, in whatever form.
const OVERHEAD_OF_DISTINCT: usize = 40;

/// A row group's pages for the decoder of arrow's columns.
pub(super) struct Group {
    input: Arc<Input>,
    metadata: ArrowReaderMetadata,
    group: usize,
    watch: Arc<Watch>,
}

impl Group {
    pub(super) fn new(input: Input, metadata: &ArrowReaderMetadata, group: usize, watch: &Arc<Watch>) -> Self {
        Self { input: Arc::new(input), metadata: metadata.clone(), group, watch: Arc::clone(watch) }
    }

    /// The pages of a leaf.
    pub(super) fn pages(&self, leaf: usize) -> Result<Pages> {
        Pages::new(&self.input, &self.metadata, (self.group, leaf), &self.watch)
    }
}

impl RowGroups for Group {
    fn num_rows(&self) -> usize {
        usize::try_from(self.metadata.metadata().row_group(self.group).num_rows()).unwrap_or(0)
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        Ok(Box::new(Once(Some(self.pages(leaf)?))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.metadata().row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }
}

struct Once(Option<Pages>);

impl Iterator for Once {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.take().map(|pages| Ok(Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for Once {}

/// The pages of a leaf in a row group.
pub(super) struct Pages {
    /// Gives pages as they are packed.
    packed: SerializedPageReader<Input>,
    codec: Option<Codec>,
    column: ColumnDescPtr,
    group: usize,
    /// Whether values are copied one by one when they are decoded; else they stay in their pages.
    copied: bool,
    /// The longest value of the dictionary.
    longest: usize,
    /// Bytes that pages of the chunk at hand may become, and which chunk that is.
    decoded: (usize, usize),
    watch: Arc<Watch>,
}

impl Pages {
    fn new(
        input: &Arc<Input>,
        metadata: &ArrowReaderMetadata,
        (group, leaf): (usize, usize),
        watch: &Arc<Watch>,
    ) -> Result<Self> {
        let row_group = metadata.metadata().row_group(group);
        let chunk = row_group.column(leaf);
        let compression = chunk.compression();
        // The crate then hands over what is packed.
        let packed = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        let index = metadata.metadata().offset_index().and_then(|groups| groups.get(group)?.get(leaf));
        let locations = index.map(OffsetIndexMetaData::page_locations).filter(|pages| !pages.is_empty()).cloned();
        let rows = usize::try_from(row_group.num_rows()).unwrap_or(0);
        let column = metadata.parquet_schema().column(leaf);
        let root = metadata.parquet_schema().get_column_root_idx(leaf);
        let stays = matches!(
            metadata.schema().field(root).data_type(),
            DataType::Utf8View | DataType::BinaryView | DataType::Dictionary(..)
        );
        Ok(Self {
            packed: SerializedPageReader::new(Arc::clone(input), &packed, rows, locations)?,
            codec: (compression != Compression::UNCOMPRESSED).then(|| Codec::new(compression)),
            copied: !stays,
            column,
            group,
            longest: 0,
            decoded: (0, 0),
            watch: Arc::clone(watch),
        })
    }

    fn too_large(&self, what: &str) -> ParquetError {
        let Self { column, group, watch, .. } = self;
        let name = column.path().string();
        watch.stop(Stop::TooLarge(format!("row group {}, column '{name}': {what}", group + 1)))
    }

    /// The same page with its bytes unpacked and counted.
    fn unpacked(&mut self, page: Page) -> Result<Page> {
        let (levels, is_packed) = match &page {
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, is_compressed, .. } => {
                (*def_levels_byte_len as usize + *rep_levels_byte_len as usize, *is_compressed)
            }
            Page::DataPage { .. } | Page::DictionaryPage { .. } => (0, true),
        };
        let bytes = page.buffer();
        let (levels, packed) = bytes.split_at_checked(levels).ok_or_else(|| ParquetError::EOF("levels".to_owned()))?;
        let unit = self.watch.unit();
        let bytes = match self.codec.as_mut().filter(|_| is_packed) {
            None => bytes.clone(),
            Some(codec) => {
                let mut unpacked = Vec::with_capacity(levels.len());
                unpacked.extend_from_slice(levels);
                // A page without a value may have nothing behind its levels.
                let read = if packed.is_empty() { Ok(()) } else { codec.unpack(packed, &mut unpacked, unit) };
                match read {
                    Ok(()) => Bytes::from(unpacked),
                    Err(Fault::TooLarge) => return Err(self.page_too_large()),
                    Err(Fault::Broken(error)) => return Err(ParquetError::General(error.to_string())),
                }
            }
        };
        if bytes.len() > unit {
            return Err(self.page_too_large());
        }
        let extra = self.extra(&page, &bytes)?;
        let bytes = self.counted(bytes, extra)?;
        Ok(with_bytes(page, bytes))
    }

    fn page_too_large(&self) -> ParquetError {
        self.too_large(&format!("a page has more than {} decompressed", size(self.watch.unit())))
    }

    fn counted(&self, bytes: Bytes, extra: usize) -> Result<Bytes> {
        self.watch.hold(bytes, extra).map_err(|refused| match refused {
            Refused::Busy => self.watch.stop(Stop::Busy),
            Refused::TooMuch => {
                self.too_large("its pages and those of the columns beside it are more than memory is there for")
            }
        })
    }

    /// What decoding a page takes beside its bytes, however few of its values are asked for.
    fn extra(&mut self, page: &Page, bytes: &[u8]) -> Result<usize> {
        let broken = |Broken| ParquetError::EOF("values of a page".to_owned());
        let implausible = || Err(ParquetError::EOF("a page has fewer values than it says".to_owned()));
        let count = page.num_values() as usize;
        match page {
            Page::DictionaryPage { .. } => {
                let width = match self.column.physical_type() {
                    Physical::BYTE_ARRAY => 4,
                    Physical::INT32 | Physical::FLOAT => 4,
                    Physical::INT64 | Physical::DOUBLE => 8,
                    Physical::INT96 => 12,
                    Physical::FIXED_LEN_BYTE_ARRAY => usize::try_from(self.column.type_length()).unwrap_or(0).max(1),
                    Physical::BOOLEAN => 1,
                };
                if count > bytes.len() / width {
                    return implausible();
                }
                if self.column.physical_type() == Physical::BYTE_ARRAY {
                    self.longest = longest_plain(bytes, count).map_err(broken)?;
                    self.watch.found_text(self.longest);
                    return Ok(bytes.len() + count * OVERHEAD_OF_DISTINCT);
                }
                Ok(count * width)
            }
            Page::DataPage { encoding, .. } | Page::DataPageV2 { encoding, .. } => {
                let values = self.values(page, bytes)?;
                let (claims, longest) = match encoding {
                    Encoding::DELTA_LENGTH_BYTE_ARRAY => (claimed(values).map_err(broken)?, 0),
                    Encoding::DELTA_BYTE_ARRAY => longest_delta(values, count).map_err(broken)?,
                    _ => (0, 0),
                };
                if claims > count {
                    return implausible();
                }
                self.bears(page, bytes, longest)?;
                // The lengths of all of them, twice.
                Ok(claims * 2 * size_of::<i32>())
            }
        }
    }

    /// Where the levels of a page end and its values begin.
    fn values<'b>(&self, page: &Page, bytes: &'b [u8]) -> Result<&'b [u8]> {
        let short = || ParquetError::EOF("levels of a page".to_owned());
        match page {
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
                bytes.get(*def_levels_byte_len as usize + *rep_levels_byte_len as usize..).ok_or_else(short)
            }
            Page::DataPage { encoding: Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY, .. } => {
                // Newer than the old way to write levels.
                let mut rest = bytes;
                for level in [self.column.max_rep_level(), self.column.max_def_level()] {
                    if level > 0 {
                        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(short)?;
                        rest = behind.get(u32::from_le_bytes(*length) as usize..).ok_or_else(short)?;
                    }
                }
                Ok(rest)
            }
            Page::DataPage { .. } | Page::DictionaryPage { .. } => Ok(bytes),
        }
    }

    /// Checks that the rows of a page that are decoded at a time stay within the bound. `longest`: its longest text, where its
    /// bytes do not show that.
    fn bears(&mut self, page: &Page, bytes: &[u8], longest: usize) -> Result<()> {
        let (unit, rows, bearable) = (self.watch.unit(), self.watch.rows(), self.watch.bearable());
        let is_nested = self.column.max_rep_level() > 0;
        if longest > unit {
            return Err(self.too_large(&format!("a cell has more than {}", size(unit))));
        }
        let count = page.num_values() as usize;
        let is_coded = matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
        let each = OVERHEAD
            + match self.column.physical_type() {
                Physical::BYTE_ARRAY if longest > 0 => longest,
                Physical::BYTE_ARRAY if is_coded && self.copied => self.longest,
                Physical::FIXED_LEN_BYTE_ARRAY => usize::try_from(self.column.type_length()).unwrap_or(0),
                _ => 0,
            };
        let may_grow = match self.column.physical_type() {
            Physical::BYTE_ARRAY => longest > 0 || self.copied,
            Physical::FIXED_LEN_BYTE_ARRAY => true,
            _ => is_nested,
        };
        if !may_grow {
            return Ok(());
        }
        let chunk = self.watch.chunk();
        if self.decoded.1 != chunk {
            self.decoded = (0, chunk);
        }
        // Texts that stand one by one in the page are copied once.
        let plain = if self.copied && !is_coded { bytes.len() } else { 0 };
        let all = count.saturating_mul(each).saturating_add(plain);
        let mut cost = all;
        if self.decoded.0.saturating_add(all) > bearable {
            let entries = if is_nested { self.largest_record(page, bytes)? } else { count.min(1) };
            let largest = entries.saturating_mul(each).saturating_add(plain.min(entries.saturating_mul(plain)));
            if largest > unit && plain == 0 {
                return Err(self.too_large(&format!("a cell has more than {} decoded", size(unit))));
            }
            let fitting = bearable / largest.max(1);
            if fitting < rows && rows > 1 {
                return Err(self.watch.stop(Stop::Fewer(fitting.max(1))));
            }
            cost = all.min(largest.saturating_mul(rows));
            if self.decoded.0.saturating_add(cost) > unit.saturating_mul(2) {
                if rows > 1 {
                    return Err(self.watch.stop(Stop::Fewer((rows / 2).max(1))));
                }
                return Err(self.too_large(&format!("a cell has more than {} decoded", size(unit))));
            }
        }
        self.decoded.0 += cost;
        Ok(())
    }

    /// The most entries that a record has in a page.
    fn largest_record(&self, page: &Page, bytes: &[u8]) -> Result<usize> {
        let short = || ParquetError::EOF("levels of a page".to_owned());
        let count = page.num_values() as usize;
        let levels = match page {
            Page::DataPageV2 { rep_levels_byte_len, .. } => bytes.get(..*rep_levels_byte_len as usize),
            Page::DataPage { rep_level_encoding: Encoding::RLE, .. } => {
                let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
                rest.get(..u32::from_le_bytes(*length) as usize)
            }
            // Bits one by one: there are no more entries than bits.
            Page::DataPage { .. } | Page::DictionaryPage { .. } => return Ok(count),
        };
        let most = u16::try_from(self.column.max_rep_level()).unwrap_or(1);
        let width = u8::try_from(u16::BITS - most.leading_zeros()).unwrap_or(16);
        largest_record(levels.ok_or_else(short)?, width, count).map_err(|Broken| short())
    }
}

fn with_bytes(page: Page, bytes: Bytes) -> Page {
    let mut page = page;
    match &mut page {
        Page::DataPage { buf, .. } | Page::DataPageV2 { buf, .. } | Page::DictionaryPage { buf, .. } => *buf = bytes,
    }
    page
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let Some(page) = self.packed.get_next_page()? else { return Ok(None) };
        self.watch.read_page(page.buffer().len());
        self.unpacked(page).map(Some)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.packed.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.packed.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.packed.at_record_boundary()
    }
}

/// The leaves below these root columns that are read, or what is wrong with them as it follows the file's name.
pub(super) fn few_leaves(metadata: &ArrowReaderMetadata, roots: impl Iterator<Item = usize>) -> Option<String> {
    /// Fields of a column, at most: each has a decoder of its own.
    const MOST: usize = 1_000;
    let roots: BTreeSet<usize> = roots.collect();
    roots
        .into_iter()
        .find(|root| leaves(metadata, *root).take(MOST + 1).count() > MOST)
        .map(|root| format!("has a column '{}' of more than {MOST} fields", metadata.schema().field(root).name()))
}
