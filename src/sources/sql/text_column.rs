//! A column of a query's result as text, whatever Arrow type it has: in the spelling that every engine's values get.

use std::fmt::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTemporalType, Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray};
use arrow_schema::{DataType, TimeUnit};
use chrono::Timelike as _;

use crate::sources::query_engine::spelling::{decimal, float};
use crate::tables::queried::ValueKind;

/// What the values of an Arrow type are; `None`: a type without one spelling, such as a list.
pub(super) fn kind_of(of: &DataType) -> Option<ValueKind> {
    use DataType as T;
    Some(match of {
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => ValueKind::Int,
        T::Float16 | T::Float32 | T::Float64 => ValueKind::Number,
        T::Decimal32(..) | T::Decimal64(..) | T::Decimal128(..) | T::Decimal256(..) => ValueKind::Number,
        T::Date32 | T::Date64 => ValueKind::Date,
        T::Timestamp(..) => ValueKind::Time,
        T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Boolean | T::Null => ValueKind::Text,
        T::Binary | T::LargeBinary | T::BinaryView => ValueKind::Text,
        T::Dictionary(_, values) => return kind_of(values),
        _ => return None,
    })
}

/// A column whose type [`kind_of`] knows.
pub(super) struct TextColumn {
    values: ArrayRef,
    /// Of a dictionary: for each row the place of its value.
    places: Option<Vec<Option<usize>>>,
}

impl TextColumn {
    pub(super) fn new(array: &ArrayRef) -> Self {
        let Some(dictionary) = array.as_any_dictionary_opt().filter(|dictionary| !dictionary.values().is_empty())
        else {
            return Self { values: ArrayRef::clone(array), places: None };
        };
        let places = dictionary.normalized_keys().into_iter().enumerate();
        let places = places.map(|(row, place)| dictionary.keys().is_valid(row).then_some(place)).collect();
        Self { values: ArrayRef::clone(dictionary.values()), places: Some(places) }
    }

    /// Appends the cell of a row. `false`: it is null.
    pub(super) fn push(&self, row: usize, text: &mut String) -> bool {
        let place = self.places.as_ref().map_or(Some(row), |places| places[row]);
        let Some(place) = place.filter(|place| self.values.is_valid(*place)) else { return false };
        push(&self.values, place, text)
    }
}

fn push(array: &ArrayRef, row: usize, text: &mut String) -> bool {
    use DataType as T;
    match array.data_type() {
        T::Utf8 => text.push_str(array.as_string::<i32>().value(row)),
        T::LargeUtf8 => text.push_str(array.as_string::<i64>().value(row)),
        T::Utf8View => text.push_str(array.as_string_view().value(row)),
        T::Boolean => text.push_str(if array.as_boolean().value(row) { "true" } else { "false" }),
        T::Binary => bytes(array.as_binary::<i32>().value(row), text),
        T::LargeBinary => bytes(array.as_binary::<i64>().value(row), text),
        T::BinaryView => bytes(array.as_binary_view().value(row), text),
        T::Int8 => int::<Int8Type>(array, row, text),
        T::Int16 => int::<Int16Type>(array, row, text),
        T::Int32 => int::<Int32Type>(array, row, text),
        T::Int64 => int::<Int64Type>(array, row, text),
        T::UInt8 => int::<UInt8Type>(array, row, text),
        T::UInt16 => int::<UInt16Type>(array, row, text),
        T::UInt32 => int::<UInt32Type>(array, row, text),
        T::UInt64 => int::<UInt64Type>(array, row, text),
        T::Float16 => text.push_str(&float(array.as_primitive::<Float16Type>().value(row).to_f32())),
        T::Float32 => text.push_str(&float(array.as_primitive::<Float32Type>().value(row))),
        T::Float64 => text.push_str(&float(array.as_primitive::<Float64Type>().value(row))),
        T::Decimal32(..) => plain::<Decimal32Type>(array, row, text),
        T::Decimal64(..) => plain::<Decimal64Type>(array, row, text),
        T::Decimal128(..) => plain::<Decimal128Type>(array, row, text),
        T::Decimal256(..) => plain::<Decimal256Type>(array, row, text),
        T::Date32 => date(array.as_primitive::<Date32Type>(), row, text),
        T::Date64 => date(array.as_primitive::<Date64Type>(), row, text),
        T::Timestamp(TimeUnit::Second, _) => time(array.as_primitive::<TimestampSecondType>(), row, text),
        T::Timestamp(TimeUnit::Millisecond, _) => time(array.as_primitive::<TimestampMillisecondType>(), row, text),
        T::Timestamp(TimeUnit::Microsecond, _) => time(array.as_primitive::<TimestampMicrosecondType>(), row, text),
        T::Timestamp(TimeUnit::Nanosecond, _) => time(array.as_primitive::<TimestampNanosecondType>(), row, text),
        // Null, and what `kind_of` refuses.
        _ => return false,
    }
    true
}

