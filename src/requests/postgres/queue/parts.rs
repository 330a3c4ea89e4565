//! Parts of requests: how their statements are run.

use diesel::prelude::*;

use super::super::super::parts::{PartConnection, PartDatabase};
use super::super::super::types::QueueError;
use super::super::parts::PostgresParts;
use super::PostgresQueue;

impl PartDatabase for PostgresQueue {
    fn transaction<T>(
        &self,
        what: &str,
        statements: impl FnOnce(&mut dyn PartConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError> {
        let shift = self.at();
        self.run(what, |conn| conn.transaction(|conn| statements(&mut PostgresParts { conn, shift })))
    }

    fn read_parts<T>(
        &self,
        what: &str,
        statements: impl Fn(&mut dyn PartConnection) -> QueryResult<T>,
    ) -> Result<T, QueueError> {
        let shift = self.at();
        self.read(what, |conn| statements(&mut PostgresParts { conn, shift }))
    }
}
