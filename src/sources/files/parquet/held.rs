//! How a file holds the columns of a scan: each by none, one or several of its spellings.

use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::RowGroupMetaData;

use super::leaves::only_leaf;
use crate::sources::rows::{Cell, key_of};
use crate::sources::spellings::Spellings;
use crate::tables::schema::{Column, Kind};

/// A spelling of a column that the file has.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    /// Its place among the spellings of the scan.
    pub(super) spelling: usize,
    pub(super) from: Origin<'a>,
}

/// Where its cells come from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// A root column of the file.
    File(usize),
    /// The path of the file: the same cell in every row.
    Path(Cell<'a>),
}

impl Held<'_> {
    /// The root column, if it is one.
    pub(super) const fn root(&self) -> Option<usize> {
        match self.from {
            Origin::File(root) => Some(root),
            Origin::Path(_) => None,
        }
    }
}

/// For each column of the scan, its spellings that are there, in the order in which they win.
pub(super) fn columns<'a>(
    spellings: &Spellings,
    places: &[Option<usize>],
    given: &[Option<Cell<'a>>],
) -> Vec<Vec<Held<'a>>> {
    let mut columns: Vec<Vec<Held<'a>>> = Vec::new();
    for (at, spelling) in spellings.all().iter().enumerate() {
        columns.resize_with(columns.len().max(spelling.column + 1), Vec::new);
        let from = places[at].map(Origin::File).or_else(|| given[at].map(Origin::Path));
        columns[spelling.column].extend(from.map(|from| Held { spelling: at, from }));
    }
    columns
}

/// Of them those that a row group needs: behind one that has a value in every row none does.
pub(super) fn needed<'h, 'a>(
    metadata: &ArrowReaderMetadata,
    group: usize,
    columns: &[Column],
    held: &'h [Vec<Held<'a>>],
) -> Vec<&'h [Held<'a>]> {
    let group = metadata.metadata().row_group(group);
    let needed = columns.iter().zip(held).map(|(column, held)| {
        let full = held.iter().position(|held| is_full(metadata, group, column.kind, held));
        &held[..full.map_or(held.len(), |full| full + 1)]
    });
    needed.collect()
}

/// Whether a spelling has a value in every row of a group, as far as can be told without reading it.
fn is_full(metadata: &ArrowReaderMetadata, group: &RowGroupMetaData, kind: Kind, held: &Held<'_>) -> bool {
    let root = match (kind, held.from) {
        (Kind::Text, Origin::Path(cell)) => return key_of(cell).is_some(),
        (_, Origin::Path(_)) => return false,
        (_, Origin::File(root)) => root,
    };
    let Some((_, leaf)) = only_leaf(metadata, root) else { return false };
    let Some(statistics) = group.column(leaf).statistics() else { return false };
    let field = metadata.schema().field(root).data_type();
    statistics.null_count_opt() == Some(0)
        && match kind {
            // Empty text is nothing there, and no text is smaller.
            Kind::Text => statistics.min_bytes_opt().is_some_and(|least| !least.is_empty()),
            Kind::Instant => matches!(field, DataType::Timestamp(..)),
            _ => false,
        }
}

/// The root columns of the file among them, ascending.
pub(super) fn roots(held: &[&[Held<'_>]]) -> Vec<usize> {
    let mut roots: Vec<usize> = held.iter().copied().flatten().filter_map(Held::root).collect();
    roots.sort_unstable();
    roots.dedup();
    roots
}
