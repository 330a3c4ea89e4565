//! One column of a chunk, of whatever arrow type, giving a cell for each row.
//!
//! The type is looked at once a chunk; what is rare is made plain text or JSON for the whole chunk beforehand.

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTemporalType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{
    AnyDictionaryArray, Array, ArrayRef, BinaryArray, BooleanArray, Int64Array, MapArray, PrimitiveArray, StringArray,
    StructArray,
};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, TimeUnit};
use chrono::SecondsFormat;
use chrono_tz::Tz;
use serde_json::Value;

use crate::sources::rows::Cell;
use crate::sources::spellings::COMPLETED_COUNT;
use crate::sources::values::local_instant;
use crate::tables::schema::Kind;

/// The bytes of a UUID. Fixed bytes of any other meaning are refused before (`text::refused`).
pub(in crate::sources) const UUID: i32 = 16;

/// The cells of one column.
pub(in crate::sources) enum Cells {
    Nothing,
    Text(StringArray),
    Bytes(BinaryArray),
    Json(StringArray),
    Int(Int64Array),
    Bool(BooleanArray),
    /// Microseconds in UTC; `None` where there are none.
    Micros(Vec<Option<i64>>),
    /// A dictionary: for each row the place of its cell among the distinct ones.
    Coded(Vec<Option<usize>>, Box<Cells>),
    /// The entry `completedCount` of maps: for each row its place among the values.
    Entry(Vec<Option<usize>>, Box<Cells>),
    /// The field `completedCount` of structs, and which structs are there.
    Field(Option<NullBuffer>, Box<Cells>),
}

impl Cells {
    /// Takes a column for a kind. `utc`: a timestamp without zone is in UTC, not local.
    pub(in crate::sources) fn new(array: &ArrayRef, kind: Kind, utc: bool, tz: Tz) -> Result<Self, ArrowError> {
        use DataType as T;
        let counted = matches!(kind, Kind::CompletedCount | Kind::LastUpdated);
        Ok(match array.data_type() {
            T::Null => Self::Nothing,
            T::Utf8 => Self::Text(array.as_string::<i32>().clone()),
            T::LargeUtf8 => Self::Text(array.as_string::<i64>().iter().collect()),
            T::Utf8View => Self::Text(array.as_string_view().iter().collect()),
            T::Binary => Self::Bytes(array.as_binary::<i32>().clone()),
            T::LargeBinary => Self::Bytes(array.as_binary::<i64>().iter().collect()),
            T::BinaryView => Self::Bytes(array.as_binary_view().iter().collect()),
            T::FixedSizeBinary(UUID) => Self::Text(uuids(array)),
            T::Dictionary(..) => coded(array.as_any_dictionary(), kind, utc, tz)?,
            T::Boolean => Self::Bool(array.as_boolean().clone()),
            T::Int64 => Self::Int(array.as_primitive::<Int64Type>().clone()),
            T::Int8 => Self::Int(widened::<Int8Type>(array)),
            T::Int16 => Self::Int(widened::<Int16Type>(array)),
            T::Int32 => Self::Int(widened::<Int32Type>(array)),
            T::UInt8 => Self::Int(widened::<UInt8Type>(array)),
            T::UInt16 => Self::Int(widened::<UInt16Type>(array)),
            T::UInt32 => Self::Int(widened::<UInt32Type>(array)),
            T::Timestamp(_, zone) => Self::Micros(local(micros(array), zone.is_some() || utc, tz)),
            T::Date32 | T::Date64 => Self::Micros(local(micros(array), false, tz)),
            T::Map(..) if counted => entry(array.as_map(), kind, utc, tz)?,
            T::Struct(_) if counted => field(array.as_struct(), kind, utc, tz)?,
            T::Map(..) | T::List(_) | T::LargeList(_) | T::FixedSizeList(..) | T::Struct(_)
                if kind == Kind::Entries =>
            {
                Self::Int((0..array.len()).map(|row| length(array, row)).collect())
            }
            _ => Self::Json(spelled(array, kind)?),
        })
    }

    /// The cell of a row.
    pub(in crate::sources) fn at(&self, row: usize) -> Cell<'_> {
        match self {
            Self::Text(array) if array.is_valid(row) => Cell::Text(array.value(row).as_bytes()),
            Self::Bytes(array) if array.is_valid(row) => Cell::Text(array.value(row)),
            Self::Json(array) if array.is_valid(row) => Cell::Json(array.value(row)),
            Self::Int(array) if array.is_valid(row) => Cell::Int(array.value(row)),
            Self::Bool(array) if array.is_valid(row) => Cell::Bool(array.value(row)),
            Self::Micros(values) => values[row].map_or(Cell::Null, Cell::Micros),
            Self::Coded(places, values) | Self::Entry(places, values) => {
                places[row].map_or(Cell::Null, |place| values.at(place))
            }
            Self::Field(there, values) if there.as_ref().is_none_or(|there| there.is_valid(row)) => values.at(row),
            _ => Cell::Null,
        }
    }

    /// Whether the cells are entries `completedCount`, taken out of maps or structs.
    pub(in crate::sources) fn is_entry(&self) -> bool {
        matches!(self, Self::Entry(..) | Self::Field(..))
    }
}

