//! Hearing of submissions: `NOTIFY exhaust_job_request`, sent by ours in their transaction and by any outside writer.

use std::time::{Duration, Instant};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_query;

use super::super::failures;
use super::super::listener::Listener;
use super::super::types::QueueError;

/// How often a listener asks whether its connection still lives. Nothing else tells.
const ASK: Duration = Duration::from_secs(10);

/// A listener by a connection of its own.
pub(super) fn listen(mut conn: PgConnection) -> Result<Listener, QueueError> {
    let listen = |error| failures::statement("listen on exhaust_job_request", &error);
    sql_query("LISTEN exhaust_job_request").execute(&mut conn).map_err(listen)?;
    // From here on nothing can fail but the connection.
    let lost = |error: diesel::result::Error| QueueError::Unreachable(format!("the listener is lost: {error}"));
    let mut asked = Instant::now();
    Ok(Listener::new(move || {
        if asked.elapsed() > ASK {
            sql_query("SELECT 1").execute(&mut conn).map_err(lost)?;
            asked = Instant::now();
        }
        // All that have come: several are one piece of news.
        let came = conn.notifications_iter().collect::<QueryResult<Vec<_>>>().map_err(lost)?;
        Ok(!came.is_empty())
    }))
}
