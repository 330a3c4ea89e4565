//! How a file's text is declared to its decoder, and which types are refused.
//!
//! The decoder looks for bytes that are not UTF-8 only in columns that are declared as text (STRING), and fails there.
//! So every column of bytes that holds text is declared so, whatever its writer called it (JSON, ENUM, nothing); where the
//! decoder fails, the row group is read on with the same columns declared as bytes, and each cell is looked at.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::{Compression, ConvertedType, LogicalType, Type as Physical};
use parquet::errors::Result;
use parquet::file::metadata::{FileMetaData, ParquetMetaData, ParquetMetaDataBuilder};
use parquet::schema::types::{SchemaDescriptor, Type};

use super::leaves::leaves;
use crate::sources::rows::Reading;
use crate::tables::schema::Kind;

/// As what text is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// As text: the decoder fails where it is not UTF-8.
    Checked,
    /// As bytes, of whatever kind.
    Bytes,
}

/// The same file with its text declared so.
///
/// # Errors
/// The schema makes no sense to the crate.
pub(super) fn declared(metadata: &ParquetMetaData, text: Text) -> Result<Arc<ParquetMetaData>> {
    let file = metadata.file_metadata();
    let schema = SchemaDescriptor::new(Arc::new(node(file.schema_descr().root_schema(), text)?));
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(ToOwned::to_owned),
        file.key_value_metadata().cloned(),
        Arc::new(schema),
        file.column_orders().cloned(),
    );
    let builder = ParquetMetaDataBuilder::new(file)
        .set_row_groups(metadata.row_groups().to_vec())
        .set_column_index(metadata.column_index().cloned())
        .set_offset_index(metadata.offset_index().cloned());
    Ok(Arc::new(builder.build()))
}

fn node(of: &Type, text: Text) -> Result<Type> {
    let info = of.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if let Type::GroupType { fields, .. } = of {
        let fields = fields.iter().map(|field| Ok(Arc::new(node(field, text)?))).collect::<Result<_>>()?;
        let group = Type::group_type_builder(info.name())
            .with_fields(fields)
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_id(id);
        return if info.has_repetition() { group.with_repetition(info.repetition()) } else { group }.build();
    }
    if !is_text(of) {
        return Ok(of.clone());
    }
    let leaf =
        Type::primitive_type_builder(info.name(), Physical::BYTE_ARRAY).with_repetition(info.repetition()).with_id(id);
    match text {
        Text::Checked => {
            leaf.with_converted_type(ConvertedType::UTF8).with_logical_type(Some(LogicalType::String)).build()
        }
        Text::Bytes => leaf.build(),
    }
}

/// Whether a leaf holds text. Bytes without a type do: old writers know no other text.
fn is_text(leaf: &Type) -> bool {
    let info = leaf.get_basic_info();
    let by_logical = match info.logical_type_ref() {
        Some(LogicalType::String | LogicalType::Json | LogicalType::Enum) => true,
        Some(_) => false,
        None => matches!(
            info.converted_type(),
            ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::JSON | ConvertedType::ENUM
        ),
    };
    by_logical && leaf.is_primitive() && leaf.get_physical_type() == Physical::BYTE_ARRAY
}

/// The same field with bytes in place of text.
pub(super) fn as_bytes(field: &FieldRef) -> FieldRef {
    Arc::new(Field::clone(field).with_data_type(bytes_of(field.data_type())))
}

fn bytes_of(text: &DataType) -> DataType {
    use DataType as T;
    match text {
        T::Utf8 => T::Binary,
        T::LargeUtf8 => T::LargeBinary,
        T::Utf8View => T::BinaryView,
        T::Dictionary(codes, values) => T::Dictionary(codes.clone(), Box::new(bytes_of(values))),
        T::List(field) => T::List(as_bytes(field)),
        T::LargeList(field) => T::LargeList(as_bytes(field)),
        T::FixedSizeList(field, length) => T::FixedSizeList(as_bytes(field), *length),
        T::Map(field, sorted) => T::Map(as_bytes(field), *sorted),
        T::Struct(fields) => T::Struct(fields.iter().map(as_bytes).collect::<Fields>()),
        other => other.clone(),
    }
}