/// The distinct cells of a dictionary, and which of them each row has.
fn coded(array: &dyn AnyDictionaryArray, kind: Kind, utc: bool, tz: Tz) -> Result<Cells, ArrowError> {
    let distinct = array.values();
    if distinct.is_empty() {
        return Ok(Cells::Nothing);
    }
    let places = array.normalized_keys().into_iter().enumerate();
    let places = places.map(|(row, place)| array.keys().is_valid(row).then_some(place)).collect();
    Ok(Cells::Coded(places, Box::new(Cells::new(distinct, kind, utc, tz)?)))
}

/// UUIDs as text: lower case, with hyphens, as every other program writes them.
pub(in crate::sources) fn uuids(array: &ArrayRef) -> StringArray {
    let mut buffer = uuid::Uuid::encode_buffer();
    let mut text = StringBuilder::with_capacity(array.len(), array.len() * buffer.len());
    for bytes in array.as_fixed_size_binary() {
        let uuid = bytes.and_then(|bytes| uuid::Uuid::from_slice(bytes).ok());
        text.append_option(uuid.map(|uuid| &*uuid.hyphenated().encode_lower(&mut buffer)));
    }
    text.finish()
}

fn widened<T: ArrowPrimitiveType>(array: &ArrayRef) -> Int64Array
where
    i64: From<T::Native>,
{
    array.as_primitive::<T>().unary(i64::from)
}

/// Dates and timestamps as they stand, in microseconds; what does not fit is nothing.
fn micros(array: &ArrayRef) -> Vec<Option<i64>> {
    fn each<T: ArrowPrimitiveType>(array: &ArrayRef, micros: impl Fn(T::Native) -> Option<i64>) -> Vec<Option<i64>> {
        array.as_primitive::<T>().iter().map(|value| value.and_then(&micros)).collect()
    }
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => each::<TimestampSecondType>(array, |s| s.checked_mul(1_000_000)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            each::<TimestampMillisecondType>(array, |ms| ms.checked_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => each::<TimestampMicrosecondType>(array, Some),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            each::<TimestampNanosecondType>(array, |ns| Some(ns.div_euclid(1_000)))
        }
        DataType::Date32 => each::<Date32Type>(array, |days| i64::from(days).checked_mul(86_400_000_000)),
        DataType::Date64 => each::<Date64Type>(array, |ms| ms.checked_mul(1_000)),
        _ => vec![None; array.len()],
    }
}

/// Instants in UTC of what is in UTC already (a zone is only how a writer saw it), or local.
fn local(micros: Vec<Option<i64>>, utc: bool, tz: Tz) -> Vec<Option<i64>> {
    if utc {
        return micros;
    }
    micros.into_iter().map(|value| value.and_then(|value| local_instant(value, tz))).collect()
}

fn entry(map: &MapArray, kind: Kind, utc: bool, tz: Tz) -> Result<Cells, ArrowError> {
    let keys = Cells::new(map.keys(), Kind::Text, utc, tz)?;
    let offsets = map.value_offsets();
    #[allow(clippy::cast_sign_loss, reason = "arrow's offsets are never negative")]
    let places = (0..map.len()).map(|row| {
        let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
        entries.rfind(|entry| {
            map.is_valid(row) && matches!(keys.at(*entry), Cell::Text(key) if key == COMPLETED_COUNT.as_bytes())
        })
    });
    Ok(Cells::Entry(places.collect(), Box::new(Cells::new(map.values(), plain(kind), utc, tz)?)))
}

fn field(fields: &StructArray, kind: Kind, utc: bool, tz: Tz) -> Result<Cells, ArrowError> {
    let Some(values) = fields.column_by_name(COMPLETED_COUNT) else { return Ok(Cells::Nothing) };
    Ok(Cells::Field(fields.nulls().cloned(), Box::new(Cells::new(values, plain(kind), utc, tz)?)))
}

/// What an entry is by itself.
pub(in crate::sources) fn plain(kind: Kind) -> Kind {
    if kind == Kind::CompletedCount { Kind::Count } else { Kind::Instant }
}

/// The number of entries; of a struct, that of the fields that are there.
pub(in crate::sources) fn length(array: &ArrayRef, row: usize) -> Option<i64> {
    if array.is_null(row) {
        return None;
    }
    let length = match array.data_type() {
        DataType::Map(..) => usize::try_from(array.as_map().value_length(row)).ok()?,
        DataType::List(_) => usize::try_from(array.as_list::<i32>().value_length(row)).ok()?,
        DataType::LargeList(_) => usize::try_from(array.as_list::<i64>().value_length(row)).ok()?,
        DataType::FixedSizeList(_, length) => usize::try_from(*length).ok()?,
        DataType::Struct(_) => array.as_struct().columns().iter().filter(|field| field.is_valid(row)).count(),
        _ => return None,
    };
    i64::try_from(length).ok()
}

