//! An engine behind a program of the operator's: it gets statements, or what is wanted of a table as JSON, and writes Parquet
//! into the stage.
//!
//! Nothing but files comes from such an engine, so its tables are staged, never streamed.

mod plan;
mod process;
mod statements;

use std::fs;
use std::io::{self, Write};
use std::process::ExitStatus;

use self::process::Ended;
pub(super) use self::statements::{CAP, Statements, portions};
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

/// A program of the operator's, and which of its exit codes may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Beside that of `EX_TEMPFAIL`.
    pub retry_codes: Vec<u8>,
}

impl Program {
    /// Runs it with this on standard input.
    ///
    /// # Errors
    /// It cannot be run, fails or is given up.
    fn run(&self, input: &[u8], stage: &Stage, given_up: &GivenUp) -> Result<(), EngineError> {
        let url = stage.engine_url();
        // A directory as programs take it.
        let place = url.strip_prefix("file://").unwrap_or(url);
        match process::run(&self.command, place, input, given_up) {
            Ok(Ended::ByItself(status, told)) => self.judged(status, &told),
            Ok(Ended::GivenUp) => Err(EngineError::passing("the engine's command was ended: nobody waits for it", "")),
            Ok(Ended::TooLate) => Err(EngineError::passing("the engine's command was ended after six hours", "")),
            Err(error) => {
                let lasts = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied].contains(&error.kind());
                let (message, told) = ("the engine's command cannot be run", error.to_string());
                Err(if lasts { EngineError::lasting(message, &told) } else { EngineError::passing(message, &told) })
            }
        }
    }

    /// What its end means. `told`: the end of its standard error.
    fn judged(&self, status: ExitStatus, told: &str) -> Result<(), EngineError> {
        match status.code() {
            Some(0) => Ok(()),
            Some(EX_TEMPFAIL) => Err(EngineError::passing("the engine's command cannot be served for now", told)),
            Some(code) => {
                let message = format!("the engine's command failed with exit code {code}");
                let may_pass = self.retry_codes.iter().any(|known| i32::from(*known) == code);
                Err(EngineError { may_pass, ..EngineError::lasting(&message, told) })
            }
            // Somebody ended it: the kernel without memory, an operator.
            None => Err(EngineError::passing("the engine's command was killed", told)),
        }
    }
}

/// A program that gets what is wanted of a table as JSON.
#[derive(Clone, Debug)]
pub(super) struct Script {
    program: Program,
}

impl Script {
    pub(super) const fn new(program: Program) -> Self {
        Self { program }
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
        self.program.run(plan::plan(scan, keyless).to_string().as_bytes(), stage, given_up)
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

/// In place of a way to ask an engine: it is reached by a program, which stages and does nothing else.
pub(super) struct NotAsked;

impl Transport for NotAsked {
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
