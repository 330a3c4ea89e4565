//! Arrow's arrays as cells: every type that a Parquet file may hold a column in.
//!
//! Not here: what a value means (`values`).

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Number, Value};

use crate::reports::schema::Kind;
use crate::sources::rows::Cell;

const COMPLETED_COUNT: &str = "completedCount";

/// One column of a chunk, ready to give cells.
pub(super) enum Column {
    Nothing,
    Text(StringArray),
    Bytes(BinaryArray),
    Bool(BooleanArray),
    Int(Int64Array),
    Micros(Int64Array),
    /// JSON made cell by cell, for nested metadata.
    Json(Vec<Option<String>>),
    /// Maps from which the entry `completedCount` is taken, as cells of its own column.
    Entry(Vec<Option<usize>>, Box<Self>),
    /// The map in text (JSON or Python's spelling), where the column is no map.
    Map(StringArray),
}

impl Column {
    /// Takes an array apart by its type. `flat`: the column of kind [`Kind::CompletedCount`] is the flat one.
    /// `int96`: times without a zone are UTC.
    pub(super) fn new(array: &ArrayRef, kind: Kind, flat: bool, int96: bool) -> Result<Self, ArrowError> {
        let nested = matches!(
            array.data_type(),
            DataType::List(_) | DataType::LargeList(_) | DataType::Map(..) | DataType::Struct(_)
        );
        match kind {
            Kind::CompletedCount | Kind::LastUpdated if nested => Self::entry(array, int96),
            Kind::CompletedCount if !flat => Ok(Self::Map(cast(array, &DataType::Utf8)?.as_string().clone())),
            Kind::Entries if nested => Ok(lengths(array)),
            Kind::Json | Kind::Text if nested => Ok(Self::Json(json_texts(array)?)),
            _ => Self::plain(array, int96),
        }
    }

    fn plain(array: &ArrayRef, int96: bool) -> Result<Self, ArrowError> {
        let to = |data_type: &DataType| cast(array, data_type);
        Ok(match array.data_type() {
            DataType::Null => Self::Nothing,
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Bytes(to(&DataType::Binary)?.as_binary().clone())
            }
            DataType::Dictionary(_, values) => return Self::plain(&to(values)?, int96),
            data_type if data_type.is_integer() && *data_type != DataType::UInt64 => {
                Self::Int(to(&DataType::Int64)?.as_primitive().clone())
            }
            DataType::Timestamp(_, zone) if zone.is_some() || int96 => {
                let micros = to(&DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                Self::Micros(micros.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>())
            }
            // Floats come as their shortest text, times without zone and days as ISO: the rules for text hold.
            _ => Self::Text(to(&DataType::Utf8)?.as_string().clone()),
        })
    }

    /// The entry `completedCount` of maps or structs.
    fn entry(array: &ArrayRef, int96: bool) -> Result<Self, ArrowError> {
        if let Some(fields) = array.as_struct_opt() {
            let Some(values) = fields.column_by_name(COMPLETED_COUNT) else { return Ok(Self::Nothing) };
            let rows = (0..array.len()).map(|row| fields.is_valid(row).then_some(row)).collect();
            return Ok(Self::Entry(rows, Box::new(Self::plain(values, int96)?)));
        }
        let Some(maps) = array.as_map_opt() else { return Ok(Self::Json(json_texts(array)?)) };
        let keys = cast(maps.keys(), &DataType::Utf8)?;
        let keys = keys.as_string::<i32>();
        let offsets = maps.value_offsets();
        let find = |row: usize| {
            #[allow(clippy::cast_sign_loss, reason = "offsets count up from 0")]
            let mut entries = offsets[row] as usize..offsets[row + 1] as usize;
            entries.rfind(|&entry| keys.value(entry) == COMPLETED_COUNT).filter(|_| maps.is_valid(row))
        };
        Ok(Self::Entry((0..maps.len()).map(find).collect(), Box::new(Self::plain(maps.values(), int96)?)))
    }

    /// The cell of a row.
    pub(super) fn cell(&self, row: usize) -> Cell<'_> {
        match self {
            Self::Nothing => Cell::Null,
            Self::Text(values) if values.is_valid(row) => Cell::Text(values.value(row).as_bytes()),
            Self::Bytes(values) if values.is_valid(row) => Cell::Text(values.value(row)),
            Self::Bool(values) if values.is_valid(row) => Cell::Bool(values.value(row)),
            Self::Int(values) if values.is_valid(row) => Cell::Int(values.value(row)),
            Self::Micros(values) if values.is_valid(row) => Cell::Micros(values.value(row)),
            Self::Map(values) if values.is_valid(row) => Cell::Map(values.value(row)),
            Self::Json(values) => values[row].as_deref().map_or(Cell::Null, Cell::Json),
            Self::Entry(rows, values) => rows[row].map_or(Cell::Null, |entry| values.cell(entry)),
            _ => Cell::Null,
        }
    }
}