/// As PostgreSQL writes them.
fn bytes(bytes: &[u8], text: &mut String) {
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
}

fn int<T: ArrowPrimitiveType<Native: std::fmt::Display>>(array: &ArrayRef, row: usize, text: &mut String) {
    let _ = write!(text, "{}", array.as_primitive::<T>().value(row));
}

fn plain<T: DecimalType>(array: &ArrayRef, row: usize, text: &mut String) {
    text.push_str(decimal(&array.as_primitive::<T>().value_as_string(row)));
}

/// What the calendar here does not have. It reads as no date and no time, so that its file fails.
const BEYOND: &str = "beyond the calendar";

fn date<T: ArrowTemporalType>(array: &PrimitiveArray<T>, row: usize, text: &mut String)
where
    i64: From<T::Native>,
{
    match array.value_as_date(row) {
        Some(date) => _ = write!(text, "{date}"),
        None => text.push_str(BEYOND),
    }
}

/// Without an offset: an engine's instants come in UTC, and times without zone are as they stand.
fn time<T: ArrowTemporalType>(array: &PrimitiveArray<T>, row: usize, text: &mut String)
where
    i64: From<T::Native>,
{
    let Some(time) = array.value_as_datetime(row) else { return text.push_str(BEYOND) };
    let _ = write!(text, "{}", time.format("%Y-%m-%d %H:%M:%S"));
    if time.nanosecond() > 0 {
        let fraction = format!(".{:09}", time.nanosecond());
        text.push_str(fraction.trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
        Int64Array, ListArray, NullArray, StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray,
        UInt64Array,
    };

    use super::*;

    fn texts(array: impl Array + 'static) -> (Option<ValueKind>, Vec<Option<String>>) {
        let array: ArrayRef = Arc::new(array);
        let column = TextColumn::new(&array);
        let cell = |row| {
            let mut text = String::new();
            column.push(row, &mut text).then_some(text)
        };
        (kind_of(array.data_type()), (0..array.len()).map(cell).collect())
    }

    #[test]
    fn every_type_has_one_spelling() {
        let all = |kind, texts: &[Option<&str>]| {
            (Some(kind), texts.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>())
        };
        let (int, number, day, time, text) =
            (ValueKind::Int, ValueKind::Number, ValueKind::Date, ValueKind::Time, ValueKind::Text);
        assert_eq!(texts(Int64Array::from(vec![Some(-5), None])), all(int, &[Some("-5"), None]));
        assert_eq!(texts(UInt64Array::from(vec![u64::MAX])), all(int, &[Some("18446744073709551615")]));
        assert_eq!(
            texts(Float64Array::from(vec![0.1, 1e21])),
            all(number, &[Some("0.1"), Some("1000000000000000000000")])
        );
        assert_eq!(texts(Float32Array::from(vec![0.1])), all(number, &[Some("0.1")]));
        let decimals = Decimal128Array::from(vec![150, -5]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(texts(decimals), all(number, &[Some("1.5"), Some("-0.05")]));
        assert_eq!(texts(Date32Array::from(vec![18_297, i32::MAX])), all(day, &[Some("2020-02-05"), Some(BEYOND)]));
        let micros = vec![1_580_896_800_500_000, -62_135_596_800_000_000];
        let times = [Some("2020-02-05 10:00:00.5"), Some("0001-01-01 00:00:00")];
        assert_eq!(texts(TimestampMicrosecondArray::from(micros.clone())), all(time, &times));
        assert_eq!(texts(TimestampMicrosecondArray::from(micros).with_timezone("UTC")), all(time, &times));
        let nanos = TimestampNanosecondArray::from(vec![1_580_896_800_000_000_007]);
        assert_eq!(texts(nanos), all(time, &[Some("2020-02-05 10:00:00.000000007")]));
        assert_eq!(texts(StringViewArray::from(vec![Some(""), None])), all(text, &[Some(""), None]));
        assert_eq!(texts(BooleanArray::from(vec![true, false])), all(text, &[Some("true"), Some("false")]));
        assert_eq!(texts(BinaryArray::from(vec![&[0_u8, 255][..]])), all(text, &[Some("\\x00ff")]));
        assert_eq!(texts(NullArray::new(1)), all(text, &[None]));
        let coded: DictionaryArray<Int64Type> = [Some("a"), None, Some("b"), Some("a")].into_iter().collect();
        assert_eq!(texts(coded), all(text, &[Some("a"), None, Some("b"), Some("a")]));
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)])]);
        assert_eq!(kind_of(list.data_type()), None);
    }
}
