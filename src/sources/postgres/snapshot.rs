//! One view of all tables for the scans of one load: a connection in a REPEATABLE READ transaction. So a semi join sees the
//! very enrolments that were read before it, and brings at least the rows of those that were kept.
//!
//! Not here: statements.

use std::sync::{Mutex, PoisonError};

use super::connect::BEGIN_SNAPSHOT;
use super::connection::Connection;
use super::failure::Failure;
use super::{Joins, PostgresSource};
use crate::sources::{ScanStats, Sink, Source, SourceError};
use crate::tables::plan::Scan;
use crate::tables::schema::Table;

/// Reads one scan after the other in one transaction, which begins with the first.
pub(super) struct Snapshot<'a> {
    source: &'a PostgresSource,
    state: Mutex<State>,
}

enum State {
    NotBegun,
    Begun(Box<Connection>),
    /// A scan failed. Another transaction would see other rows than the scans before.
    Failed,
}

impl<'a> Snapshot<'a> {
    pub(super) const fn new(source: &'a PostgresSource) -> Self {
        Self { source, state: Mutex::new(State::NotBegun) }
    }

    fn try_read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match std::mem::replace(&mut *state, State::Failed) {
            State::Begun(connection) => connection,
            State::NotBegun => {
                let mut connection = self.source.connect()?;
                connection.execute(BEGIN_SNAPSHOT)?;
                Box::new(connection)
            }
            State::Failed => return Err(Failure::lost("a scan before it failed")),
        };
        match self.source.read_rows(&mut connection, scan, Joins::Allowed, sink) {
            Ok(stats) => {
                *state = State::Begun(connection);
                Ok(stats)
            }
            Err(failure) => {
                connection.close(false);
                Err(failure)
            }
        }
    }
}

impl Source for Snapshot<'_> {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        self.try_read(scan, sink).map_err(|failure| self.source.error(scan.table, &failure))
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        self.source.tables()
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Begun(connection) = std::mem::replace(state, State::Failed) {
            connection.close(true);
        }
    }
}
