//! `exhaustd check`: is jobs.toml right, and can everything it names be reached?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::print::{out, outln};
use super::text::table;
use super::{CommandError, check_rows, load_config, running};
use crate::config::Config;
use crate::config::checked::{DatabaseUrl, Job, Mode, NamedSource, StorePlace, Zip};
use crate::outputs::KEY_FILE;
use crate::reports::query::QueryReport;
use crate::requests::{Clock, Housekeeping, Pooling, QueueError, SystemClock};
use crate::sources::GivenUp;
use crate::sources::query_engine::Question;
use crate::tables::schema::Table;
use crate::worker::open;

/// How many of a schedule's next runs are shown.
const RUNS: usize = 3;

/// Validate jobs.toml, reach the database, the source and the store, look for the tables that the jobs' reports are made of,
/// and show when each job runs next. Ends with 3 if one of these is not usable.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Ask only whether the process of this jobs.toml on this machine turns (`/livez`; without an API, its heartbeat).
    #[arg(long, conflicts_with_all = ["json", "ready"])]
    live: bool,
    /// Ask only whether that process is ready for its work (`/readyz`): database, store, scheduler.
    #[arg(long, conflicts_with = "json")]
    ready: bool,
}

/// What became of one dependency.
struct Reached {
    name: String,
    answer: Result<String, String>,
}

pub(super) fn run(arguments: &Arguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    if arguments.live || arguments.ready {
        return running::ask(&config, if arguments.live { "livez" } else { "readyz" });
    }
    let mut reached = vec![database(&config)];
    reached.extend(sources(&config));
    reached.extend(queries(&config));
    reached.push(store(&config));
    let runs: Vec<(&Arc<Job>, Vec<String>)> = config.jobs.iter().map(|job| (job, next_runs(&config, job))).collect();
    let mut warnings = warnings(&config);
    warnings.extend(check_rows::warnings(&config));
    if arguments.json {
        outln!("{}", as_json(&config, &reached, &runs, &warnings));
    } else {
        print(&config, &reached, &runs);
        for warning in &warnings {
            outln!("warning: {warning}");
        }
    }
    let failed: Vec<&str> = reached.iter().filter(|one| one.answer.is_err()).map(|one| one.name.as_str()).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(CommandError::Unreachable(format!("not usable: {}", failed.join(", "))))
    }
}

fn database(config: &Config) -> Reached {
    let answer = || -> Result<String, QueueError> {
        if let DatabaseUrl::Sqlite(file) = &config.database.url
            && !file.exists()
        {
            return not_there(file, config.database.migrate);
        }
        let queue = open::queue(config, Arc::new(SystemClock), 1)?;
        let missing = queue.migrate(true)?;
        let pooled = pooled(queue.as_ref())?;
        if missing.is_empty() {
            queue.check()?;
            queue.check_writable(config.worker.retention.is_some())?;
            let left: u64 = queue.overview()?.without_lease.values().sum();
            let note = format!("; {left} rows are PROCESSING without a claim of ours");
            return Ok(format!("ready{}{pooled}", if left > 0 { &note } else { "" }));
        }
        if config.database.migrate {
            if !queue.can_listen()? {
                return Err(QueueError::Unfit(format!(
                    "{} statements are to be run, which cannot be{pooled}",
                    missing.len()
                )));
            }
            queue.may_migrate()?;
            Ok(format!("reached; {} statements will be run at start (see migrate --dry-run){pooled}", missing.len()))
        } else {
            queue.check().map(|()| format!("ready{pooled}"))
        }
    };
    Reached { name: "database".to_owned(), answer: answer().map_err(|error| error.to_string()) }
}

/// What is said of a pooler, as a part of a sentence; nothing where there is none.
fn pooled(queue: &dyn Housekeeping) -> Result<String, QueueError> {
    let how = match queue.pooling()? {
        Pooling::None => return Ok(String::new()),
        Pooling::Session => "sessions",
        Pooling::Transaction => "transactions",
    };
    let hears = if queue.can_listen()? {
        ""
    } else {
        "; without [database] direct_url migrations are refused and submissions are found by the schedules"
    };
    Ok(format!("; through a pooler of {how}{hears}"))
}

