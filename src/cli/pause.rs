//! `exhaustd pause` and `exhaustd resume`: what operators do to a job, or to all requests of a tenant.

use std::path::Path;

use serde_json::{Value, json};

use super::audit::audit_named;
use super::print::outln;
use super::text::{iso, table, time};
use super::{CommandError, load_config, open_queue};
use crate::config::Config;
use crate::intake;
use crate::requests::{Pause, PauseKind, PauseQueue, Paused, Pauses, QueueError, RequestRow};

/// Pause a job or a tenant: from now on no request of theirs is begun, by any daemon. Those in work go on, and new ones are
/// taken and wait.
#[derive(Debug, clap::Args)]
pub(super) struct PauseArguments {
    #[command(subcommand)]
    what: What,
    /// The reason; clients whose requests wait read it.
    #[arg(long, global = true, value_name = "TEXT")]
    why: Option<String>,
    /// Who pauses it.
    #[arg(long, global = true, value_name = "NAME", default_value = "operator")]
    by: String,
}

/// Resume what was paused: its requests are taken at once.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArguments {
    #[command(subcommand)]
    what: What,
    /// Who resumes it.
    #[arg(long, global = true, value_name = "NAME", default_value = "operator")]
    by: String,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A job of jobs.toml, by its id or an alias.
    Job { id: String },
    /// All requests of a tag.
    Tenant { tag: String },
}

impl What {
    /// With the id of the job, where an alias was given.
    fn named(&self, config: &Config) -> Result<(PauseKind, String), CommandError> {
        match self {
            Self::Tenant { tag } => Ok((PauseKind::Tenant, tag.clone())),
            Self::Job { id } => match intake::find_job(&config.jobs, id) {
                Ok(job) => Ok((PauseKind::Job, job.id.clone())),
                Err(error) => Err(CommandError::Failed(error.to_string())),
            },
        }
    }
}

pub(super) fn pause(arguments: &PauseArguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let (kind, name) = arguments.what.named(&config)?;
    let queue = open_queue(&config)?;
    match queue.pause(kind, &name, &arguments.by, arguments.why.as_deref())? {
        Paused::Done(pause) => {
            audit_named("pause", (kind.as_str(), &name), &arguments.by);
            outln!("{pause}");
            Ok(())
        }
        Paused::Before(pause) => {
            outln!("{pause} (before, nothing changed)");
            Ok(())
        }
        Paused::Refused(daemons) => Err(CommandError::Failed(format!(
            "nothing is paused: these daemons are of an older version, know of no pauses and would go on: {}",
            daemons.join(", ")
        ))),
    }
}

pub(super) fn resume(arguments: &ResumeArguments, config: &Path) -> Result<(), CommandError> {
    let config = load_config(config)?;
    let (kind, name) = match arguments.what.named(&config) {
        Ok(named) => named,
        // The job may be gone from jobs.toml while it was paused.
        Err(error) => match &arguments.what {
            What::Job { id } => (PauseKind::Job, id.clone()),
            What::Tenant { .. } => return Err(error),
        },
    };
    let what = kind.as_str();
    if !open_queue(&config)?.resume(kind, &name)? {
        return Err(CommandError::Failed(format!("{what} {name} is not paused")));
    }
    audit_named("resume", (what, &name), &arguments.by);
    outln!("{what} {name} is resumed");
    Ok(())
}

/// The pauses in force, or why they are not known.
pub(super) struct KnownPauses(Result<Pauses, String>);

/// Looks for pauses.
///
/// # Errors
/// The database cannot be reached.
pub(super) fn find(queue: &dyn PauseQueue) -> Result<KnownPauses, CommandError> {
    match queue.pauses() {
        Err(error @ QueueError::Unreachable(_)) => Err(error.into()),
        known => Ok(KnownPauses(known.map_err(|error| error.to_string()))),
    }
}

impl KnownPauses {
    /// For people; nothing where nothing is paused.
    pub(super) fn shown(&self) -> String {
        let pauses = match &self.0 {
            Err(why) => return format!("\nwhat is paused is not known: {why}\n"),
            Ok(pauses) if pauses.all().is_empty() => return String::new(),
            Ok(pauses) => pauses,
        };
        let line = |pause: &Pause| {
            let why = pause.why.clone().unwrap_or_default();
            [pause.kind.as_str().to_owned(), pause.name.clone(), time(Some(pause.since)), pause.by.clone(), why]
        };
        let lines: Vec<[String; 5]> = pauses.all().iter().map(line).collect();
        format!("\n{}", table(["PAUSED", "NAME", "SINCE", "BY", "WHY"], &lines))
    }

    /// For programs: a list; `null` where they are not known.
    pub(super) fn json(&self) -> Value {
        let one = |pause: &Pause| {
            let Pause { kind, name, by, why, since } = pause;
            json!({ "kind": kind.as_str(), "name": name, "since": iso(Some(*since)), "by": by, "why": why })
        };
        self.0.as_ref().map_or(Value::Null, |pauses| pauses.all().iter().map(one).collect())
    }

    /// Why a request waits, where its job is off, or that or its tenant is paused.
    pub(super) fn of(&self, config: &Config, row: &RequestRow) -> Option<String> {
        let job = intake::find_job(&config.jobs, &row.job_id).ok()?;
        if !job.enabled {
            return Some(format!("job {} is switched off", job.id));
        }
        let pauses = self.0.as_ref().ok()?;
        let pause = pauses.of_job(job.names()).or_else(|| pauses.of_tenant(&row.tag));
        pause.map(ToString::to_string)
    }
}
