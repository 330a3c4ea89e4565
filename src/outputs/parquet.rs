//! Parquet: text as strings, days as dates, numbers as 64-bit integers; what is empty is null.
//!
//! Written row group by row group, each bounded by its bytes, so that no more than that is in memory.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{ArrayRef, Date32Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Schema};
use chrono::{Datelike, NaiveDate};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::reports::table::{Finished, Listed, TableColumn, Values};

/// A batch of rows has at most so many …
const BATCH_ROWS: usize = 8 * 1024;
/// … and about so many cells, and so many bytes of text.
const BATCH_CELLS: usize = 1 << 20;
const BATCH_BYTES: usize = 8 << 20;
/// A row group is written out when it takes so much memory …
const GROUP_BYTES: usize = 32 << 20;
/// … or has so many rows.
const GROUP_ROWS: usize = 1 << 20;
/// Days from 1 January of year 1 to 1970.
const EPOCH: i32 = 719_163;

/// Writes the table and returns how many rows were written.
///
/// # Errors
/// Those of `out`.
pub fn write(table: &Finished<'_>, out: &mut dyn Write) -> io::Result<u64> {
    let schema = Arc::new(schema(table));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("exhaustd version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    // The crate wants a writer that can go to another thread: it gets a piece of memory, emptied after each group.
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
    let most = (BATCH_CELLS / schema.fields().len().max(1)).clamp(1, BATCH_ROWS);
    let (mut from, mut written) = (0, 0);
    while from < table.rows {
        let rows = from..batch_end(table, from, most);
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), arrays(table, &rows), &options);
        let batch = batch.map_err(io::Error::other)?;
        writer.write(&batch)?;
        written += batch.num_rows() as u64;
        if writer.memory_size() >= GROUP_BYTES {
            writer.flush()?;
        }
        out.write_all(writer.inner())?;
        writer.inner_mut().clear();
        from = rows.end;
    }
    out.write_all(&writer.into_inner()?)?;
    out.flush()?;
    Ok(written)
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

/// Where the batch ends that begins with this row.
fn batch_end(table: &Finished<'_>, from: usize, most: usize) -> usize {
    let mut bytes = 0;
    let mut row = from;
    while row < table.rows && row - from < most && bytes < BATCH_BYTES {
        bytes += table.listed.as_ref().map_or(0, |listed| listed.line(row).0.len());
        bytes += table.columns.iter().map(|column| text_bytes(column, row)).sum::<usize>();
        row += 1;
    }
    row
}

fn text_bytes(column: &TableColumn<'_>, row: usize) -> usize {
    match &column.values {
        Values::Constant(text) => text.len(),
        Values::Text(texts) => texts[row].len(),
        Values::Date(_) | Values::Int(_) | Values::Percent(_) => 0,
    }
}

fn arrays(table: &Finished<'_>, rows: &Range<usize>) -> Vec<ArrayRef> {
    let listed = table.listed.iter().flat_map(|listed| listed_arrays(listed, rows));
    listed.chain(table.columns.iter().map(|column| array(&column.values, rows))).collect()
}

fn listed_arrays(listed: &Listed<'_>, rows: &Range<usize>) -> Vec<ArrayRef> {
    let mut builders: Vec<_> = listed.headings.iter().map(|_| StringBuilder::new()).collect();
    for row in rows.clone() {
        let (line, hidden) = listed.line(row);
        for (cell, builder) in line.cells(hidden).zip(&mut builders) {
            builder.append_option(some(&cell));
        }
    }
    builders.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef).collect()
}

fn array(values: &Values<'_>, rows: &Range<usize>) -> ArrayRef {
    let mut texts = StringBuilder::new();
    match values {
        Values::Constant(text) => rows.clone().for_each(|_| texts.append_option(some(text))),
        Values::Text(all) => all[rows.clone()].iter().for_each(|text| texts.append_option(some(text))),
        Values::Date(days) => {
            return Arc::new(days[rows.clone()].iter().map(|day| day.map(since_epoch)).collect::<Date32Array>());
        }
        Values::Int(numbers) | Values::Percent(numbers) => {
            return Arc::new(numbers[rows.clone()].iter().copied().collect::<Int64Array>());
        }
    }
    Arc::new(texts.finish())
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
            assert_eq!(test_table::with(|table| write(table, &mut bytes)).unwrap(), 2);
            bytes
        };
        let bytes = file();
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
        assert_eq!(bytes, file());
        assert_eq!(since_epoch(NaiveDate::from_ymd_opt(1970, 1, 2).unwrap()), 1);
    }
}
