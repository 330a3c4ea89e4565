//! The chunks of a row group, read on with text as bytes where some of it turns out to be no text.

use arrow_array::RecordBatch;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader};
use parquet::errors::ParquetError;

use super::Failure;
use super::text::Text;

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
}

impl<O: Open> Batches<O> {
    /// Begins with text as text.
    pub(super) fn new(open: O) -> Result<Self, Failure> {
        Ok(Self { reader: open(Text::Checked, 0)?, open, text: Text::Checked, rows: 0 })
    }

    fn read(&mut self) -> Option<Result<RecordBatch, Failure>> {
        match self.reader.next()? {
            Ok(batch) => {
                self.rows += batch.num_rows();
                Some(Ok(batch))
            }
            // Whatever it is: what is no matter of text fails again.
            Err(_) if self.text == Text::Checked => {
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
