//! `exhaustd retention`: remove finished requests and their files, once.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::print::outln;
use super::text::{iso, table, time};
use super::{CommandError, block_on, load_config, open_app, open_to_read, signals};
use crate::config::{Config, parse_duration};
use crate::worker::retention::{Removed, Swept, sweep_with};

/// Remove finished requests and their files that are older than `[worker] retention`.
///
/// COMPLETED and FAILED rows of the jobs in jobs.toml go, the oldest first, each after its files. So
/// do files in the store that no request names any more, and files that were begun and never
/// finished. Open requests, rows of other systems and anything else in the store's directory stay.
///
/// What the store refuses to remove is kept with its row and tried again the next time; the exit
/// code is 1 then. The command may be interrupted at any time, and run while daemons work.
///
/// See first what would go:
///   exhaustd retention --dry-run --older-than 90d
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// List what would be removed, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// The age from which on requests are removed, such as 30d or 12h, instead of what jobs.toml says.
    #[arg(long, value_name = "TIME")]
    older_than: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let age = age(arguments, &config)?;
    if arguments.dry_run {
        // Nothing is made or changed, the tables included.
        open_to_read(&config)?;
    }
    let app = open_app(config)?;
    if !arguments.dry_run {
        if app.config.get().database.migrate {
            app.queue.migrate(false)?;
        }
        app.queue.check()?;
        app.queue.check_writable(true)?;
    }
    let mut removed = Vec::new();
    let swept = block_on(async {
        tokio::spawn(signals::stop_on_signals(signals::signals()?, app.stop.clone()));
        // Millions may be removed: only a dry run lists them.
        let mut tell = |one| {
            if arguments.dry_run {
                removed.push(one);
            }
        };
        Ok::<_, CommandError>(sweep_with(&app, age, arguments.dry_run, &mut tell).await?)
    })?;
    if arguments.json {
        outln!("{}", answer(arguments.dry_run, &swept, &removed));
    } else {
        print_all(arguments.dry_run, &swept, &removed);
    }
    match swept.kept {
        0 if app.stop.is_set() => {
            Err(CommandError::Failed("stopped before the end: the rest is still there".to_owned()))
        }
        0 => Ok(()),
        kept => Err(CommandError::Failed(format!("{kept} rows or files are kept: the store refused, see above"))),
    }
}

fn age(arguments: &Arguments, config: &Config) -> Result<Duration, CommandError> {
    match (&arguments.older_than, config.worker.retention) {
        (Some(text), _) => match parse_duration(text) {
            Ok(age) if age.is_zero() => Err(CommandError::Usage("--older-than must be longer than nothing".to_owned())),
            Ok(age) => Ok(age),
            Err(what) => Err(CommandError::Usage(format!("--older-than {what}"))),
        },
        (None, Some(age)) => Ok(age),
        (None, None) => {
            let what = "`[worker] retention` is off in jobs.toml: say --older-than 30d";
            Err(CommandError::Usage(what.to_owned()))
        }
    }
}

fn print_all(dry_run: bool, swept: &Swept, removed: &[Removed]) {
    let line = |one: &Removed| match one {
        Removed::Row { row, job_id, files, bytes } => [
            row.key.tag.clone(),
            row.key.request_id.clone(),
            job_id.clone(),
            time(Some(row.completed)),
            files.to_string(),
            bytes.to_string(),
        ],
        Removed::Orphan(report) => [
            report.origin.tag.clone(),
            report.origin.request_id.clone(),
            "(no request names it)".to_owned(),
            time(Some(report.modified.into())),
            "1".to_owned(),
            report.bytes.to_string(),
        ],
    };
    if !removed.is_empty() {
        let lines: Vec<[String; 6]> = removed.iter().map(line).collect();
        outln!("{}", table(["TAG", "REQUEST", "JOB", "ENDED", "FILES", "BYTES"], &lines));
    }
    let Swept { rows, files, orphans, bytes, .. } = swept;
    let what = if dry_run { "would be removed" } else { "removed" };
    outln!("{what}: {rows} requests with {files} files, {orphans} files that no request names; {bytes} bytes");
}

fn answer(dry_run: bool, swept: &Swept, removed: &[Removed]) -> Value {
    let mut answer = json!({
        "dry_run": dry_run,
        "rows": swept.rows,
        "files": swept.files,
        "orphans": swept.orphans,
        "bytes": swept.bytes,
        "kept": swept.kept,
    });
    if dry_run {
        let one = |removed: &Removed| match removed {
            Removed::Row { row, job_id, files, bytes } => json!({
                "tag": row.key.tag,
                "request_id": row.key.request_id,
                "job_id": job_id,
                "dt_job_completed": iso(Some(row.completed)),
                "files": files,
                "bytes": bytes,
            }),
            Removed::Orphan(report) => json!({
                "orphan": report.key.as_str(),
                "modified": iso(Some(report.modified.into())),
                "bytes": report.bytes,
            }),
        };
        answer["removed"] = removed.iter().map(one).collect();
    }
    answer
}
