//! Stands for somebody else's API, which knows nothing of this program but the original table: it writes rows with
//! plain SQL, naming only the original columns.
//!
//!     cargo run --example external_api -- var/exhaust.db 60

use std::error::Error;

use diesel::{Connection, RunQueryDsl, SqliteConnection, sql_query};
use exhaust::sample_data;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(count)) = (arguments.next(), arguments.next()) else {
        return Err("usage: external_api DATABASE-FILE NUMBER-OF-REQUESTS".into());
    };
    let mut database = SqliteConnection::establish(&file)?;
    // They go with the data set that `exhaustd sample-data` makes when it is told nothing else: each is for one to five of its
    // 25 largest batches.
    let batches = &sample_data::running_batches(0.001, 1)?[..25];
    let count: usize = count.parse()?;
    for n in 0..count {
        let named: Vec<String> = (0..=n % 5).map(|next| format!("\"{}\"", batches[(n + 7 * next) % 25])).collect();
        let job = if n % 3 == 0 { "assessment-report" } else { "course-report" };
        let sql = format!(
            "INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by, requested_channel, \
             dt_job_submitted) VALUES ('client-1', 'request-{n:03}', '{job}', 'SUBMITTED', \
             '{{\"batchFilter\": [{}]}}', 'an-api', 'channel-1', datetime('now'))",
            named.join(", ")
        );
        if n < 2 {
            println!("{sql};");
        }
        sql_query(&sql).execute(&mut database)?;
    }
    println!("… {count} rows inserted");
    Ok(())
}