/// Every other type: one JSON value a row. A float that is not a number is nothing where a value is read from it.
fn spelled(array: &ArrayRef, kind: Kind) -> Result<StringArray, ArrowError> {
    let is_typed_float = array.data_type().is_floating() && !matches!(kind, Kind::Text | Kind::Json);
    let is_nothing = |value: &Value| value.is_null() || (is_typed_float && value == "NaN");
    (0..array.len())
        .map(|row| Ok(Some(json(array, row)?).filter(|value| !is_nothing(value)).map(|value| value.to_string())))
        .collect()
}

/// One value as JSON. Floats come in the shortest spelling that reads as the same number, without an idle `.0`.
fn json(array: &ArrayRef, row: usize) -> Result<Value, ArrowError> {
    use DataType as T;
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        T::Float16 => number(&array.as_primitive::<Float16Type>().value(row).to_f32().to_string()),
        T::Float32 => number(&array.as_primitive::<Float32Type>().value(row).to_string()),
        T::Float64 => number(&array.as_primitive::<Float64Type>().value(row).to_string()),
        T::UInt64 => Value::from(array.as_primitive::<UInt64Type>().value(row)),
        T::Decimal32(..) => number(&array.as_primitive::<Decimal32Type>().value_as_string(row)),
        T::Decimal64(..) => number(&array.as_primitive::<Decimal64Type>().value_as_string(row)),
        T::Decimal128(..) => number(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        T::Decimal256(..) => number(&array.as_primitive::<Decimal256Type>().value_as_string(row)),
        T::Time32(TimeUnit::Second) => clock(array.as_primitive::<Time32SecondType>(), row),
        T::Time32(_) => clock(array.as_primitive::<Time32MillisecondType>(), row),
        T::Time64(TimeUnit::Microsecond) => clock(array.as_primitive::<Time64MicrosecondType>(), row),
        T::Time64(_) => clock(array.as_primitive::<Time64NanosecondType>(), row),
        T::List(_) => list(&array.as_list::<i32>().value(row))?,
        T::LargeList(_) => list(&array.as_list::<i64>().value(row))?,
        T::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row))?,
        T::Struct(_) => {
            let fields = array.as_struct();
            let names = fields.column_names().into_iter().zip(fields.columns());
            names.map(|(name, values)| Ok((name.to_owned(), json(values, row)?))).collect::<Result<_, ArrowError>>()?
        }
        T::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let name = |key: Value| if let Value::String(text) = key { text } else { key.to_string() };
            (0..entries.len())
                .map(|entry| Ok((name(json(keys, entry)?), json(values, entry)?)))
                .collect::<Result<_, ArrowError>>()?
        }
        T::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            json(dictionary.values(), dictionary.normalized_keys()[row])?
        }
        T::Utf8
        | T::LargeUtf8
        | T::Utf8View
        | T::Binary
        | T::LargeBinary
        | T::BinaryView
        | T::FixedSizeBinary(UUID)
        | T::Boolean
        | T::Int8
        | T::Int16
        | T::Int32
        | T::Int64
        | T::UInt8
        | T::UInt16
        | T::UInt32
        | T::Timestamp(..)
        | T::Date32
        | T::Date64 => simple(&Cells::new(&array.slice(row, 1), Kind::Text, true, Tz::UTC)?),
        other => return Err(ArrowError::NotYetImplemented(format!("values of type {other}"))),
    })
}

/// The only cell of a column whose type is no nested one.
fn simple(cells: &Cells) -> Value {
    match cells.at(0) {
        Cell::Text(bytes) => Value::from(String::from_utf8_lossy(bytes)),
        Cell::Int(number) => Value::from(number),
        Cell::Bool(truth) => Value::from(truth),
        Cell::Micros(micros) => chrono::DateTime::from_timestamp_micros(micros)
            .map_or(Value::Null, |instant| Value::from(instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))),
        Cell::Null | Cell::Json(_) => Value::Null,
    }
}

fn clock<T: ArrowTemporalType>(array: &PrimitiveArray<T>, row: usize) -> Value
where
    i64: From<T::Native>,
{
    array.value_as_time(row).map_or(Value::Null, |time| Value::from(time.to_string()))
}

fn list(values: &ArrayRef) -> Result<Value, ArrowError> {
    (0..values.len()).map(|element| json(values, element)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// A JSON number; what is none (NaN) is text, which does not read as a number later.
fn number(text: &str) -> Value {
    serde_json::from_str(text).map_or_else(|_| Value::from(text), Value::Number)
}
