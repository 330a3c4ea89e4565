//! Keys as an engine takes them with a request.

use std::sync::Arc;

use arrow_array::{RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};

use crate::tables::keys::Keys;

/// Bytes of keys in one view: engines take no message of more than 4 MiB unless they are told to.
const VIEW: usize = 2 << 20;

/// Keys as Arrow IPC streams with one column `key`, none larger than an engine takes.
pub(super) fn key_views(keys: &dyn Keys) -> Result<Vec<Vec<u8>>, ArrowError> {
    let schema = Arc::new(Schema::new(vec![Field::new("key", DataType::Utf8, false)]));
    let mut views = Vec::new();
    let mut add = |keys: &[&str]| {
        let column = Arc::new(StringArray::from_iter_values(keys));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column])?;
        let mut stream = StreamWriter::try_new(Vec::new(), &schema)?;
        stream.write(&batch)?;
        views.push(stream.into_inner()?);
        Ok::<(), ArrowError>(())
    };
    let (mut waiting, mut bytes) = (Vec::new(), 0);
    for key in keys.iter() {
        waiting.push(key);
        bytes += key.len() + size_of::<i32>();
        if bytes >= VIEW {
            add(&waiting)?;
            waiting.clear();
            bytes = 0;
        }
    }
    if !waiting.is_empty() || keys.is_empty() {
        add(&waiting)?;
    }
    Ok(views)
}
