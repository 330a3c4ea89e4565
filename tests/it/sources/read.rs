//! What a source delivers, as text to compare.

use std::sync::Mutex;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use exhaust::sources::{ReadCost, ScanStats, Source, SourceError};
use exhaust::tables::chunk::{Chunk, Texts};
use exhaust::tables::plan::Scan;

use super::forms::time;
use super::sets::Type;

/// The rows in order, cells parted by `|`, `-` for nothing; and the stats.
pub(crate) fn read(source: &dyn Source, scan: &Scan) -> Result<(Vec<String>, ScanStats), SourceError> {
    let rows = Mutex::new(Vec::new());
    let mut stats = source.read(scan, &|chunk| {
        assert_eq!(chunk.columns().len(), scan.columns.len());
        rows.lock().unwrap().extend(chunk.rows().map(|row| printed(chunk, row)));
    })?;
    // Sources agree in everything but what reading takes.
    stats.cost = ReadCost::default();
    let mut rows = rows.into_inner().unwrap();
    rows.sort_unstable();
    Ok((rows, stats))
}

fn printed(chunk: &Chunk, row: usize) -> String {
    let cells: Vec<String> = chunk.columns().iter().map(|column| cell(column, row)).collect();
    cells.join("|")
}

fn cell(column: &ArrayRef, row: usize) -> String {
    if matches!(column.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::Dictionary(..)) {
        let text = Texts::of(column).get(row);
        return if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    }
    if column.is_null(row) {
        return "-".to_owned();
    }
    match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            time(column.as_primitive::<TimestampMicrosecondType>().value(row), Type::Instant)
        }
        other => panic!("{other} is no canonical type"),
    }
}
