//! One column of a chunk, of whatever arrow type, giving a cell for each row.
//!
//! The type is looked at once a chunk; what is rare is made plain text or JSON for the whole chunk beforehand.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float32Array, Float64Array, Int64Array, MapArray, StringArray,
    StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use chrono::SecondsFormat;
use chrono_tz::Tz;
use serde_json::Value;

use crate::reports::schema::Kind;
use crate::sources::rows::{Cell, FLAT};
use crate::sources::values::local_instant;

/// The cells of one column.
pub(super) enum Cells {
    Nothing,
    Text(StringArray),
    Bytes(BinaryArray),
    Json(StringArray),
    Int(Int64Array),
    Bool(BooleanArray),
    /// Microseconds in UTC; `None` where there are none.
    Micros(Vec<Option<i64>>),
    /// The entry `completedCount` of maps: for each row its place among the values.
    Entry(Vec<Option<usize>>, Box<Cells>),
    /// The field `completedCount` of structs, and which structs are there.
    Field(Option<NullBuffer>, Box<Cells>),
}

impl Cells {
    /// Takes a column for a kind. `utc`: a timestamp without zone is in UTC, not local.
    pub(super) fn new(array: &ArrayRef, kind: Kind, utc: bool, tz: Tz) -> Result<Self, ArrowError> {
        use DataType as T;
        let counted = matches!(kind, Kind::CompletedCount | Kind::LastUpdated);
        Ok(match array.data_type() {
            T::Null => Self::Nothing,
            T::Utf8 => Self::Text(array.as_string::<i32>().clone()),
            T::Binary => Self::Bytes(array.as_binary::<i32>().clone()),
            T::LargeUtf8 | T::Utf8View => Self::Text(cast(array, &T::Utf8)?.as_string::<i32>().clone()),
            T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
                Self::Bytes(cast(array, &T::Binary)?.as_binary::<i32>().clone())
            }
            T::Dictionary(_, values) => Self::new(&cast(array, values)?, kind, utc, tz)?,
            T::Boolean => Self::Bool(array.as_boolean().clone()),
            T::Int64 => Self::Int(array.as_primitive::<Int64Type>().clone()),
            T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32 => {
                Self::Int(cast(array, &T::Int64)?.as_primitive::<Int64Type>().clone())
            }
            T::Timestamp(_, zone) => Self::Micros(micros(array, zone.is_some() || utc, tz)?),
            T::Date32 | T::Date64 => Self::Micros(micros(array, false, tz)?),
            T::Map(..) if counted => entry(array.as_map(), kind, utc, tz)?,
            T::Struct(_) if counted => field(array.as_struct(), kind, utc, tz)?,
            T::Map(..) | T::List(_) | T::LargeList(_) | T::FixedSizeList(..) | T::Struct(_)
                if kind == Kind::Entries =>
            {
                Self::Int((0..array.len()).map(|row| length(array, row)).collect())
            }
            _ => Self::Json(spelled(array)?),
        })
    }

    /// The cell of a row.
    pub(super) fn at(&self, row: usize) -> Cell<'_> {
        match self {
            Self::Text(array) if array.is_valid(row) => Cell::Text(array.value(row).as_bytes()),
            Self::Bytes(array) if array.is_valid(row) => Cell::Text(array.value(row)),
            Self::Json(array) if array.is_valid(row) => Cell::Json(array.value(row)),
            Self::Int(array) if array.is_valid(row) => Cell::Int(array.value(row)),
            Self::Bool(array) if array.is_valid(row) => Cell::Bool(array.value(row)),
            Self::Micros(values) => values[row].map_or(Cell::Null, Cell::Micros),
            Self::Entry(places, values) => places[row].map_or(Cell::Null, |place| values.at(place)),
            Self::Field(there, values) if there.as_ref().is_none_or(|there| there.is_valid(row)) => values.at(row),
            _ => Cell::Null,
        }
    }

    /// Whether the cells are entries `completedCount`, taken out of maps or structs.
    pub(super) fn is_entry(&self) -> bool {
        matches!(self, Self::Entry(..) | Self::Field(..))
    }
}

