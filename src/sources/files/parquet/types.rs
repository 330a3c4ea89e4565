//! In which arrow types the columns of a file are decoded.

use std::sync::{Arc, OnceLock};

use arrow_schema::{DataType, Field, FieldRef, Schema, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::{Encoding, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;

use super::leaves::only_leaf;
use super::text::{Text, as_bytes, declared};

/// A file's description, its text declared in both ways.
pub(super) struct Described {
    options: ArrowReaderOptions,
    checked: ArrowReaderMetadata,
    /// Made where it is needed: hardly any file has text that is none.
    bytes: OnceLock<ArrowReaderMetadata>,
}

impl Described {
    /// Chooses the types: text as codes of a dictionary where the file has it so from end to end, since each text is then
    /// looked at once, else as views, which copy nothing; and the old type for instants in microseconds: in nanoseconds, the
    /// reader's own choice, years beyond 2262 would wrap and "9999-12-31" be long past.
    pub(super) fn new(read: &ArrowReaderMetadata, options: ArrowReaderOptions) -> Result<Self, ParquetError> {
        let text = declared(read.metadata(), Text::Checked)?;
        let metadata = ArrowReaderMetadata::try_new(text, options.clone())?;
        let fields: Vec<FieldRef> = (0..).zip(metadata.schema().fields()).map(|at| field(&metadata, at)).collect();
        let chosen = options.clone().with_schema(Arc::new(Schema::new(fields)));
        let checked = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), chosen)?;
        Ok(Self { options, checked, bytes: OnceLock::new() })
    }

    /// With text as text.
    pub(super) const fn checked(&self) -> &ArrowReaderMetadata {
        &self.checked
    }

    /// With text as bytes.
    pub(super) fn bytes(&self) -> Result<&ArrowReaderMetadata, ParquetError> {
        if let Some(bytes) = self.bytes.get() {
            return Ok(bytes);
        }
        let fields: Vec<FieldRef> = self.checked.schema().fields().iter().map(as_bytes).collect();
        let options = self.options.clone().with_schema(Arc::new(Schema::new(fields)));
        let bytes = ArrowReaderMetadata::try_new(declared(self.checked.metadata(), Text::Bytes)?, options)?;
        Ok(self.bytes.get_or_init(|| bytes))
    }
}

fn field(metadata: &ArrowReaderMetadata, (root, field): (usize, &FieldRef)) -> FieldRef {
    let as_type = |data_type| Arc::new(Field::clone(field).with_data_type(data_type));
    match (only_leaf(metadata, root), field.data_type()) {
        (Some((Physical::INT96, _)), _) => as_type(DataType::Timestamp(TimeUnit::Microsecond, None)),
        (Some((Physical::BYTE_ARRAY, leaf)), data_type) if is_text(data_type) => {
            let groups = metadata.metadata().row_groups();
            if !groups.is_empty() && groups.iter().all(|group| is_coded(group.column(leaf))) {
                as_type(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)))
            } else {
                as_type(DataType::Utf8View)
            }
        }
        _ => Arc::clone(field),
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Whether every page of a column has codes. A writer gives up its dictionary where that grows too large.
fn is_coded(column: &ColumnChunkMetaData) -> bool {
    let only = |encoding| column.page_encoding_stats_mask().is_some_and(|mask| mask.is_only(encoding));
    column.dictionary_page_offset().is_some() && (only(Encoding::RLE_DICTIONARY) || only(Encoding::PLAIN_DICTIONARY))
}
