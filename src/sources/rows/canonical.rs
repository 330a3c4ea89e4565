//! Columns of a chunk in their canonical types: taken over as they are, or converted as a whole; cell by cell only where
//! a type is rare or its cells have to be read.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, MapArray, PrimitiveArray, StringArray};
use arrow_buffer::NullBufferBuilder;
use arrow_schema::{ArrowError, DataType, TimeUnit};

use super::cells::{Cells, UUID, length, plain, uuids};
use super::typed::{Taken, Unread};
use super::{Cell, Filling};
use crate::sources::Settings;
use crate::sources::spellings::COMPLETED_COUNT;
use crate::sources::values::{self, Unreadable};
use crate::tables::schema::Kind;

/// How a column is to be taken.
#[derive(Clone, Copy)]
pub(in crate::sources) struct Wish<'a> {
    pub(in crate::sources) kind: Kind,
    /// A timestamp without zone is in UTC, not local.
    pub(in crate::sources) utc: bool,
    /// A number of kind [`Kind::CompletedCount`] is the count itself.
    pub(in crate::sources) flat: bool,
    /// The place of the column's spelling among those of the scan.
    pub(in crate::sources) spelling: usize,
    pub(in crate::sources) settings: &'a Settings,
}

/// A column; only cells of `rows` (ascending) are needed.
pub(in crate::sources) fn taken(array: &ArrayRef, wish: Wish<'_>, rows: &[u32]) -> Result<Taken, ArrowError> {
    if let Some(array) = as_a_whole(array, wish) {
        return Ok(array.into());
    }
    match (wish.kind, array.data_type()) {
        (Kind::Decimal, DataType::Float64) => decimals(array, wish, rows),
        (Kind::Count, DataType::Float64) => Ok(whole_floats(array, wish, rows)),
        (Kind::CompletedCount, DataType::Float64) if wish.flat => Ok(whole_floats(array, wish, rows)),
        (Kind::CompletedCount, DataType::Map(..)) => match whole_entries(array.as_map(), wish, rows) {
            Some(entries) => Ok(entries),
            None => cell_by_cell(array, wish, rows),
        },
        _ => cell_by_cell(array, wish, rows),
    }
}

fn cell_by_cell(array: &ArrayRef, wish: Wish<'_>, rows: &[u32]) -> Result<Taken, ArrowError> {
    let cells = Cells::new(array, wish.kind, wish.utc, wish.settings.timezone)?;
    let is_entry = cells.is_entry();
    let mut taken = filled(array.len(), Wish { flat: wish.flat || is_entry, ..wish }, rows, |row| cells.at(row));
    if is_entry {
        taken.unreadable.iter_mut().for_each(|unread| unread.why = Unreadable::Entry);
    }
    Ok(taken)
}

/// A column that the file does not have: the same cell in every row.
pub(in crate::sources) fn constant(cell: Cell<'_>, length: usize, wish: Wish<'_>, rows: &[u32]) -> Taken {
    match (wish.kind, cell) {
        (Kind::Text, Cell::Text(bytes)) if let Ok(text) = std::str::from_utf8(bytes) => {
            let values = Arc::new(StringArray::from_iter_values([text]));
            let array: ArrayRef =
                Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(vec![0; length]), values));
            array.into()
        }
        _ => filled(length, wish, rows, |_| cell),
    }
}

/// Reads the cells of `rows`, the others stay empty.
fn filled<'c>(length: usize, wish: Wish<'_>, rows: &[u32], cell: impl Fn(usize) -> Cell<'c>) -> Taken {
    let mut filling = Filling::new(wish.kind);
    let (mut unreadable, mut with_odd) = (Vec::new(), Vec::new());
    let mut next = 0;
    for &row in rows {
        (next..row as usize).for_each(|_| filling.skip());
        next = row as usize + 1;
        let mut odd = false;
        match filling.read(cell(row as usize), wish.flat, wish.settings, &mut odd) {
            Ok(_) => drop(filling.keep()),
            Err(why) => {
                filling.skip();
                unreadable.push(Unread { row, spelling: wish.spelling, why });
            }
        }
        if odd {
            with_odd.push(row);
        }
    }
    (next..length).for_each(|_| filling.skip());
    Taken { array: filling.finish(), unreadable, odd: with_odd }
}

