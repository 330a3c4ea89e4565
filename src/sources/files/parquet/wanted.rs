//! Which rows of a row group are wanted, by its key column alone.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType};
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::statistics::Statistics;

use super::cells::Cells;
use crate::reports::columns::{Meanings, Texts};
use crate::reports::schema::{Keys, Kind};
use crate::sources::rows::key_of;

/// Of fewer rows than one in so many the others are jumped over; beyond, decoding all of them is quicker.
const FEW: usize = 8;

/// The rows of a chunk that have a wanted key, or none: such a row is unusable, and counted. `known`: which keys of the row
/// group are wanted, as far as that was asked before.
pub(super) fn with_wanted_key(
    keys: &ArrayRef,
    wanted: &dyn Keys,
    known: &mut Meanings<bool>,
) -> Result<Vec<u32>, ArrowError> {
    let is_wanted: Vec<bool> = match keys.data_type() {
        DataType::Dictionary(_, texts) if **texts == DataType::Utf8 => {
            known.each(Texts::of(keys), 0..keys.len(), |keys| wanted_or_none(keys, wanted))
        }
        DataType::Utf8View => {
            let texts: Vec<&str> = (0..keys.len()).map(|row| Texts::of(keys).get(row)).collect();
            wanted_or_none(&texts, wanted)
        }
        _ => {
            let cells = Cells::new(keys, Kind::Text, false, chrono_tz::Tz::UTC)?;
            (0..keys.len()).map(|row| key_of(cells.at(row)).is_none_or(|key| wanted.contains(&key))).collect()
        }
    };
    Ok((0..).zip(is_wanted).filter(|(_, wanted)| *wanted).map(|(row, _)| row).collect())
}

fn wanted_or_none(keys: &[&str], wanted: &dyn Keys) -> Vec<bool> {
    let are_wanted = wanted.contain(&mut keys.iter().copied());
    are_wanted.into_iter().zip(keys).map(|(is_wanted, key)| is_wanted || key.is_empty()).collect()
}

/// Whether so few of a group's rows are wanted that the others should be jumped over.
pub(super) const fn are_few(rows: usize, all: usize) -> bool {
    rows * FEW < all
}

/// What to decode for rows of a group, given ascending.
pub(super) fn selection(rows: &[u32], all: usize) -> RowSelection {
    let runs = rows.chunk_by(|left, right| left + 1 == *right);
    let ranges = runs.map(|run| run[0] as usize..run[0] as usize + run.len());
    RowSelection::from_consecutive_ranges(ranges, all)
}

/// Keys in order, to compare with statistics.
pub(super) fn sorted(keys: &Arc<dyn Keys>) -> Vec<&[u8]> {
    let mut keys: Vec<_> = keys.iter().map(str::as_bytes).collect();
    keys.sort_unstable();
    keys
}

/// Whether a row group may have a wanted key, or a row without key (which is unusable, and counted). `uuid`: the keys are
/// stored as UUIDs; as text they have the same order.
pub(super) fn may_have(statistics: &Statistics, keys: &[&[u8]], uuid: bool) -> bool {
    let (Some(least), Some(greatest), Some(0)) =
        (statistics.min_bytes_opt(), statistics.max_bytes_opt(), statistics.null_count_opt())
    else {
        return true;
    };
    // Old files compare bytes as signed numbers.
    if statistics.is_min_max_deprecated() || least.is_empty() {
        return true;
    }
    if !uuid {
        return any_within(keys, least, greatest);
    }
    let text = |bytes| uuid::Uuid::from_slice(bytes).map(|uuid| uuid.hyphenated().to_string());
    match (text(least), text(greatest)) {
        (Ok(least), Ok(greatest)) => any_within(keys, least.as_bytes(), greatest.as_bytes()),
        _ => true,
    }
}

fn any_within(keys: &[&[u8]], least: &[u8], greatest: &[u8]) -> bool {
    let first = keys.partition_point(|key| *key < least);
    keys.get(first).is_some_and(|key| *key <= greatest)
}
