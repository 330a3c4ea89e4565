//! Tables into files: which rows go into which file, in what order, in what format.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;

use super::draws::{Of, Shuffle};
use super::plan::Plan;
use super::table::{Division, SampleTable};
use super::{Columns, Format, Layout, SampleError, SampleOptions, courses, learning, people, text};
use crate::tables::schema::Table;

/// Rows made at a time: what is in memory of each file, but for the row group of Parquet.
const CHUNK: u64 = 8_192;
const ROW_GROUP: usize = 250_000;
const PARTS: u64 = 8;

/// Every table, one line each. A table's place in the list is part of what decides the order of its rows.
const TABLES: [&SampleTable; 7] = [
    &courses::BATCHES,
    &courses::CONTENT,
    &courses::HIERARCHY,
    &people::USERS,
    &learning::ENROLMENTS,
    &learning::ACTIVITY,
    &learning::ATTEMPTS,
];

/// The number of rows of each table.
pub(super) fn counts(plan: &Plan) -> Vec<(Table, u64)> {
    TABLES.iter().map(|table| (table.table, (table.count)(plan))).collect()
}

/// Writes every table; the size of all files in bytes.
pub(super) fn tables(
    plan: &Plan,
    options: &SampleOptions,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<u64, SampleError> {
    let target = &options.directory;
    refuse_if_occupied(target, options.overwrite)?;
    let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(failed(parent))?;
    // Dropped on an error, and with it everything written so far.
    let room = tempfile::Builder::new().prefix(".sample-data-").tempdir_in(parent).map_err(failed(parent))?;
    let written = room.path().join("new");
    let all: u64 = counts(plan).iter().map(|(_, count)| count).sum();
    let done = AtomicU64::new(0);
    let sizes: Vec<u64> = files(plan, options, &written)
        .into_par_iter()
        .map(|file| file.write(plan, options.format, &|n| progress(done.fetch_add(n, Ordering::Relaxed) + n, all)))
        .collect::<Result<_, _>>()?;
    if target.exists() {
        fs::rename(target, room.path().join("old")).map_err(failed(target))?;
    }
    fs::rename(&written, target).map_err(failed(target))?;
    Ok(sizes.iter().sum())
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> SampleError {
    move |source| SampleError::Write { path: path.to_owned(), source }
}

/// Overwriting replaces the whole directory, so there must be nothing else in it.
fn refuse_if_occupied(directory: &Path, overwrite: bool) -> Result<(), SampleError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed(directory))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let is_table = |name: &String| Table::ALL.iter().any(|t| name.split('.').next() == Some(t.name()));
    if let Some(found) = names.iter().find(|name| !is_table(name)) {
        return Err(SampleError::Foreign { directory: directory.to_owned(), found: found.clone() });
    }
    match names.into_iter().next() {
        Some(found) if !overwrite => Err(SampleError::Occupied { directory: directory.to_owned(), found }),
        _ => Ok(()),
    }
}

/// One file to write: the rows at `from..to` of an order that begins at row `first` of the table.
struct Part {
    table: &'static SampleTable,
    path: PathBuf,
    order: Shuffle,
    first: u64,
    from: u64,
    to: u64,
    columns: Columns,
    /// A column whose value is in the name of the directory and therefore not in the file.
    without: Option<&'static str>,
}

fn files(plan: &Plan, options: &SampleOptions, root: &Path) -> Vec<Part> {
    let extension = options.format.extension();
    let mut files = Vec::new();
    for (number, table) in (0..).zip(TABLES) {
        let (n, name) = ((table.count)(plan), table.table);
        let order = |from, n| Shuffle::new(n, plan.draws(Of::Order, number, from));
        let columns = options.columns;
        let part =
            |path, order, first, from, to, without| Part { table, path, order, first, from, to, columns, without };
        match (options.layout, &table.division) {
            (Layout::Hive, &Division::Batches { column, prefix, starts }) => {
                for (batch, pair) in (0..).zip(starts(plan).windows(2)).filter(|(_, pair)| pair[1] > pair[0]) {
                    let id = courses::batch_id(plan, batch);
                    let path = root.join(format!("{name}/{column}={prefix}{id}/part-00000.{extension}"));
                    let n = pair[1] - pair[0];
                    files.push(part(path, order(pair[0] + 1, n), pair[0], 0, n, Some(column)));
                }
            }
            (Layout::Parts, Division::Parts | Division::Batches { .. }) => {
                for i in 0..PARTS {
                    let path = root.join(format!("{name}/part-{i:05}.{extension}"));
                    files.push(part(path, order(0, n), 0, n * i / PARTS, n * (i + 1) / PARTS, None));
                }
            }
            _ => files.push(part(root.join(format!("{name}.{extension}")), order(0, n), 0, 0, n, None)),
        }
    }
    // The large ones first, so that the last thread does not begin with one.
    files.sort_by_key(|file| std::cmp::Reverse(file.to - file.from));
    files
}

