//! One column out of two spellings: the second where the first has nothing.

use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use crate::sources::rows::typed::Taken;
use crate::tables::chunk::Texts;

/// Those of `rows` (ascending) in which a column has nothing. One that does not read is something.
pub(in crate::sources) fn without_value(column: &Taken, rows: &[u32]) -> Vec<u32> {
    let array = &column.array;
    let is_text = is_text(array.data_type());
    let mut unreadable = column.unreadable.iter().map(|unread| unread.row).peekable();
    let mut is_unreadable = |row: u32| {
        while unreadable.next_if(|unread| *unread < row).is_some() {}
        unreadable.peek() == Some(&row)
    };
    let is_nothing = |row: u32| {
        if is_text { Texts::of(array).get(row as usize).is_empty() } else { array.is_null(row as usize) }
    };
    rows.iter().copied().filter(|row| is_nothing(*row) && !is_unreadable(*row)).collect()
}

const fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::Dictionary(..))
}

/// `first`, with the cells of `second` in those of `rows` that are `left`, in which `first` has nothing (both ascending).
pub(in crate::sources) fn filled_up(first: Taken, second: Taken, left: &[u32], rows: &[u32]) -> Taken {
    if left.is_empty() {
        return first;
    }
    if left.len() == rows.len() {
        return second;
    }
    let mut takes_second = vec![false; first.array.len()];
    for row in left {
        takes_second[*row as usize] = true;
    }
    let sources = [&first.array, &second.array];
    let array = match first.array.data_type() {
        DataType::Boolean => {
            let [one, two] = sources.map(AsArray::as_boolean);
            let mut merged = BooleanBuilder::with_capacity(one.len());
            for (row, takes_second) in takes_second.iter().enumerate() {
                let from = if *takes_second { two } else { one };
                merged.append_option(from.is_valid(row).then(|| from.value(row)));
            }
            Arc::new(merged.finish()) as ArrayRef
        }
        DataType::Int64 => numbers::<Int64Type>(sources, &takes_second),
        DataType::Timestamp(..) => numbers::<TimestampMicrosecondType>(sources, &takes_second),
        _ => {
            let [one, two] = sources.map(Texts::of);
            let mut merged = StringBuilder::new();
            for (row, takes_second) in takes_second.iter().enumerate() {
                merged.append_value(if *takes_second { two } else { one }.get(row));
            }
            Arc::new(merged.finish())
        }
    };
    let mut unreadable = [first.unreadable, second.unreadable].concat();
    unreadable.sort_unstable_by_key(|unread| unread.row);
    let mut odd = [first.odd, second.odd].concat();
    odd.sort_unstable();
    Taken { array, unreadable, odd }
}

fn numbers<T: ArrowPrimitiveType>(sources: [&ArrayRef; 2], takes_second: &[bool]) -> ArrayRef {
    let [one, two] = sources.map(AsArray::as_primitive::<T>);
    let mut merged = PrimitiveBuilder::<T>::with_capacity(one.len());
    for (row, takes_second) in takes_second.iter().enumerate() {
        let from = if *takes_second { two } else { one };
        merged.append_option(from.is_valid(row).then(|| from.value(row)));
    }
    Arc::new(merged.finish())
}