/// Types that need no look at the cells. `None`: this is none of them.
fn as_a_whole(array: &ArrayRef, wish: Wish<'_>) -> Option<ArrayRef> {
    use DataType as T;
    match (wish.kind, array.data_type()) {
        (Kind::Text, T::Utf8 | T::Utf8View) | (Kind::Bool, T::Boolean) | (Kind::Count, T::Int64) => {
            Some(Arc::clone(array))
        }
        (Kind::Text, T::FixedSizeBinary(UUID)) => Some(Arc::new(uuids(array))),
        (Kind::Text, T::Dictionary(keys, values)) if (&**keys, &**values) == (&T::Int32, &T::Utf8) => {
            Some(Arc::clone(array))
        }
        (Kind::CompletedCount, T::Int64) if wish.flat => Some(Arc::clone(array)),
        (Kind::Count, T::Int32) => Some(widened(array)),
        (Kind::CompletedCount, T::Int32) if wish.flat => Some(widened(array)),
        (Kind::Instant | Kind::LastUpdated, T::Timestamp(unit, zone)) if zone.is_some() || wish.utc => {
            micros(array, *unit)
        }
        (Kind::Entries, T::Map(..) | T::List(_) | T::LargeList(_)) => {
            Some(Arc::new((0..array.len()).map(|row| length(array, row)).collect::<Int64Array>()))
        }
        (Kind::CompletedCount, T::Map(..)) => entries::<Int64Type>(array.as_map(), wish),
        (Kind::LastUpdated, T::Map(..)) => entries::<TimestampMicrosecondType>(array.as_map(), wish),
        _ => None,
    }
}

fn widened(array: &ArrayRef) -> ArrayRef {
    Arc::new(array.as_primitive::<Int32Type>().unary::<_, Int64Type>(i64::from))
}

/// Instants in UTC; what does not fit is nothing.
fn micros(array: &ArrayRef, unit: TimeUnit) -> Option<ArrayRef> {
    fn times<T: ArrowPrimitiveType<Native = i64>>(array: &ArrayRef, factor: i64) -> ArrayRef {
        let micros = |value: i64| value.checked_mul(factor);
        Arc::new(array.as_primitive::<T>().unary_opt::<_, TimestampMicrosecondType>(micros))
    }
    match unit {
        TimeUnit::Second => Some(times::<TimestampSecondType>(array, 1_000_000)),
        TimeUnit::Millisecond => Some(times::<TimestampMillisecondType>(array, 1_000)),
        TimeUnit::Microsecond => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().clone();
            Some(Arc::new(micros.with_timezone_opt(None::<Arc<str>>)))
        }
        TimeUnit::Nanosecond => None,
    }
}

/// The entry `completedCount` of each map, the last one where there are several.
fn entries<T: ArrowPrimitiveType>(map: &MapArray, wish: Wish<'_>) -> Option<ArrayRef> {
    let keys = map.keys().as_string_opt::<i32>()?;
    let values = as_a_whole(map.values(), Wish { kind: plain(wish.kind), flat: true, ..wish })?;
    let values = values.as_primitive::<T>();
    let (mut entries, mut there) = (Vec::with_capacity(map.len()), NullBufferBuilder::new(map.len()));
    for row in 0..map.len() {
        let found = entry_of(map, keys, row).filter(|at| values.is_valid(*at));
        entries.push(found.map_or_else(T::default_value, |at| values.value(at)));
        there.append(found.is_some());
    }
    Some(Arc::new(PrimitiveArray::<T>::new(entries.into(), there.finish())))
}

/// Where the entry `completedCount` of a map is, the last one if there are several.
fn entry_of(map: &MapArray, keys: &StringArray, row: usize) -> Option<usize> {
    if map.is_null(row) {
        return None;
    }
    #[allow(clippy::cast_sign_loss, reason = "arrow's offsets are never negative")]
    let (start, end) = (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize);
    (start..end).rev().find(|at| keys.is_valid(*at) && keys.value(*at) == COMPLETED_COUNT)
}