impl Part {
    /// Writes the file; its size in bytes. `wrote` gets the rows of each chunk.
    fn write(&self, plan: &Plan, format: Format, wrote: &dyn Fn(u64)) -> Result<u64, SampleError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(failed(directory))?;
        let file = File::create(&self.path).map_err(failed(&self.path))?;
        let mut sink = self.sink(plan, format, BufWriter::new(file))?;
        let mut numbers = Vec::new();
        let mut from = self.from;
        while from < self.to {
            let to = (from + CHUNK).min(self.to);
            numbers.clear();
            numbers.extend((from..to).map(|i| self.first + self.order.at(i)));
            let batch = self.rows(plan, &numbers)?;
            sink.write(&batch, from - self.from).map_err(|error| self.broken(error))?;
            wrote(to - from);
            from = to;
        }
        sink.close().map_err(|error| self.broken(error))?;
        Ok(fs::metadata(&self.path).map_err(failed(&self.path))?.len())
    }

    fn sink(&self, plan: &Plan, format: Format, file: BufWriter<File>) -> Result<Sink, SampleError> {
        Ok(match format {
            Format::Csv => Sink::Csv(Box::new(csv::Writer::from_writer(file))),
            Format::Jsonl => Sink::Jsonl(file),
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    .set_max_row_group_row_count(Some(ROW_GROUP))
                    .build();
                let schema = self.rows(plan, &[])?.schema();
                let writer = ArrowWriter::try_new(file, schema, Some(properties));
                Sink::Parquet(Box::new(writer.map_err(|error| self.broken(error.into()))?))
            }
        })
    }

    /// The rows with these numbers.
    fn rows(&self, plan: &Plan, numbers: &[u64]) -> Result<RecordBatch, SampleError> {
        let mut batch = (self.table.rows)(plan, numbers, self.columns).map_err(|error| self.broken(error))?;
        if let Some(index) = self.without.and_then(|name| batch.schema().index_of(name).ok()) {
            batch.remove_column(index);
        }
        Ok(batch)
    }

    fn broken(&self, error: ArrowError) -> SampleError {
        match error {
            ArrowError::IoError(_, source) => SampleError::Write { path: self.path.clone(), source },
            error => SampleError::Rows { table: self.table.table, message: error.to_string() },
        }
    }
}

enum Sink {
    Parquet(Box<ArrowWriter<BufWriter<File>>>),
    Csv(Box<csv::Writer<BufWriter<File>>>),
    Jsonl(BufWriter<File>),
}

impl Sink {
    /// Appends rows; `row` is the number of the first of them in its file.
    fn write(&mut self, batch: &RecordBatch, row: u64) -> Result<(), ArrowError> {
        match self {
            Self::Parquet(writer) => Ok(writer.write(batch)?),
            Self::Csv(writer) => csv_rows(writer, batch, row).map_err(|error| io(error.into())),
            Self::Jsonl(writer) => json_rows(writer, batch).map_err(io),
        }
    }

    fn close(self) -> Result<(), ArrowError> {
        match self {
            Self::Parquet(writer) => writer.close().map(drop).map_err(Into::into),
            Self::Csv(mut writer) => writer.flush().map_err(io),
            Self::Jsonl(mut writer) => writer.flush().map_err(io),
        }
    }
}

fn io(error: std::io::Error) -> ArrowError {
    ArrowError::IoError(error.to_string(), error)
}

fn csv_rows(writer: &mut csv::Writer<BufWriter<File>>, batch: &RecordBatch, row: u64) -> csv::Result<()> {
    if row == 0 {
        writer.write_record(batch.schema().fields().iter().map(|field| field.name()))?;
    }
    let mut cell = String::new();
    for i in 0..batch.num_rows() {
        for column in batch.columns() {
            cell.clear();
            text::csv_cell(column, i, row + i as u64, &mut cell);
            writer.write_field(&cell)?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    Ok(())
}

fn json_rows(writer: &mut BufWriter<File>, batch: &RecordBatch) -> std::io::Result<()> {
    let schema = batch.schema();
    let mut line = String::new();
    for i in 0..batch.num_rows() {
        line.clear();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            if column.is_null(i) {
                continue;
            }
            line.push_str(if line.is_empty() { "{\"" } else { ", \"" });
            line.push_str(field.name());
            line.push_str("\": ");
            text::nested(column, i, text::Spelling::Json, &mut line);
        }
        line.push_str("}\n");
        writer.write_all(line.as_bytes())?;
    }
    Ok(())
}