/// How many entries each list or map has.
fn lengths(array: &ArrayRef) -> Column {
    let length = |row: usize| -> Option<i64> {
        if array.is_null(row) {
            None
        } else if let Some(list) = array.as_list_opt::<i32>() {
            Some(i64::from(list.value_length(row)))
        } else if let Some(list) = array.as_list_opt::<i64>() {
            Some(list.value_length(row))
        } else if let Some(map) = array.as_map_opt() {
            Some(i64::from(map.value_length(row)))
        } else {
            array.as_struct_opt().and_then(|fields| i64::try_from(fields.num_columns()).ok())
        }
    };
    Column::Int((0..array.len()).map(length).collect())
}

fn json_texts(array: &ArrayRef) -> Result<Vec<Option<String>>, ArrowError> {
    (0..array.len())
        .map(|row| Ok(array.is_valid(row).then(|| json(array, row)).transpose()?.map(|value| value.to_string())))
        .collect()
}

/// A nested value as JSON.
fn json(array: &dyn Array, row: usize) -> Result<Value, ArrowError> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let items = |list: ArrayRef| (0..list.len()).map(|item| json(&list, item)).collect::<Result<Vec<_>, _>>();
    Ok(match array.data_type() {
        DataType::List(_) => Value::Array(items(array.as_list::<i32>().value(row))?),
        DataType::LargeList(_) => Value::Array(items(array.as_list::<i64>().value(row))?),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let member = |(field, column): (&arrow::datatypes::FieldRef, &ArrayRef)| {
                Ok::<_, ArrowError>((field.name().clone(), json(column, row)?))
            };
            Value::Object(fields.iter().zip(columns).map(member).collect::<Result<Map<_, _>, _>>()?)
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let member = |entry| {
                Ok::<_, ArrowError>((display(entries.column(0), entry)?.into_owned(), json(entries.column(1), entry)?))
            };
            Value::Object((0..entries.len()).map(member).collect::<Result<Map<_, _>, _>>()?)
        }
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        data_type if data_type.is_numeric() => {
            let text = display(array, row)?;
            text.parse::<Number>().map_or_else(|_| Value::String(text.into_owned()), Value::Number)
        }
        _ => Value::String(display(array, row)?.into_owned()),
    })
}

fn display(array: &dyn Array, row: usize) -> Result<Cow<'static, str>, ArrowError> {
    Ok(Cow::Owned(ArrayFormatter::try_new(array, &FormatOptions::default())?.value(row).try_to_string()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Decimal128Array, DictionaryArray, Float64Array, ListArray, MapBuilder, StringBuilder, TimestampMillisecondArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "callers make the array on the spot")]
    fn shown(array: ArrayRef, kind: Kind) -> Vec<String> {
        let column = Column::new(&array, kind, false, false).unwrap();
        (0..array.len())
            .map(|row| match column.cell(row) {
                Cell::Text(bytes) => format!("text {}", String::from_utf8_lossy(bytes)),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn scalars_keep_their_exact_text() {
        let decimals = Decimal128Array::from(vec![Some(1050), None]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(shown(Arc::new(decimals), Kind::Decimal), ["text 10.50", "Null"]);
        assert_eq!(shown(Arc::new(Float64Array::from(vec![0.1, 4.0])), Kind::Decimal), ["text 0.1", "text 4.0"]);
        let words: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("a")].into_iter().collect();
        assert_eq!(shown(Arc::new(words), Kind::Text), ["text a", "Null", "text a"]);
    }

    #[test]
    fn times_with_a_zone_are_instants_and_others_local() {
        let millis = TimestampMillisecondArray::from(vec![1_500]);
        assert_eq!(shown(Arc::new(millis.clone().with_timezone("+05:30")), Kind::Instant), ["Micros(1500000)"]);
        assert_eq!(shown(Arc::new(millis), Kind::Instant), ["text 1970-01-01T00:00:01.500"]);
    }

    #[test]
    fn maps_and_lists_give_their_entry_their_length_or_json() {
        let mut maps = MapBuilder::new(None, StringBuilder::new(), arrow::array::Int32Builder::new());
        for entries in [Some(vec![("x", 1), ("completedCount", 7)]), Some(vec![("x", 1)]), None] {
            for (key, value) in entries.clone().unwrap_or_default() {
                maps.keys().append_value(key);
                maps.values().append_value(value);
            }
            maps.append(entries.is_some()).unwrap();
        }
        let maps: ArrayRef = Arc::new(maps.finish());
        assert_eq!(shown(Arc::clone(&maps), Kind::CompletedCount), ["Int(7)", "Null", "Null"]);
        assert_eq!(shown(maps, Kind::Entries), ["Int(2)", "Int(1)", "Null"]);
        let lists =
            ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None]), Some(vec![]), None]);
        assert_eq!(shown(Arc::new(lists.clone()), Kind::Json), [r#"Json("[1,null]")"#, r#"Json("[]")"#, "Null"]);
        assert_eq!(shown(Arc::new(lists), Kind::Entries), ["Int(2)", "Int(0)", "Null"]);
    }
}
