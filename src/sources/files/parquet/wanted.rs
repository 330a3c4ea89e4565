//! Which rows of a row group are wanted, by its key column alone.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::RowSelection;
use parquet::file::statistics::Statistics;

use super::cells::Cells;
use crate::reports::columns::Texts;
use crate::reports::schema::{Keys, Kind};
use crate::sources::rows::key_of;

/// Of fewer rows than one in so many the others are jumped over; beyond, decoding all of them is quicker.
const FEW: usize = 8;

/// The wanted rows of a group, counted from 0 in the group, ascending.
pub(super) struct Wanted {
    rows: Vec<u32>,
    /// How many rows the group has.
    all: usize,
}

impl Wanted {
    #[allow(clippy::cast_possible_truncation, reason = "a row group has fewer rows than 2^32")]
    pub(super) fn all(rows: usize) -> Self {
        Self { rows: (0..rows as u32).collect(), all: rows }
    }

    pub(super) const fn none(rows: usize) -> Self {
        Self { rows: Vec::new(), all: rows }
    }

    /// Adds the wanted ones of the next rows, whose keys these are. A row without key is wanted too: it is unusable, and
    /// counted.
    pub(super) fn add(
        &mut self,
        keys: &ArrayRef,
        before: u32,
        wanted: &dyn Keys,
    ) -> Result<(), arrow_schema::ArrowError> {
        let is_wanted: Vec<bool> = if matches!(keys.data_type(), DataType::Utf8View | DataType::Dictionary(..)) {
            Texts::of(keys).each(0..keys.len(), |key| key.is_empty() || wanted.contains(key))
        } else {
            let cells = Cells::new(keys, Kind::Text, false, chrono_tz::Tz::UTC)?;
            (0..keys.len()).map(|row| key_of(cells.at(row)).is_none_or(|key| wanted.contains(&key))).collect()
        };
        self.rows.extend((before..).zip(is_wanted).filter(|(_, wanted)| *wanted).map(|(row, _)| row));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What to decode, if it is not everything.
    pub(super) fn selection(&self) -> Option<RowSelection> {
        if self.rows.len() * FEW >= self.all {
            return None;
        }
        let runs = self.rows.chunk_by(|left, right| left + 1 == *right);
        let ranges = runs.map(|run| run[0] as usize..run[0] as usize + run.len());
        Some(RowSelection::from_consecutive_ranges(ranges, self.all))
    }

    /// The wanted rows among `length` decoded ones, of which `before` were decoded earlier, and where in the group each
    /// of the decoded rows is.
    pub(super) fn among(&self, selected: bool, before: u32, length: u32) -> (Vec<u32>, impl Fn(u32) -> u32) {
        let rows = if selected {
            (0..length).collect()
        } else {
            let (start, end) = (self.place(before), self.place(before + length));
            self.rows[start..end].iter().map(|row| row - before).collect()
        };
        let place = move |row: u32| if selected { self.rows[(before + row) as usize] } else { before + row };
        (rows, place)
    }

    fn place(&self, row: u32) -> usize {
        self.rows.partition_point(|wanted| *wanted < row)
    }
}

/// Keys in order, to compare with statistics.
pub(super) fn sorted(keys: &Arc<dyn Keys>) -> Vec<&[u8]> {
    let mut keys: Vec<_> = keys.iter().map(str::as_bytes).collect();
    keys.sort_unstable();
    keys
}

/// Whether a row group may have a wanted key, or a row without key (which is unusable, and counted).
pub(super) fn may_have(statistics: &Statistics, keys: &[&[u8]]) -> bool {
    let (Some(least), Some(greatest), Some(0)) =
        (statistics.min_bytes_opt(), statistics.max_bytes_opt(), statistics.null_count_opt())
    else {
        return true;
    };
    // Old files compare bytes as signed numbers.
    if statistics.is_min_max_deprecated() || least.is_empty() {
        return true;
    }
    let first = keys.partition_point(|key| *key < least);
    keys.get(first).is_some_and(|key| *key <= greatest)
}
