//! Parquet files.

use super::PartRead;
use super::errors::Place;
use super::layout::Part;
use crate::sources::SourceError;
use crate::sources::rows::Reading;

/// Reads a file.
pub(super) fn read(part: &Part, reading: &Reading<'_>) -> Result<PartRead, SourceError> {
    Err(Place::of(reading.scan.table, part).broken("cannot be read yet"))
}
