//! Parts of requests: how their statements are run.

use diesel::prelude::*;

use super::super::super::parts::{PartConnection, PartDatabase};
use super::super::super::types::QueueError;
use super::super::parts::SqliteParts;
use super::SqliteQueue;

impl PartDatabase for SqliteQueue {
    /// With the write lock from the beginning.
    fn transaction<T>(
        &self,
        what: &str,
        statements: impl FnOnce(&mut dyn PartConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError> {
        let now = self.at();
        self.run(what, |conn| conn.immediate_transaction(|conn| statements(&mut SqliteParts { conn, now })))
    }

    fn read_parts<T>(
        &self,
        what: &str,
        statements: impl Fn(&mut dyn PartConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError> {
        let now = self.at();
        self.run(what, |conn| statements(&mut SqliteParts { conn, now }))
    }
}
