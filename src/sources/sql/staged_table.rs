//! The files of a table that an engine has written: whether all of them are there, and reading them.

use std::sync::Arc;

use super::transport::EngineError;
use crate::sources::files::{Config as FilesConfig, CsvDialect, open as open_files, rows_of};
use crate::sources::stage::{Files, Stage};
use crate::sources::{ScanStats, Settings, Sink, Source, SourceError};
use crate::tables::plan::Scan;
use crate::tables::schema::Table;

/// What is known of how much an engine has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The engine reports this number of rows.
    Rows(u64),
    /// The engine reports no number. It writes a file even where it finds no row.
    SomeFile,
    /// The engine reports no number, and may write no file.
    Unknown,
}

/// A table that was written by one statement or by several, none of which has a row of another.
pub(super) struct StagedTable {
    pub(super) table: Table,
    parts: Vec<Part>,
}

/// What one statement wrote.
struct Part {
    stage: Stage,
    files: Files,
    source: Arc<dyn Source>,
}

impl StagedTable {
    /// Looks for what was written into these stages.
    ///
    /// # Errors
    /// Something of it is not there.
    pub(super) fn find(table: Table, stages: &[(Stage, Written)], settings: Settings) -> Result<Self, EngineError> {
        let parts = stages.iter().map(|(stage, written)| Part::find(table, stage, *written, settings));
        Ok(Self { table, parts: parts.collect::<Result<_, _>>()? })
    }

    /// How many files it has, and their bytes.
    pub(super) fn size(&self) -> (usize, u64) {
        let files = || self.parts.iter().flat_map(|part| part.files.values());
        (files().count(), files().sum())
    }

    /// Reads the files, if they are still those that the engine had written when it said that it was done.
    pub(super) fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        let mut stats = ScanStats::default();
        for part in &self.parts {
            stats.add(&part.read(scan, sink)?);
        }
        Ok(stats)
    }
}

impl Part {
    fn find(table: Table, stage: &Stage, written: Written, settings: Settings) -> Result<Self, EngineError> {
        let files = stage.files(table.name()).map_err(|error| unreadable(&error.to_string()))?;
        match written {
            Written::Rows(written) => {
                let rows = rows_of(stage.location(), table, &files).map_err(|error| unreadable(&error.detail))?;
                if rows != written {
                    return Err(elsewhere(&format!("{rows} of {written} rows")));
                }
            }
            Written::SomeFile if files.is_empty() => return Err(elsewhere("no file")),
            Written::SomeFile | Written::Unknown => {}
        }
        let config = FilesConfig { location: stage.location().clone(), tables: CsvDialect::Rfc4180.into() };
        let source = open_files(&config, settings).map_err(|what| EngineError::lasting(&what, ""))?;
        Ok(Self { stage: stage.clone(), files, source })
    }

    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        let table = scan.table;
        let failed = |what: &str| {
            let message = format!("table {table}: its staged files {what}");
            SourceError { table, detail: message.clone(), message, may_pass: true, is_too_large: false }
        };
        let files = self.stage.files(table.name());
        let files = files.map_err(|error| failed(&format!("cannot be looked at: {error}")))?;
        if files != self.files {
            return Err(failed("are not those that the engine wrote"));
        }
        if files.is_empty() {
            return Ok(ScanStats::default());
        }
        self.source.read(scan, sink)
    }
}

/// A worker of the engine wrote to a disk of its own, say, and the engine did not see it. No report may be made without those
/// rows.
fn elsewhere(found: &str) -> EngineError {
    let message = format!("`stage` has {found}: every worker must see it (`stage_as`)");
    let told = "the files that the engine says it has written are elsewhere: `stage` must be a directory that exhaustd and every \
                worker of the engine share, or a bucket, and `stage_as` the engine's name for it";
    EngineError::lasting(&message, told)
}

fn unreadable(told: &str) -> EngineError {
    EngineError::passing("the staged files cannot be looked at", told)
}
