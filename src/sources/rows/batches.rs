//! Record batches of any Arrow types, as engines send them, made into the canonical columns of a scan.
//!
//! Parquet, which is read column by column, has a way of its own to this place (`files::parquet`); both take columns by
//! [`canonical`](super::canonical).

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::Reading;
use super::canonical::{Wish, constant, taken};
use super::merged::{filled_up, without_value};
use super::typed::{Taken, Typed};
use crate::sources::ScanStats;
use crate::sources::rows::Cell;
use crate::tables::chunk::Texts;

/// Takes batches that have the spellings of a scan's columns.
pub(in crate::sources) struct Batches<'a> {
    reading: &'a Reading<'a>,
    /// For each spelling, its column in a batch; `None`: there is none.
    places: Vec<Option<usize>>,
    /// What the rows come from, for log and messages.
    label: &'a str,
}

impl<'a> Batches<'a> {
    pub(in crate::sources) const fn new(reading: &'a Reading<'a>, places: Vec<Option<usize>>, label: &'a str) -> Self {
        Self { reading, places, label }
    }

    /// Hands the wanted rows of a batch to the sink of the scan. `before`: how many rows came before it.
    ///
    /// # Errors
    /// A column has a type that has no canonical form.
    pub(in crate::sources) fn take(&self, batch: &RecordBatch, before: u64) -> Result<ScanStats, ArrowError> {
        let mut typed = Typed::new(self.reading, self.label);
        let all: Vec<u32> = (0..u32::try_from(batch.num_rows()).unwrap_or(u32::MAX)).collect();
        let rows = match (self.reading.scan.only(), self.reading.only()) {
            (Some((_, keys)), Some(only)) => {
                let column = self.column(only, batch, &all)?;
                let texts = Texts::of(&column.array);
                let are_wanted = keys.contain(&mut all.iter().map(|row| texts.get(*row as usize)));
                let is_wanted = |(row, is_wanted): &(&u32, bool)| *is_wanted || texts.get(**row as usize).is_empty();
                all.iter().zip(are_wanted).filter(is_wanted).map(|(row, _)| *row).collect()
            }
            _ => all,
        };
        let columns = (0..self.reading.scan.columns.len()).map(|column| self.column(column, batch, &rows));
        let columns: Vec<Taken> = columns.collect::<Result<_, _>>()?;
        typed.take(columns, rows, |row| before + u64::from(row) + 1);
        Ok(typed.finish())
    }

    /// One column: in each row the first of its spellings that has a value.
    fn column(&self, column: usize, batch: &RecordBatch, rows: &[u32]) -> Result<Taken, ArrowError> {
        let spellings = self.reading.spellings();
        let wish = |spelling: usize| Wish {
            kind: self.reading.scan.columns[column].kind,
            utc: false,
            flat: spellings.all().get(spelling).is_some_and(|spelling| spelling.flat),
            spelling,
            settings: self.reading.settings,
        };
        let mut first: Option<Taken> = None;
        for spelling in spellings.of_column(column) {
            let Some(place) = self.places[spelling] else { continue };
            let left = first.as_ref().map(|first| without_value(first, rows));
            let these = left.as_deref().unwrap_or(rows);
            let next = taken(batch.column(place), wish(spelling), these)?;
            first = Some(match first {
                Some(first) => filled_up(first, next, these, rows),
                None => next,
            });
        }
        Ok(first.unwrap_or_else(|| constant(Cell::Null, batch.num_rows(), wish(usize::MAX), rows)))
    }
}
