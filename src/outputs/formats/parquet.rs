//! Parquet: text as strings, days as dates, numbers as 64-bit integers; what is empty is null.
//!
//! Written row group by row group, each bounded by its bytes, so that no more than that is in memory.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{Date32Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use chrono::{Datelike, NaiveDate};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::super::format::{CsvOptions, Format, TablePieces, WriteError};
use crate::tables::finished::{Finished, Listed, TableColumn, Values};

/// See the module.
pub(super) const FORMAT: Format = Format {
    number: 2,
    name: "parquet",
    alias: None,
    extension: "parquet",
    gzip_extension: None,
    media_type: "application/vnd.apache.parquet",
    write,
};

/// The most rows of a batch …
const BATCH_ROWS: usize = 8 * 1024;
/// … and about the most cells, and bytes of text.
const BATCH_CELLS: usize = 1 << 20;
const BATCH_BYTES: usize = 8 << 20;
/// A row group is written out when it takes this many bytes of memory …
const GROUP_BYTES: usize = 32 << 20;
/// … or has this number of rows.
const GROUP_ROWS: usize = 1 << 20;
/// Days from 1 January of year 1 to 1970.
const EPOCH: i32 = 719_163;

/// Writes the table and returns how many rows were written. What a batch of rows has does not depend on the pieces in which
/// they come, so that the bytes do not either.
///
/// # Errors
/// Those of `table` and of `out`.
fn write(table: &mut dyn TablePieces, _: CsvOptions, out: &mut dyn Write) -> Result<u64, WriteError> {
    let (mut file, mut written) = (None, 0);
    table.each(&mut |table| {
        let file: &mut File = match &mut file {
            Some(file) => file,
            none => none.insert(File::of(table)?),
        };
        let mut from = 0;
        while from < table.rows {
            from = file.take(table, from);
            if file.is_full() {
                file.write(out)?;
            }
        }
        written += table.rows as u64;
        Ok(())
    })?;
    if let Some(mut file) = file {
        if file.rows > 0 {
            file.write(out)?;
        }
        out.write_all(&file.writer.into_inner().map_err(io::Error::from)?)?;
    }
    out.flush()?;
    Ok(written)
}

/// A file under way.
struct File {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    /// The most rows of a batch.
    most: usize,
    /// The batch under way, column by column.
    columns: Vec<Cells>,
    rows: usize,
    bytes: usize,
}

impl File {
    fn of(table: &Finished<'_>) -> io::Result<Self> {
        let schema = Arc::new(schema(table));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("exhaustd version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .build();
        let columns = schema.fields().iter().map(|field| Cells::of(field.data_type())).collect();
        let most = (BATCH_CELLS / schema.fields().len().max(1)).clamp(1, BATCH_ROWS);
        // The crate wants a writer that can go to another thread: it gets a piece of memory, emptied after each batch.
        let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties))?;
        Ok(Self { schema, writer, most, columns, rows: 0, bytes: 0 })
    }

    fn is_full(&self) -> bool {
        self.rows >= self.most || self.bytes >= BATCH_BYTES
    }

    /// Takes rows until the batch is full; returns the row after them.
    fn take(&mut self, table: &Finished<'_>, from: usize) -> usize {
        let mut row = from;
        while row < table.rows && !self.is_full() {
            self.bytes += table.listed.as_ref().map_or(0, |listed| listed.line(row).0.len());
            self.bytes += table.columns.iter().map(|column| text_bytes(column, row)).sum::<usize>();
            (self.rows, row) = (self.rows + 1, row + 1);
        }
        let rows = from..row;
        let mut columns = &mut self.columns[..];
        if let Some(listed) = &table.listed {
            let (own, others) = columns.split_at_mut(listed.headings.len());
            listed_cells(listed, &rows, own);
            columns = others;
        }
        for (column, cells) in table.columns.iter().zip(columns) {
            cells.extend(&column.values, &rows);
        }
        row
    }

    /// Writes the batch under way.
    fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let arrays = self.columns.iter_mut().map(Cells::finish).collect();
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options);
        self.writer.write(&batch.map_err(io::Error::other)?)?;
        (self.rows, self.bytes) = (0, 0);
        if self.writer.memory_size() >= GROUP_BYTES {
            self.writer.flush()?;
        }
        out.write_all(self.writer.inner())?;
        self.writer.inner_mut().clear();
        Ok(())
    }
}