/// A file that the first start makes, if it can. It is not made here: it would belong to the user who runs `check`.
fn not_there(file: &Path, migrate: bool) -> Result<String, QueueError> {
    if !migrate {
        return Err(QueueError::Unfit(format!("there is no database {} yet: run `exhaustd migrate`", file.display())));
    }
    let above = file.ancestors().skip(1).find(|above| above.exists() || above.as_os_str().is_empty());
    let above = above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A file without a name, gone when it is dropped.
    match tempfile::tempfile_in(above) {
        Ok(_) => Ok("not there yet; it will be made at start".to_owned()),
        Err(error) => Err(QueueError::Unfit(format!(
            "database not writable: {} cannot be made in {}: {error}",
            file.display(),
            above.display()
        ))),
    }
}

/// Every source that a table comes from. A job whose report is made of a table that is not there fails every request.
fn sources(config: &Config) -> Vec<Reached> {
    let reached = |source: &NamedSource| {
        let found = open::member(config, source).and_then(|member| member.found());
        Reached { name: source.name.clone(), answer: found.and_then(|found| tables_there(config, source, &found)) }
    };
    config.sources.used.iter().map(reached).collect()
}

/// What is said of a source that has these of its tables.
fn tables_there(config: &Config, source: &NamedSource, found: &[Table]) -> Result<String, String> {
    let missing = |tables: &[Table]| -> Vec<&str> {
        let missing = tables.iter().filter(|table| source.tables.contains(table) && !found.contains(table));
        missing.map(|table| table.name()).collect()
    };
    let there = format!("{} of {} tables in {}", found.len(), source.tables.len(), source.config.place());
    let lacks = |job: &Arc<Job>| {
        let needs = job.report.needs(&job.options).tables();
        let tables = missing(&needs);
        (!tables.is_empty()).then(|| format!("job {} lacks {}", job.id, tables.join(", ")))
    };
    let lacking: Vec<String> = config.jobs.iter().filter_map(lacks).collect();
    if !lacking.is_empty() {
        return Err(format!("{there}; {}", lacking.join("; ")));
    }
    let missing = missing(&source.tables);
    Ok(if missing.is_empty() { there } else { format!("{there}; not there: {}", missing.join(", ")) })
}

/// The queries of reports in SQL, which their engines prepare and do not run.
fn queries(config: &Config) -> Vec<Reached> {
    let prepared = |report: &QueryReport| -> Result<String, String> {
        let source = open::source(config)?;
        let engine = source.engine(&report.engine).ok_or("its engine answers no queries")?;
        let columns = report.question_columns();
        let values: Vec<_> = report.placeholders().map(|placeholder| (placeholder.text(), Some(""))).collect();
        let given_up: GivenUp = Arc::new(|| false);
        let question = Question {
            query: &report.query,
            columns: &columns,
            batches: &[],
            values: &values,
            time: report.limits.time,
            given_up: &given_up,
        };
        engine.prepare(&question).map_err(|error| error.detail)?;
        Ok(format!("prepared by [{}]", report.engine))
    };
    let of_sql = config.jobs.iter().filter_map(|job| Some((&job.id, job.report.query()?)));
    of_sql.map(|(id, report)| Reached { name: format!("query of {id}"), answer: prepared(report) }).collect()
}

/// Where each table is read: its name, its source, the place.
fn places(config: &Config) -> Vec<[String; 3]> {
    let place = |table: Table| {
        let source = config.sources.used.iter().find(|source| source.tables.contains(&table))?;
        Some([table.name().to_owned(), source.name.clone(), source.config.place_of(table)])
    };
    Table::ALL.into_iter().filter_map(place).collect()
}

fn store(config: &Config) -> Reached {
    let opened = open::store(config).map_err(|error| error.to_string());
    let answer = opened.and_then(|store| store.check().map_err(|error| error.to_string()));
    // Who reads a status of the API gets links.
    let links = if config.api.is_some() { open::check_links(config) } else { Ok(()) };
    let answer = answer.and_then(|()| links.map_err(|error| error.to_string())).map(|()| "writable".to_owned());
    Reached { name: "store".to_owned(), answer }
}

