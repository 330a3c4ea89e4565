//! What is said where a file cannot be read.

use std::io;
use std::path::Path;

use super::layout::Part;
use crate::reports::schema::Table;
use crate::sources::SourceError;
use crate::sources::rows::short;

/// A file of a table, or the directory that should hold it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    table: Table,
    path: &'a Path,
    label: &'a str,
    gzip: bool,
}

impl<'a> Place<'a> {
    pub(super) fn of(table: Table, part: &'a Part) -> Self {
        Self { table, path: &part.path, label: &part.label, gzip: part.gzip }
    }

    pub(super) fn at(table: Table, path: &'a Path, label: &'a str) -> Self {
        Self { table, path, label, gzip: false }
    }

    /// The file is not as it must be; this does not pass.
    pub(super) fn broken(self, what: &str) -> SourceError {
        self.error(what, what, false)
    }

    /// Reading failed. A file that is not there, may not be read or breaks off stays so; everything else may pass.
    pub(super) fn io(self, error: &io::Error) -> SourceError {
        use io::ErrorKind::{InvalidData, InvalidInput, IsADirectory, NotFound, PermissionDenied, UnexpectedEof};
        let (what, may_pass) = match error.kind() {
            NotFound => ("is not there", false),
            PermissionDenied => ("may not be read", false),
            UnexpectedEof if self.gzip => ("breaks off (truncated gzip)", false),
            InvalidData | InvalidInput if self.gzip => ("is no sound gzip file", false),
            UnexpectedEof => ("breaks off", false),
            InvalidData | InvalidInput | IsADirectory => ("is broken", false),
            _ => ("cannot be read", true),
        };
        self.error(what, &format!("{what}: {error}"), may_pass)
    }

    fn error(self, what: &str, chain: &str, may_pass: bool) -> SourceError {
        let Self { table, path, label, .. } = self;
        SourceError {
            table,
            message: format!("table {table}: {} {what}", short(label)),
            detail: format!("table {table}: {} {chain}", path.display()),
            may_pass,
        }
    }

    /// Parquet's own reader failed.
    pub(super) fn parquet(self, error: &(dyn std::error::Error + 'static)) -> SourceError {
        let mut cause = Some(error);
        while let Some(this) = cause {
            if let Some(io) = this.downcast_ref::<io::Error>() {
                return self.io(io);
            }
            cause = this.source();
        }
        self.error("is no sound Parquet file", &format!("is no sound Parquet file: {error}"), false)
    }
}