fn schema(table: &Finished<'_>) -> Schema {
    let listed = table.listed.iter().flat_map(|listed| &listed.headings);
    let listed = listed.map(|heading| Field::new(*heading, DataType::Utf8, true));
    let others = table.columns.iter().map(|column| Field::new(&*column.heading, kind(&column.values), true));
    Schema::new(listed.chain(others).collect::<Vec<_>>())
}

const fn kind(values: &Values<'_>) -> DataType {
    match values {
        Values::Constant(_) | Values::Text(_) => DataType::Utf8,
        Values::Date(_) => DataType::Date32,
        Values::Int(_) | Values::Percent(_) => DataType::Int64,
    }
}

fn text_bytes(column: &TableColumn<'_>, row: usize) -> usize {
    match &column.values {
        Values::Constant(text) => text.len(),
        Values::Text(texts) => texts[row].len(),
        Values::Date(_) | Values::Int(_) | Values::Percent(_) => 0,
    }
}

/// Cells of a column under way.
enum Cells {
    Texts(StringBuilder),
    Days(Date32Builder),
    Numbers(Int64Builder),
}

impl Cells {
    fn of(kind: &DataType) -> Self {
        match kind {
            DataType::Date32 => Self::Days(Date32Builder::new()),
            DataType::Int64 => Self::Numbers(Int64Builder::new()),
            _ => Self::Texts(StringBuilder::new()),
        }
    }

    /// Appends those of a column, which has the kind of these.
    fn extend(&mut self, values: &Values<'_>, rows: &Range<usize>) {
        match (self, values) {
            (Self::Texts(cells), Values::Constant(text)) => {
                rows.clone().for_each(|_| cells.append_option(some(text)));
            }
            (Self::Texts(cells), Values::Text(texts)) => {
                texts[rows.clone()].iter().for_each(|text| cells.append_option(some(text)));
            }
            (Self::Days(cells), Values::Date(days)) => {
                days[rows.clone()].iter().for_each(|day| cells.append_option(day.map(since_epoch)));
            }
            (Self::Numbers(cells), Values::Int(numbers) | Values::Percent(numbers)) => {
                numbers[rows.clone()].iter().for_each(|number| cells.append_option(*number));
            }
            // A batch whose columns are of different lengths is refused.
            _ => {}
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Texts(cells) => Arc::new(cells.finish()),
            Self::Days(cells) => Arc::new(cells.finish()),
            Self::Numbers(cells) => Arc::new(cells.finish()),
        }
    }
}

fn listed_cells(listed: &Listed<'_>, rows: &Range<usize>, columns: &mut [Cells]) {
    for row in rows.clone() {
        let (line, hidden) = listed.line(row);
        for (cell, cells) in line.cells(hidden).zip(&mut *columns) {
            if let Cells::Texts(cells) = cells {
                cells.append_option(some(&cell));
            }
        }
    }
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn since_epoch(day: NaiveDate) -> i32 {
    day.num_days_from_ce() - EPOCH
}

#[cfg(test)]
mod tests {
    use super::super::test_table;
    use super::*;

    #[test]
    fn the_same_table_gives_the_same_bytes_and_its_rows() {
        let file = || {
            let mut bytes = Vec::new();
            assert_eq!(test_table::with(|mut table| write(&mut table, CsvOptions::default(), &mut bytes)).unwrap(), 2);
            bytes
        };
        let bytes = file();
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
        assert_eq!(bytes, file());
        assert_eq!(since_epoch(NaiveDate::from_ymd_opt(1970, 1, 2).unwrap()), 1);
    }
}
