//! Notifications of submissions: `NOTIFY exhaust_job_request`, sent by our transactions and by any other writer.

use std::time::{Duration, Instant};

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_query;

use super::super::failures;
use super::super::listener::Listener;
use super::super::types::QueueError;

/// How often a listener checks that its connection is alive. Nothing else shows it.
const ASK: Duration = Duration::from_secs(10);

/// A listener with its own connection.
pub(super) fn listen(mut conn: PgConnection) -> Result<Listener, QueueError> {
    let listen = |error| failures::statement("listen on exhaust_job_request", &error);
    sql_query("LISTEN exhaust_job_request").execute(&mut conn).map_err(listen)?;
    // From here on, only the connection can fail.
    let lost = |error: diesel::result::Error| QueueError::Unreachable(format!("the listener is lost: {error}"));
    let mut asked = Instant::now();
    Ok(Listener::new(move || {
        if asked.elapsed() > ASK {
            sql_query("SELECT 1").execute(&mut conn).map_err(lost)?;
            asked = Instant::now();
        }
        // Takes all notifications that have come; several count as one.
        let came = conn.notifications_iter().collect::<QueryResult<Vec<_>>>().map_err(lost)?;
        Ok(!came.is_empty())
    }))
}
