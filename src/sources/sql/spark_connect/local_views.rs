//! Rows of our own as an engine takes them with a request.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};

use crate::sources::sql::transport::LocalRows;

/// Bytes of rows in one view: engines take no message of more than 4 MiB unless they are told to.
const VIEW: usize = 2 << 20;

/// Their columns as they stand after `SELECT`, and the rows as Arrow IPC streams, none larger than an engine takes.
pub(super) fn local_views(rows: &LocalRows) -> Result<(String, Vec<Vec<u8>>), ArrowError> {
    match rows {
        LocalRows::Keys(keys) => views(["key"], keys.iter().map(|key| [key])),
        LocalRows::Batches(batches) => {
            views(["batchid", "courseid"], batches.iter().map(|row| [row[0].as_str(), row[1].as_str()]))
        }
    }
}

fn views<'r, const N: usize>(
    columns: [&str; N],
    rows: impl Iterator<Item = [&'r str; N]>,
) -> Result<(String, Vec<Vec<u8>>), ArrowError> {
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let schema = Arc::new(Schema::new(fields));
    let mut views = Vec::new();
    let mut add = |rows: &[[&str; N]]| {
        let column = |at: usize| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row[at]))) as ArrayRef;
        let batch = RecordBatch::try_new(Arc::clone(&schema), (0..N).map(column).collect())?;
        let mut stream = StreamWriter::try_new(Vec::new(), &schema)?;
        stream.write(&batch)?;
        views.push(stream.into_inner()?);
        Ok::<(), ArrowError>(())
    };
    let (mut waiting, mut bytes, mut is_any) = (Vec::new(), 0, false);
    for row in rows {
        bytes += row.iter().map(|text| text.len() + size_of::<i32>()).sum::<usize>();
        waiting.push(row);
        if bytes >= VIEW {
            add(&waiting)?;
            waiting.clear();
            (bytes, is_any) = (0, true);
        }
    }
    if !waiting.is_empty() || !is_any {
        add(&waiting)?;
    }
    Ok((columns.join(", "), views))
}
