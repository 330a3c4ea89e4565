//! The leaves of a file's root columns: those that hold values.

use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::Type as Physical;

/// The leaves of a root column.
pub(super) fn leaves(metadata: &ArrowReaderMetadata, root: usize) -> impl Iterator<Item = usize> {
    let schema = metadata.parquet_schema();
    (0..schema.num_columns()).filter(move |leaf| schema.get_column_root_idx(*leaf) == root)
}

/// The only leaf of a root column that is no nested one: its type and its number.
pub(super) fn only_leaf(metadata: &ArrowReaderMetadata, root: usize) -> Option<(Physical, usize)> {
    let schema = metadata.parquet_schema();
    if !schema.root_schema().get_fields()[root].is_primitive() {
        return None;
    }
    let leaf = leaves(metadata, root).next()?;
    Some((schema.column(leaf).physical_type(), leaf))
}