/// Instants of dates and timestamps.
fn micros(array: &ArrayRef, utc: bool, tz: Tz) -> Result<Vec<Option<i64>>, ArrowError> {
    // The zone is only how a writer saw it: the numbers are in UTC, and a cast to no zone would move them.
    let array = match array.data_type() {
        DataType::Timestamp(unit, Some(_)) => cast(array, &DataType::Timestamp(*unit, Some("+00:00".into())))?,
        _ => array.clone(),
    };
    let micros = cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let micros = micros.as_primitive::<TimestampMicrosecondType>();
    Ok(micros
        .iter()
        .map(|value| value.and_then(|value| if utc { Some(value) } else { local_instant(value, tz) }))
        .collect())
}

fn entry(map: &MapArray, kind: Kind, utc: bool, tz: Tz) -> Result<Cells, ArrowError> {
    let keys = cast(map.keys(), &DataType::Utf8)?;
    let keys = keys.as_string::<i32>();
    let offsets = map.value_offsets();
    #[allow(clippy::cast_sign_loss, reason = "arrow's offsets are never negative")]
    let places = (0..map.len()).map(|row| {
        let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
        entries.rfind(|entry| map.is_valid(row) && keys.is_valid(*entry) && keys.value(*entry) == FLAT)
    });
    Ok(Cells::Entry(places.collect(), Box::new(Cells::new(map.values(), plain(kind), utc, tz)?)))
}

fn field(fields: &StructArray, kind: Kind, utc: bool, tz: Tz) -> Result<Cells, ArrowError> {
    let Some(values) = fields.column_by_name(FLAT) else { return Ok(Cells::Nothing) };
    Ok(Cells::Field(fields.nulls().cloned(), Box::new(Cells::new(values, plain(kind), utc, tz)?)))
}

/// What an entry is by itself.
fn plain(kind: Kind) -> Kind {
    if kind == Kind::CompletedCount { Kind::Count } else { Kind::Instant }
}

/// The number of entries; of a struct, that of the fields that are there.
fn length(array: &ArrayRef, row: usize) -> Option<i64> {
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

/// Every other type: one JSON value a row.
fn spelled(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    (0..array.len())
        .map(|row| Ok(Some(json(array, row)?).filter(|value| !value.is_null()).map(|value| value.to_string())))
        .collect()
}

/// One value as JSON. Floats come in the shortest spelling that reads as the same number, without an idle `.0`.
fn json(array: &ArrayRef, row: usize) -> Result<Value, ArrowError> {
    use DataType as T;
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        T::Boolean => Value::Bool(array.as_boolean().value(row)),
        T::Float16 => json(&cast(array, &T::Float32)?, row)?,
        T::Float32 => number(&f32_text(array.as_primitive::<Float32Type>(), row)),
        T::Float64 => number(&f64_text(array.as_primitive::<Float64Type>(), row)),
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
            let keys = cast(entries.column(0), &T::Utf8)?;
            let keys = keys.as_string::<i32>();
            let values = entries.column(1);
            (0..entries.len())
                .map(|entry| Ok((keys.value(entry).to_owned(), json(values, entry)?)))
                .collect::<Result<_, ArrowError>>()?
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Binary | T::LargeBinary | T::BinaryView | T::Dictionary(..) => {
            Value::from(plain_text(array, row)?)
        }
        T::Timestamp(..) | T::Date32 | T::Date64 => {
            let instant = micros(array, true, Tz::UTC)?[row].and_then(chrono::DateTime::from_timestamp_micros);
            instant.map_or(Value::Null, |instant| Value::from(instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
        }
        data_type if data_type.is_numeric() => number(&plain_text(array, row)?),
        _ => Value::from(plain_text(array, row)?),
    })
}

fn list(values: &ArrayRef) -> Result<Value, ArrowError> {
    (0..values.len()).map(|element| json(values, element)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn plain_text(array: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    let text = cast(&array.slice(row, 1), &DataType::Utf8)?;
    Ok(text.as_string::<i32>().value(0).to_owned())
}

fn f32_text(array: &Float32Array, row: usize) -> String {
    array.value(row).to_string()
}

fn f64_text(array: &Float64Array, row: usize) -> String {
    array.value(row).to_string()
}

/// A JSON number; what is none (NaN) is text, which does not read as a number later.
fn number(text: &str) -> Value {
    serde_json::from_str(text).map_or_else(|_| Value::from(text), Value::Number)
}