/// Whether the leaf of a root column is a UUID, 16 bytes.
pub(super) fn is_uuid(metadata: &ArrowReaderMetadata, leaf: usize) -> bool {
    metadata.parquet_schema().column(leaf).logical_type_ref() == Some(&LogicalType::Uuid)
}

/// Why a column of the scan cannot be read, as what follows the file's name: how it is compressed, that it is encrypted,
/// or its type. Columns that the scan does not need may be anything.
/// `places`: by spelling.
pub(super) fn refused(
    metadata: &ArrowReaderMetadata,
    reading: &Reading<'_>,
    places: &[Option<usize>],
) -> Option<String> {
    let groups = metadata.metadata().row_groups();
    let spellings = reading.spellings().all().iter().zip(places);
    let columns = spellings.filter_map(|(spelling, place)| Some((&reading.scan.columns[spelling.column], (*place)?)));
    columns.into_iter().find_map(|(column, root)| {
        leaves(metadata, root).find_map(|leaf| {
            let chunks = || groups.iter().map(|group| group.column(leaf));
            let name = metadata.schema().field(root).name();
            if chunks().any(|chunk| chunk.crypto_metadata().is_some()) {
                return Some(format!("has an encrypted column '{name}', which this build does not read"));
            }
            if let Some(codec) = chunks().find_map(|chunk| codec_not_read(chunk.compression())) {
                return Some(format!("is compressed with {codec}, which this build does not read"));
            }
            // Of lists and maps that are only counted nobody looks at the values.
            let is_counted = column.kind == Kind::Entries
                && !metadata.parquet_schema().root_schema().get_fields()[root].is_primitive();
            let what = type_not_read(metadata, leaf).filter(|_| !is_counted)?;
            Some(format!("has a column '{name}' of {what}, which is not read"))
        })
    })
}

const fn codec_not_read(codec: Compression) -> Option<&'static str> {
    match codec {
        Compression::BROTLI(_) => Some("brotli"),
        Compression::LZO => Some("LZO"),
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::LZ4
        | Compression::ZSTD(_)
        | Compression::LZ4_RAW => None,
    }
}

fn type_not_read(metadata: &ArrowReaderMetadata, leaf: usize) -> Option<String> {
    let column = metadata.parquet_schema().column(leaf);
    let (logical, converted) = (column.logical_type_ref(), column.converted_type());
    let named = match (column.physical_type(), logical, converted) {
        (_, Some(LogicalType::Bson), _) | (_, None, ConvertedType::BSON) => "type BSON",
        (_, Some(LogicalType::Geometry(_)), _) => "type GEOMETRY",
        (_, Some(LogicalType::Geography(_)), _) => "type GEOGRAPHY",
        (_, None, ConvertedType::INTERVAL) => "type INTERVAL",
        (_, Some(LogicalType::_Unknown { .. }), _) => "a type of a newer Parquet",
        // What such bytes mean only their writer knows: as text, two ids might become one.
        (Physical::FIXED_LEN_BYTE_ARRAY, None, ConvertedType::NONE) => {
            return Some(format!("{} raw bytes (neither UUID nor text)", column.type_length()));
        }
        _ if is_in_variant(metadata, leaf) => "type VARIANT",
        _ => return None,
    };
    Some(named.to_owned())
}

/// Whether a leaf belongs to a value of type VARIANT, somewhere below its root.
fn is_in_variant(metadata: &ArrowReaderMetadata, leaf: usize) -> bool {
    fn has_variant(node: &Type, path: &[String]) -> bool {
        if matches!(node.get_basic_info().logical_type_ref(), Some(LogicalType::Variant(_))) {
            return true;
        }
        let Some((name, rest)) = path.split_first() else { return false };
        node.is_group()
            && node.get_fields().iter().any(|field| field.name() == name.as_str() && has_variant(field, rest))
    }
    let schema = metadata.parquet_schema();
    has_variant(schema.root_schema(), schema.column(leaf).path().parts())
}