/// The entry `completedCount` of each map of floats.
fn whole_entries(map: &MapArray, wish: Wish<'_>, rows: &[u32]) -> Option<Taken> {
    let keys = map.keys().as_string_opt::<i32>()?;
    let floats = map.values().as_primitive_opt::<Float64Type>()?;
    let value =
        |row: u32| entry_of(map, keys, row as usize).filter(|at| floats.is_valid(*at)).map(|at| floats.value(at));
    Some(whole_numbers(map.len(), rows, (wish.spelling, Unreadable::Entry), value))
}

fn whole_floats(array: &ArrayRef, wish: Wish<'_>, rows: &[u32]) -> Taken {
    let floats = array.as_primitive::<Float64Type>();
    let value = |row: u32| floats.is_valid(row as usize).then(|| floats.value(row as usize));
    whole_numbers(array.len(), rows, (wish.spelling, Unreadable::Value), value)
}

/// Floats of `rows` (ascending) as whole numbers; `spelling` and `why` are of those that are none.
pub(in crate::sources) fn whole_numbers(
    length: usize,
    rows: &[u32],
    (spelling, why): (usize, Unreadable),
    value: impl Fn(u32) -> Option<f64>,
) -> Taken {
    let (mut numbers, mut unreadable) = (vec![None; length], Vec::new());
    for &row in rows {
        match value(row).map_or(Ok(None), whole_number) {
            Ok(number) => numbers[row as usize] = number,
            Err(_) => unreadable.push(Unread { row, spelling, why }),
        }
    }
    Taken { array: Arc::new(Int64Array::from(numbers)), unreadable, odd: Vec::new() }
}

/// 26.0 is 26; not a number is nothing there.
fn whole_number(float: f64) -> values::Reading<i64> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return Ok(None);
    }
    #[allow(clippy::cast_possible_truncation, reason = "a whole number within the bounds of an i64")]
    if float.fract() == 0.0 && (-BEYOND..BEYOND).contains(&float) {
        return Ok(Some(float as i64));
    }
    Err(Unreadable::Value)
}

/// Floats as millionths. Most are short decimals, which the nearest millionth gives back exactly; the others go by their
/// shortest spelling.
fn decimals(array: &ArrayRef, wish: Wish<'_>, rows: &[u32]) -> Result<Taken, ArrowError> {
    let floats = array.as_primitive::<Float64Type>();
    let is_exact = |row: &u32| floats.is_null(*row as usize) || millionths(floats.value(*row as usize)).is_some();
    if !rows.iter().all(is_exact) {
        return cell_by_cell(array, wish, rows);
    }
    Ok(Taken::from(Arc::new(floats.unary_opt::<_, Int64Type>(millionths)) as ArrayRef))
}

/// A float that has at most 15 digits, of them six decimals, in millionths: no other decimal so short is that float.
fn millionths(float: f64) -> Option<i64> {
    const MOST: f64 = 1e15;
    let millionths = (float * 1e6).round();
    #[allow(clippy::float_cmp, reason = "the very same float is asked for")]
    let is_it = millionths.abs() < MOST && millionths / 1e6 == float;
    #[allow(clippy::cast_possible_truncation, reason = "a whole number below 10^15")]
    is_it.then_some(millionths as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::values::decimal;

    #[test]
    fn short_decimals_are_exact() {
        for (float, expected) in [
            (0.0, Some(0)),
            (-0.0, Some(0)),
            (0.1, Some(100_000)),
            (2.25, Some(2_250_000)),
            (-7.000_001, Some(-7_000_001)),
            (0.000_000_4, None),
            (0.1 + 0.2, None),
            (1e9, None),
            (999_999_999.0, Some(999_999_999_000_000)),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(millionths(float), expected, "{float}");
        }
    }

    /// As the shortest spelling reads.
    #[test]
    fn and_agree_with_their_spelling() {
        let mut draws = fastrand::Rng::with_seed(5);
        for _ in 0..100_000 {
            let float = f64::from(draws.i32(..)) / [1.0, 2.0, 10.0, 100.0, 1e4, 1e6, 3.0][draws.usize(..7)];
            if let Some(found) = millionths(float) {
                assert_eq!(decimal(&float.to_string()), Ok(Some(found)), "{float}");
            }
        }
    }
}
