//! Parquet files: only the needed columns, only the row groups that can have wanted keys, and of those only the rows
//! that do. Row groups are read in parallel.
//!
//! A group's key column says whether few or many of its rows are `wanted`; few are jumped to, of many every row is decoded,
//! in types that suit (`types`), lists and maps by their `levels` where that is enough; [`canonical`](crate::sources::rows::canonical) takes columns over.

mod batches;
mod codec;
mod failure;
mod file_plan;
mod held;
mod input;
mod leaves;
mod levels;
mod pages;
mod sizes;
mod text;
mod thrift;
mod types;
mod wanted;
mod watch;

use std::io::Read as _;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use rayon::prelude::*;

use self::file_plan::{FilePlan, Progress, RowGroup};
use self::held::Held;
use self::input::{Description, Input, Opened, has_index};
use self::pages::few_leaves;
use self::text::refused;
use self::types::Described;
use self::wanted::{may_have_row, sorted};
use super::allowance::Allowance;
use super::errors::FileContext;
use super::part::Part;
use super::sniff::not_parquet;
use super::{PartRead, check_columns, from_path, is_left_out};
use crate::sources::rows::Reading;
use crate::sources::{ScanStats, SourceError};
use crate::tables::schema::Table;

/// The most keys that are compared with statistics; more of them are in every row group anyhow.
const KEYS: usize = 10_000;

/// Reads a file.
///
/// # Errors
/// It cannot be read or lacks a column that must be there.
pub(super) fn read(part: &Part, reading: &Reading<'_>, allowance: &Arc<Allowance>) -> Result<PartRead, SourceError> {
    let scan = reading.scan;
    let place = FileContext::of(scan.table, part);
    let file = Opened::new(&part.location).map_err(|error| place.io(&error))?;
    let options = ArrowReaderOptions::new();
    let (input, metadata) = metadata(&file, part, place, &options)?;
    let metadata = with_index(&input, metadata, &options);
    let described = Described::new(&metadata, options).map_err(|error| place.parquet(&error))?;
    let metadata = described.checked();
    let names = || metadata.schema().fields().iter().map(|field| field.name().as_bytes());
    let spellings = reading.spellings();
    let places = spellings.among(names).map_err(|clash| place.broken(&clash.to_string()))?;
    let given = from_path(part, reading)?;
    let has = spellings.columns(|at| places[at].is_some() || given[at].is_some());
    check_columns(place, reading, &has)?;
    if is_left_out(reading, &places, &given) {
        return Ok(PartRead::of(ScanStats::default(), has));
    }
    let roots = places.iter().copied().flatten();
    if let Some(what) = refused(metadata, reading, &places).or_else(|| few_leaves(metadata, roots)) {
        return Err(place.broken(&what));
    }
    let columns = held::columns(spellings, &places, &given);
    let groups = groups(metadata, &columns, reading);
    let progress = Progress::new();
    let plan = FilePlan {
        part,
        file: &file,
        reading,
        metadata,
        described: &described,
        columns: &columns,
        allowance,
        progress,
    };
    let all_stats: Vec<ScanStats> = groups.par_iter().map(|group| plan.group(*group)).collect::<Result<_, _>>()?;
    let mut stats = ScanStats { cost: plan.progress.cost(), ..ScanStats::default() };
    for group in &all_stats {
        stats.add(group);
    }
    Ok(PartRead::of(stats, has))
}

/// How many rows a file says that it has.
///
/// # Errors
/// It cannot be read.
pub(super) fn rows(table: Table, part: &Part) -> Result<u64, SourceError> {
    let place = FileContext::of(table, part);
    let file = Opened::new(&part.location).map_err(|error| place.io(&error))?;
    let (_, metadata) = metadata(&file, part, place, &ArrowReaderOptions::new())?;
    let rows = metadata.metadata().file_metadata().num_rows();
    u64::try_from(rows).map_err(|_| place.broken("says that it has fewer rows than none"))
}

/// The columns of a file.
///
/// # Errors
/// It cannot be read.
pub(super) fn schema(table: Table, part: &Part) -> Result<SchemaRef, SourceError> {
    let place = FileContext::of(table, part);
    let file = Opened::new(&part.location).map_err(|error| place.io(&error))?;
    let (_, metadata) = metadata(&file, part, place, &ArrowReaderOptions::new())?;
    Ok(Arc::clone(metadata.schema()))
}

/// What a file says of itself, and what it was read from.
fn metadata(
    file: &Opened<'_>,
    part: &Part,
    place: FileContext<'_>,
    options: &ArrowReaderOptions,
) -> Result<(Input, ArrowReaderMetadata), SourceError> {
    let input = file.description().map_err(|error| place.io(&error))?;
    let description = Description::new(&input);
    let metadata = ArrowReaderMetadata::load(&description, options.clone());
    let metadata = metadata.map_err(|error| match description.refused.get() {
        Some(what) => place.broken(what),
        None => undescribed(part, place, &error),
    })?;
    Ok((input, metadata))
}

/// The same with the index of pages, which lets the reader jump over pages of which no row is wanted. Of an encrypted column
/// it cannot be read.
fn with_index(input: &Input, metadata: ArrowReaderMetadata, options: &ArrowReaderOptions) -> ArrowReaderMetadata {
    if !has_index(metadata.metadata()) {
        return metadata;
    }
    let mut reader = ParquetMetaDataReader::new_with_metadata(metadata.metadata().as_ref().clone())
        .with_page_index_policy(PageIndexPolicy::Optional);
    let read = reader.read_page_indexes(input).and_then(|()| reader.finish());
    let with_index = read.and_then(|read| ArrowReaderMetadata::try_new(Arc::new(read), options.clone()));
    with_index.unwrap_or(metadata)
}

/// A file does not describe itself: perhaps it is something else than its name says.
fn undescribed(part: &Part, place: FileContext<'_>, error: &ParquetError) -> SourceError {
    const LOOKED_AT: u64 = 512;
    let told = place.parquet(error);
    if told.may_pass {
        return told;
    }
    let mut start = Vec::new();
    let read = part.location.stream().and_then(|file| file.take(LOOKED_AT).read_to_end(&mut start));
    match not_parquet(&start).filter(|_| read.is_ok()) {
        Some(what) => place.told(what, &format!("{what}: {error}")),
        None => told,
    }
}

/// The row groups that can have wanted rows, by the statistics of the key.
fn groups(metadata: &ArrowReaderMetadata, columns: &[Vec<Held<'_>>], reading: &Reading<'_>) -> Vec<RowGroup> {
    let few = reading.scan.only().filter(|(_, keys)| keys.len() <= KEYS);
    let wanted = few.zip(reading.only()).map(|((_, keys), only)| (sorted(keys), &columns[only]));
    let mut before = 0;
    let mut groups = Vec::new();
    for (place, group) in metadata.metadata().row_groups().iter().enumerate() {
        if wanted.as_ref().is_none_or(|(keys, held)| may_have_row(metadata, group, held, keys)) {
            groups.push(RowGroup { place, before });
        }
        before += u64::try_from(group.num_rows()).unwrap_or(0);
    }
    groups
}
