//! The commands, one file each. Not here: anything that the daemon or the API does too.
//!
//! Exit codes, decided in this file only: 0 success, 1 some work failed, 2 wrong usage or configuration, 3 a dependency
//! cannot be reached or is not usable.

mod audit;
mod bulk;
mod check;
mod check_rows;
mod daemons;
mod explain;
mod explain_sql;
mod files;
mod filters;
mod in_parts;
mod log_format;
mod migrate;
mod operate;
mod pause;
mod print;
mod progress;
mod retention;
mod row_filter;
mod run;
mod run_now;
mod running;
mod sample_data;
mod scan_words;
mod serve;
mod signals;
mod status;
mod status_parts;
mod submit;
mod text;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::config::checked::DatabaseUrl;
use crate::config::{self, Config, ConfigErrors, Environment};
use crate::reports;
use crate::requests::{Clock, DAEMON_CONNECTIONS, Queue, QueueError, SystemClock};
use crate::worker::{self, AppContext};

/// Makes the reports that clients of a course platform request.
///
/// Clients write rows into the table job_request; the daemon (`exhaustd run`) takes them on the schedules of
/// jobs.toml, makes one file per course batch and writes status, links and timings back.
///
/// To try it out:
///   exhaustd sample-data data
///   exhaustd submit course-report --tag me --framework TPD
///   exhaustd run --once
///   exhaustd status
#[derive(Debug, Parser)]
#[command(name = "exhaustd", version, verbatim_doc_comment)]
struct Arguments {
    /// The configuration file; relative paths in it are relative to its directory.
    #[arg(long, global = true, value_name = "FILE", default_value = "jobs.toml")]
    config: PathBuf,
    /// Log more: -v for what is done, -vv for details. `RUST_LOG` says it finer and wins.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Serve(serve::Arguments),
    Submit(submit::Arguments),
    Status(status::Arguments),
    Retry(operate::Arguments),
    Cancel(operate::CancelArguments),
    RunNow(run_now::Arguments),
    Pause(pause::PauseArguments),
    Resume(pause::ResumeArguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Migrate(migrate::Arguments),
    Retention(retention::Arguments),
    Verify(verify::Arguments),
    SampleData(sample_data::Arguments),
}

/// Why a command failed. Each has its exit code.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// Some work failed.
    #[error("{0}")]
    Failed(String),
    /// Wrong usage.
    #[error("{0}")]
    Usage(String),
    /// Wrong configuration.
    #[error("{0}")]
    Configuration(#[from] ConfigErrors),
    /// A dependency cannot be reached or used.
    #[error("{0}")]
    Unreachable(String),
}

impl From<QueueError> for CommandError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::Unreachable(_) | QueueError::Unfit(_) => Self::Unreachable(error.to_string()),
            QueueError::Refused(_) | QueueError::InvalidCursor | QueueError::TimedOut => {
                Self::Failed(error.to_string())
            }
        }
    }
}

impl CommandError {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) | Self::Configuration(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => return printed(&answer),
    };
    log_to_stderr(&arguments);
    let result = match &arguments.command {
        Command::Run(command) => run::run(command, &arguments.config),
        Command::Serve(_) => serve::run(&arguments.config),
        Command::Submit(command) => submit::run(command, &arguments.config),
        Command::Status(command) => status::run(command, &arguments.config),
        Command::Retry(command) => operate::retry(command, &arguments.config),
        Command::Cancel(command) => operate::cancel(command, &arguments.config),
        Command::RunNow(command) => run_now::run(command, &arguments.config),
        Command::Pause(command) => pause::pause(command, &arguments.config),
        Command::Resume(command) => pause::resume(command, &arguments.config),
        Command::Check(command) => check::run(command, &arguments.config),
        Command::Explain(command) => explain::run(command, &arguments.config),
        Command::Migrate(command) => migrate::run(command, &arguments.config),
        Command::Retention(command) => retention::run(command, &arguments.config),
        Command::Verify(command) => verify::run(command, &arguments.config),
        Command::SampleData(command) => sample_data::run(command),
    };
    exit(result.and_then(|()| print::finish().map_err(CommandError::Failed)))
}

fn exit(result: Result<(), CommandError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print::error_line(&format!("error: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints what clap returns in place of arguments: help, the version, or an error of usage.
fn printed(answer: &clap::Error) -> ExitCode {
    if answer.use_stderr() {
        // Where standard error cannot be written the exit code is all there is.
        let _ = answer.print();
        return ExitCode::from(CommandError::Usage(String::new()).exit_code());
    }
    print::write(|| answer.print());
    exit(print::finish().map_err(CommandError::Failed))
}

/// One line per event. The daemon logs what it does; commands that end log only warnings and errors, unless -v is given.
fn log_to_stderr(arguments: &Arguments) {
    let quiet = match &arguments.command {
        Command::Run(run) => run.once,
        Command::Serve(_) => false,
        _ => true,
    };
    let level = match (arguments.verbose, quiet) {
        // What is done to requests is always logged.
        (0, true) => "warn,audit=info",
        (0, false) | (1, true) => "info,tokio_cron_scheduler=warn",
        _ => "debug",
    };
    let priority = log_format::journal_reads_stderr(Environment::process().variable("JOURNAL_STREAM").ok().flatten());
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format(move |line, record| {
            let (level, style) = (record.level(), line.default_level_style(record.level()));
            let level = format!("{style}{level:<5}{style:#}");
            log_format::write(line, record, SystemClock.now(), (&level, priority))
        })
        .init();
}

fn load_config(file: &std::path::Path) -> Result<Config, CommandError> {
    let config = config::load(file, &Environment::process(), reports::registry())?;
    log_format::set(config.log_format);
    Ok(config)
}

/// The queue, for commands that only read it: the table is neither created nor migrated.
fn open_to_read(config: &Config) -> Result<Arc<dyn Queue>, CommandError> {
    if let DatabaseUrl::Sqlite(file) = &config.database.url
        && !file.exists()
    {
        let what = format!("there is no database {} yet: run `exhaustd migrate`", file.display());
        return Err(CommandError::Unreachable(what));
    }
    let queue = worker::open::queue(config, Arc::new(SystemClock), DAEMON_CONNECTIONS)?;
    queue.check()?;
    Ok(queue)
}

/// The queue, for commands that write to it: migrated first if jobs.toml allows.
fn open_queue(config: &Config) -> Result<Arc<dyn Queue>, CommandError> {
    let queue = worker::open::queue(config, Arc::new(SystemClock), DAEMON_CONNECTIONS)?;
    if config.database.migrate {
        queue.migrate(false)?;
    }
    Ok(queue)
}

fn open_app(config: Config) -> Result<AppContext, CommandError> {
    Ok(worker::open::app_context(config, Arc::new(SystemClock))?)
}

impl From<worker::open::OpenError> for CommandError {
    fn from(error: worker::open::OpenError) -> Self {
        use worker::open::OpenError;
        match error {
            OpenError::Queue(error) => error.into(),
            OpenError::Source(_) | OpenError::Store(_) => Self::Usage(error.to_string()),
            OpenError::Threads(_) | OpenError::LinkKey(_) => Self::Failed(error.to_string()),
        }
    }
}

/// Runs the daemon or the API. At its end no thread is waited for: a call to a database that does not answer would keep the
/// process for ever.
fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CommandError::Failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
