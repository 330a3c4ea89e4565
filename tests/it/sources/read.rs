//! What a source delivers, as text to compare.

use std::sync::Mutex;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use exhaust::reports::schema::Scan;
use exhaust::sources::{Source, SourceError, Tally};

use super::forms::time;
use super::sets::Type;

/// The rows in order, cells parted by `|`, `-` for nothing; and the tally.
pub(crate) fn read(source: &dyn Source, scan: &Scan) -> Result<(Vec<String>, Tally), SourceError> {
    let rows = Mutex::new(Vec::new());
    let tally = source.read(scan, &|batch| {
        assert_eq!(batch.num_columns(), scan.columns.len());
        rows.lock().unwrap().extend((0..batch.num_rows()).map(|row| printed(batch, row)));
    })?;
    let mut rows = rows.into_inner().unwrap();
    rows.sort_unstable();
    Ok((rows, tally))
}

fn printed(batch: &RecordBatch, row: usize) -> String {
    let cells: Vec<String> = batch.columns().iter().map(|column| cell(column, row)).collect();
    cells.join("|")
}

fn cell(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return "-".to_owned();
    }
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            time(column.as_primitive::<TimestampMicrosecondType>().value(row), Type::Instant)
        }
        other => panic!("{other} is no canonical type"),
    }
}
