//! An engine behind a program of the operator's: it gets what is wanted of a table as JSON and writes Parquet into the stage.
//!
//! Such an engine is not asked in statements, so its tables are staged, never streamed.

mod plan;
mod process;

use std::fs;
use std::io::{self, Write};
use std::process::ExitStatus;

use self::process::Ended;
use super::statement::Keyless;
use super::transport::{EngineError, Statement, TakeBatch, Transport};
use crate::objects::{Bucket, Headers};
use crate::sources::GivenUp;
use crate::sources::files::FilesLocation;
use crate::sources::stage::Stage;
use crate::tables::keys::Keys;
use crate::tables::plan::Scan;

/// By `sysexits.h`: the program may succeed when it is run again.
const EX_TEMPFAIL: i32 = 75;

/// A program that stages tables.
#[derive(Clone, Debug)]
pub(super) struct Script {
    /// The program and its arguments.
    command: Vec<String>,
}

impl Script {
    /// `command`: the program, then its arguments.
    pub(super) const fn new(command: Vec<String>) -> Self {
        Self { command }
    }

    /// Runs the program for the rows of a scan whose keys are known. It writes them as Parquet into the directory of the table
    /// in `stage`.
    ///
    /// # Errors
    /// The keys cannot be written, or the program cannot be run, fails or is given up.
    pub(super) fn write(
        &self,
        scan: &Scan,
        keyless: Keyless,
        stage: &Stage,
        given_up: &GivenUp,
    ) -> Result<(), EngineError> {
        let unwritten = |error: &io::Error| EngineError::passing("the stage cannot be written", &error.to_string());
        if let FilesLocation::Directory(directory) = stage.location() {
            fs::create_dir_all(directory.join(scan.table.name())).map_err(|error| unwritten(&error))?;
        }
        if let Some((_, keys)) = scan.only() {
            write_keys(stage, &plan::keys_file(scan.table), keys.as_ref()).map_err(|error| unwritten(&error))?;
        }
        let url = stage.engine_url();
        // A directory as programs take it.
        let place = url.strip_prefix("file://").unwrap_or(url);
        let plan = plan::plan(scan, keyless).to_string();
        match process::run(&self.command, place, plan.as_bytes(), given_up) {
            Ok(Ended::ByItself(status, told)) => judged(status, &told),
            Ok(Ended::GivenUp) => Err(EngineError::passing("the engine's command was ended: nobody waits for it", "")),
            Ok(Ended::TooLate) => Err(EngineError::passing("the engine's command was ended after six hours", "")),
            Err(error) => {
                let lasts = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied].contains(&error.kind());
                let (message, told) = ("the engine's command cannot be run", error.to_string());
                Err(if lasts { EngineError::lasting(message, &told) } else { EngineError::passing(message, &told) })
            }
        }
    }
}

/// What the end of the program means. `told`: the end of its standard error.
fn judged(status: ExitStatus, told: &str) -> Result<(), EngineError> {
    match status.code() {
        Some(0) => Ok(()),
        Some(EX_TEMPFAIL) => Err(EngineError::passing("the engine's command cannot be served for now", told)),
        Some(code) => Err(EngineError::lasting(&format!("the engine's command failed with exit code {code}"), told)),
        // Somebody ended it: the kernel without memory, an operator.
        None => Err(EngineError::passing("the engine's command was killed", told)),
    }
}

/// Writes keys as JSON, one object a line. They may be ids of learners, so they are in the stage, which is removed.
fn write_keys(stage: &Stage, name: &str, keys: &dyn Keys) -> io::Result<()> {
    match stage.location() {
        FilesLocation::Directory(directory) => {
            let file = directory.join(name);
            file.parent().map_or(Ok(()), fs::create_dir_all)?;
            let mut file = io::BufWriter::new(fs::File::create(file)?);
            plan::write_keys(keys, &mut file)?;
            file.flush()
        }
        FilesLocation::Objects(place) => {
            let mut bytes = Vec::new();
            plan::write_keys(keys, &mut bytes)?;
            let bucket = Bucket::open(place).map_err(io::Error::other)?;
            let content_disposition = "attachment".to_owned();
            let headers = Headers { content_type: "application/x-ndjson", content_disposition, crc32: None };
            bucket.put(name, bytes, headers).map_err(io::Error::other)
        }
    }
}

/// It stages, and does nothing else.
impl Transport for Script {
    fn query(&self, _: &Statement, _: &GivenUp, _: TakeBatch<'_>) -> Result<(), EngineError> {
        Err(no_statements())
    }

    fn write(&self, _: &Statement, _: &str, _: &GivenUp) -> Result<u64, EngineError> {
        Err(no_statements())
    }
}

fn no_statements() -> EngineError {
    EngineError::lasting("is staged by a command, and is read only for requests that a daemon works on", "")
}

#[cfg(test)]
mod tests;