/// What is allowed, and worth a second thought.
fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.api.is_none()
        && open::store(config).is_ok()
        && let Err(error) = open::check_links(config)
    {
        warnings.push(format!("store: {}; `submit --wait` and an API would be refused", error.cause));
    }
    for name in &config.sources.unused {
        warnings.push(format!("no table comes from [{name}]: name it in [source.tables], or remove it"));
    }
    for key in config.api.iter().flat_map(|api| &api.keys) {
        if let Some(last) = key.not_after.filter(|last| SystemClock.now() > *last) {
            warnings.push(format!("key {}: not_after is over since {}", key.name, last.format("%Y-%m-%dT%H:%M:%SZ")));
        }
    }
    warnings.extend(private_files(config).iter().filter_map(|file| open_to_others(file)));
    for job in &config.jobs {
        if job.zip == Zip::Legacy {
            warnings.push(format!(
                "job {}: zip = \"legacy\" protects files with ZipCrypto, which is easily broken; \"aes\" is not",
                job.id
            ));
        }
        if job.require_encryption && config.secrets_key.is_none() {
            warnings.push(format!(
                "job {}: without [secrets] key the encryption keys of its requests are plain in job_request until these \
                 have ended",
                job.id
            ));
        }
    }
    warnings
}

/// Files that hold what only the daemon is to know: requests with their data, and the key of links.
fn private_files(config: &Config) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if let DatabaseUrl::Sqlite(file) = &config.database.url {
        files.extend(["", "-wal", "-shm"].map(|end| {
            let mut name = file.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        }));
    }
    if let (StorePlace::Directory(directory), None) = (&config.store.place, &config.store.link_key) {
        files.push(directory.join(KEY_FILE));
    }
    files
}

/// A warning where more than the owner has rights on a file. They are left as they are: an operator may want them.
fn open_to_others(file: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o7777;
    let shown = file.display();
    (mode & 0o077 != 0)
        .then(|| format!("{shown} can be read by others (mode {mode:04o}); chmod 600 {shown} if nobody else needs it"))
}

fn next_runs(config: &Config, job: &Job) -> Vec<String> {
    if !job.enabled {
        return vec!["switched off".to_owned()];
    }
    let mut runs = Vec::with_capacity(RUNS);
    let mut after = SystemClock.now();
    while runs.len() < RUNS {
        let Some(next) = job.schedule.next_after(after, config.timezone) else { break };
        runs.push(next.with_timezone(&config.timezone).format("%Y-%m-%d %H:%M:%S %z").to_string());
        after = next;
    }
    runs
}

fn print(config: &Config, reached: &[Reached], runs: &[(&Arc<Job>, Vec<String>)]) {
    outln!("{} is valid: {} jobs, times in {}\n", config.file.display(), config.jobs.len(), config.timezone);
    let lines: Vec<[String; 2]> = reached
        .iter()
        .map(|one| {
            let answer = one.answer.clone().unwrap_or_else(|error| format!("NOT USABLE: {error}"));
            [one.name.clone(), answer]
        })
        .collect();
    outln!("{}", table(["DEPENDENCY", "STATE"], &lines));
    outln!("{}", table(["TABLE", "SOURCE", "PLACE"], &places(config)));
    let lines: Vec<[String; 5]> = runs
        .iter()
        .map(|(job, runs)| {
            let mode = match job.mode {
                Mode::Request => "request",
                Mode::Standalone(_) => "standalone",
            };
            let schedule = job.schedule.as_str().to_owned();
            [job.id.clone(), job.report.name().to_owned(), mode.to_owned(), schedule, runs.join(", ")]
        })
        .collect();
    out!("{}", table(["JOB", "REPORT", "MODE", "SCHEDULE", "NEXT RUNS"], &lines));
}

fn as_json(config: &Config, reached: &[Reached], runs: &[(&Arc<Job>, Vec<String>)], warnings: &[String]) -> Value {
    let dependencies: serde_json::Map<String, Value> = reached
        .iter()
        .map(|one| {
            let (Ok(message) | Err(message)) = &one.answer;
            (one.name.clone(), json!({ "ok": one.answer.is_ok(), "message": message }))
        })
        .collect();
    let jobs: Vec<Value> = runs
        .iter()
        .map(|(job, runs)| {
            let runs: &[String] = if job.enabled { runs } else { &[] };
            let schedule = job.schedule.as_str();
            json!({ "id": job.id, "schedule": schedule, "enabled": job.enabled, "next_runs": runs })
        })
        .collect();
    let tables: serde_json::Map<String, Value> = places(config)
        .into_iter()
        .map(|[table, source, place]| (table, json!({ "source": source, "place": place })))
        .collect();
    json!({ "dependencies": dependencies, "tables": tables, "jobs": jobs, "warnings": warnings })
}
