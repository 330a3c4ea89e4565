//! The chunks of a row group, read on with text as bytes where some of it turns out to be no text.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader};
use parquet::errors::ParquetError;

use super::failure::Failure;
use super::text::Text;
use super::watch::Watch;

/// Opens a reader with text declared so, from this row on (of those that are selected).
pub(super) trait Open: Fn(Text, usize) -> Result<ParquetRecordBatchReader, Failure> {}

impl<O: Fn(Text, usize) -> Result<ParquetRecordBatchReader, Failure>> Open for O {}

/// The chunks of some columns and rows of a row group, in their order.
pub(super) struct Batches<O> {
    open: O,
    reader: ParquetRecordBatchReader,
    text: Text,
    /// Rows handed out.
    rows: usize,
    watch: Arc<Watch>,
}

impl<O: Open> Batches<O> {
    /// Begins with text as text.
    pub(super) fn new(open: O, watch: &Arc<Watch>) -> Result<Self, Failure> {
        Ok(Self { reader: open(Text::Checked, 0)?, open, text: Text::Checked, rows: 0, watch: Arc::clone(watch) })
    }

    fn read(&mut self) -> Option<Result<RecordBatch, Failure>> {
        match self.reader.next()? {
            Ok(batch) => {
                self.rows += batch.num_rows();
                self.watch.next_chunk();
                Some(Ok(batch))
            }
            // Whatever it is: what is no matter of text fails again.
            Err(_) if self.text == Text::Checked && self.watch.stopped().is_none() => {
                self.text = Text::Bytes;
                match (self.open)(Text::Bytes, self.rows) {
                    Ok(reader) => self.reader = reader,
                    Err(failure) => return Some(Err(failure)),
                }
                self.read()
            }
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl<O: Open> Iterator for Batches<O> {
    type Item = Result<RecordBatch, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read()
    }
}

/// The description with text declared so.
pub(super) fn of(described: &super::types::Described, text: Text) -> Result<&ArrowReaderMetadata, ParquetError> {
    match text {
        Text::Checked => Ok(described.checked()),
        Text::Bytes => described.bytes(),
    }
}

/// A chunk as one or several whose texts, written one by one, are not too much: in the chunk itself a text that comes again
/// and again is there once.
pub(super) fn bearable(batch: &RecordBatch, watch: &Watch) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let coded = batch.columns().iter().filter(|column| matches!(column.data_type(), DataType::Dictionary(..))).count();
    let of_views: usize = batch.columns().iter().map(views).sum();
    let most = rows.saturating_mul(watch.longest()).saturating_mul(coded).saturating_add(of_views);
    if most <= watch.bearable() {
        return vec![batch.clone()];
    }
    let (mut waiting, mut pieces) = (vec![batch.clone()], Vec::new());
    while let Some(piece) = waiting.pop() {
        let (rows, columns) = (piece.num_rows(), piece.columns());
        let texts: usize = columns.iter().map(|column| views(column).saturating_add(codes(column))).sum();
        if rows <= 1 || texts <= watch.bearable() {
            pieces.push(piece);
        } else {
            let half = rows / 2;
            waiting.extend([piece.slice(half, rows - half), piece.slice(0, half)]);
        }
    }
    pieces
}

/// Bytes of texts that are views.
fn views(column: &ArrayRef) -> usize {
    let views = match column.data_type() {
        DataType::Utf8View => column.as_string_view().views(),
        DataType::BinaryView => column.as_binary_view().views(),
        _ => return 0,
    };
    // The lower half of a view is the length of its text.
    views.iter().map(|view| usize::try_from(view & u128::from(u32::MAX)).unwrap_or(0)).sum()
}

/// Bytes of texts that are codes of a dictionary.
fn codes(column: &ArrayRef) -> usize {
    let DataType::Dictionary(..) = column.data_type() else { return 0 };
    let Some(coded) = column.as_dictionary_opt::<Int32Type>() else { return 0 };
    let offsets = match coded.values().data_type() {
        DataType::Utf8 => coded.values().as_string::<i32>().value_offsets(),
        DataType::Binary => coded.values().as_binary::<i32>().value_offsets(),
        _ => return 0,
    };
    let length = |code: i32| {
        let code = usize::try_from(code).ok()?;
        usize::try_from(offsets.get(code + 1)? - offsets.get(code)?).ok()
    };
    coded.keys().iter().flatten().filter_map(length).sum()
}
