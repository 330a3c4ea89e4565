//! Which rows of a row group are wanted, by its key column alone.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection};
use parquet::basic::Type as Physical;
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::held::{Held, Origin};
use super::leaves::only_leaf;
use super::text::is_uuid;
use crate::sources::rows::cells::Cells;
use crate::sources::rows::key_of;
use crate::tables::chunk::{DictionaryCache, Texts};
use crate::tables::keys::Keys;
use crate::tables::schema::Kind;

/// If fewer rows than one in this number are wanted, the others are jumped over; otherwise decoding all is quicker.
const FEW: usize = 8;

/// The rows of a chunk that have a wanted key, or none: such a row is unusable, and counted. `known`: which keys of the row
/// group are wanted, as far as that was asked before.
pub(super) fn with_wanted_key(
    keys: &ArrayRef,
    wanted: &dyn Keys,
    known: &mut DictionaryCache<bool>,
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

/// Whether a row group may have a row with a wanted key, or one without key (which is unusable, and counted). `held`: how
/// the key is spelled.
pub(super) fn may_have_row(
    metadata: &ArrowReaderMetadata,
    group: &RowGroupMetaData,
    held: &[Held<'_>],
    keys: &[&[u8]],
) -> bool {
    for held in held {
        let may = match held.from {
            Origin::File(root) => match only_leaf(metadata, root) {
                Some((physical, leaf)) if physical == Physical::BYTE_ARRAY || is_uuid(metadata, leaf) => group
                    .column(leaf)
                    .statistics()
                    .map_or(May::ANYTHING, |statistics| May::have(statistics, group, is_uuid(metadata, leaf), keys)),
                _ => May::ANYTHING,
            },
            Origin::Path(cell) => key_of(cell).map_or(May { wanted: false, nothing: true }, |key| May {
                wanted: keys.binary_search(&key.as_bytes()).is_ok(),
                nothing: false,
            }),
        };
        // Only where a spelling has nothing does the next one count.
        if may.wanted || !may.nothing {
            return may.wanted;
        }
    }
    true
}

/// What a column may have in a row group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct May {
    /// A wanted key.
    wanted: bool,
    /// A row with nothing there.
    nothing: bool,
}

impl May {
    const ANYTHING: Self = Self { wanted: true, nothing: true };

    /// `uuid`: the keys are stored as UUIDs; as text they have the same order.
    fn have(statistics: &Statistics, group: &RowGroupMetaData, uuid: bool, keys: &[&[u8]]) -> Self {
        let nulls = statistics.null_count_opt();
        if nulls.is_some_and(|nulls| i64::try_from(nulls) == Ok(group.num_rows())) {
            return Self { wanted: false, nothing: true };
        }
        let (Some(least), Some(greatest), Some(nulls)) =
            (statistics.min_bytes_opt(), statistics.max_bytes_opt(), nulls)
        else {
            return Self::ANYTHING;
        };
        // Old files compare bytes as signed numbers.
        if statistics.is_min_max_deprecated() || least.is_empty() {
            return Self::ANYTHING;
        }
        let nothing = nulls > 0;
        if !uuid {
            return Self { wanted: any_within(keys, least, greatest), nothing };
        }
        let text = |bytes| uuid::Uuid::from_slice(bytes).map(|uuid| uuid.hyphenated().to_string());
        match (text(least), text(greatest)) {
            (Ok(least), Ok(greatest)) => {
                Self { wanted: any_within(keys, least.as_bytes(), greatest.as_bytes()), nothing }
            }
            _ => Self::ANYTHING,
        }
    }
}

fn any_within(keys: &[&[u8]], least: &[u8], greatest: &[u8]) -> bool {
    let first = keys.partition_point(|key| *key < least);
    keys.get(first).is_some_and(|key| *key <= greatest)
}
