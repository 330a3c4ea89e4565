//! The configuration, ready to use: every value present, every reference resolved.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

pub use crate::document::Secret;
use crate::objects;
use crate::outputs::CsvOptions;
use crate::outputs::LinkHost;
pub use crate::outputs::{Compress, Zip};
use crate::reports::{JobReport, Options};
use crate::sources::configured::SourceConfig;
use crate::tables::schema::Table;

/// The whole of jobs.toml.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it came from; relative paths are relative to its directory.
    pub file: PathBuf,
    /// For schedules and for dates in reports.
    pub timezone: Tz,
    /// The jobs, in the file's order.
    pub jobs: Vec<Arc<Job>>,
    /// `[database]`
    pub database: Database,
    /// `[source]` and `[source.<name>]`
    pub sources: Sources,
    /// `[store]`
    pub store: Store,
    /// `[worker]`
    pub worker: Worker,
    /// `[api]`, `None` while `listen` is not set.
    pub api: Option<Api>,
    /// `[log] format`
    pub log_format: LogFormat,
    /// `[audit]`
    pub audit: Audit,
    /// `[secrets] key`
    pub secrets_key: Option<Secret>,
    /// What it was read from.
    pub(super) written: Written,
}

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: time, level, target, message, fields.
    #[default]
    Text,
    /// A JSON object for each event.
    Json,
}

/// `[audit]`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// How long a row is kept.
    pub keep: Duration,
    /// How many are kept.
    pub rows: u64,
}

/// What a configuration was read from, to be read again with other values of some keys. Equal to any other, and not shown.
#[derive(Clone)]
pub(super) struct Written(pub(super) Arc<super::input::Input>);

impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("_")
    }
}

/// How many digits of [`Config::fingerprint`] name what decides reports.
pub const REPORT_DIGITS: usize = 8;

impl Config {
    /// The jobs that are on, those first that are scanned first.
    #[must_use]
    pub fn enabled_jobs(&self) -> Vec<Arc<Job>> {
        let mut jobs: Vec<Arc<Job>> = self.jobs.iter().filter(|job| job.enabled).cloned().collect();
        jobs.sort_by_key(|job| job.priority);
        jobs
    }

    /// The files of the queries of reports in SQL.
    #[must_use]
    pub fn query_files(&self) -> Vec<PathBuf> {
        let directory = self.file.parent().unwrap_or(Path::new(""));
        self.jobs.iter().filter_map(|job| Some(directory.join(&job.report.query()?.file))).collect()
    }

    /// Names this configuration in 16 digits: equal for equal ones of one version of the program, wherever their file is.
    /// Secrets are no part of it. The first [`REPORT_DIGITS`] are equal where the same request gets the same files in the same
    /// place: jobs, sources, store and time zone are.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let Self { sources, store, timezone, .. } = self;
        // Whether, when and for how long a job is worked on changes no report.
        let as_reports = |job: &Arc<Job>| Job { enabled: true, priority: 0, max_runtime: None, ..Job::clone(job) };
        let jobs: Vec<Job> = self.jobs.iter().map(as_reports).collect();
        let of_reports = format!("{jobs:?} {sources:?} {store:?} {timezone:?}");
        let all = format!("{:?}", Self { file: PathBuf::new(), ..self.clone() });
        [of_reports, all]
            .iter()
            .flat_map(|shown| Sha256::digest(shown).into_iter().take(4))
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    }
}

/// A `[[job]]`.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "as many as jobs.toml has")]
pub struct Job {
    /// `job_request.job_id`
    pub id: String,
    /// Other ids for the same job.
    pub aliases: Vec<String>,
    /// The report that makes it.
    pub report: JobReport,
    /// When to scan, or when a standalone job makes its request.
    pub schedule: super::cron::Cron,
    /// How its requests come about.
    pub mode: Mode,
    /// Whether it is on: its requests are taken and made.
    pub enabled: bool,
    /// Of jobs that are due at the same moment the lowest is scanned first.
    pub priority: i8,
    /// Where its files go unless the request says so.
    pub report_path: String,
    /// Attempts before a failure that may pass becomes FAILED.
    pub max_attempts: u32,
    /// How long an attempt may work on a request.
    pub max_runtime: Option<Duration>,
    /// Most batches of one request.
    pub max_batches: usize,
    /// Scan at once after a submit that notifies.
    pub on_submit: bool,
    /// The course's channel must equal `requested_channel`.
    pub own_channel_only: bool,
    /// A request without a key is refused.
    pub require_encryption: bool,
    /// How protected files are zipped.
    pub zip: Zip,
    /// Whether csv and json files are compressed.
    pub compress: Compress,
    /// What changes the report.
    pub options: Options,
    /// What changes its CSV.
    pub csv: CsvOptions,
}

impl Job {
    /// The id and every alias.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// How a job's requests come about.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// From rows that clients write.
    Request,
    /// From its own schedule, with this jobConfig (a JSON object).
    Standalone(serde_json::Value),
}

/// `[database]`
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// Where the `job_request` table is.
    pub url: DatabaseUrl,
    /// Apply migrations at start.
    pub migrate: bool,
    /// How connections to a postgres database are pooled; `None`: it is recognised.
    pub pooler: Option<Pooler>,
    /// A `postgres://…` URL of the same database that no pooler of transactions is in the way of: for migrations and for
    /// hearing of submissions.
    pub direct_url: Option<Secret>,
}

/// What is between the program and a postgres database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooler {
    /// Nothing.
    None,
    /// A pooler that gives each connection a session of its own.
    Session,
    /// A pooler that gives each transaction a session.
    Transaction,
}

/// A database by URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file.
    Sqlite(PathBuf),
    /// A `postgres://…` URL, secrets included.
    Postgres(Secret),
}

/// `[source]`, and the further sources under it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sources {
    /// Those that a table comes from, `[source]` itself first; each table comes from one of them.
    pub used: Vec<NamedSource>,
    /// Names of those that no table comes from: `source.lake`.
    pub unused: Vec<String>,
    /// How many unusable rows are tolerated.
    pub max_bad_rows: MaxBadRows,
}

/// A source, and what comes from it.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSource {
    /// `source`, or `source.<name>`.
    pub name: String,
    /// The tables that it has.
    pub tables: Vec<Table>,
    /// Where it is.
    pub config: SourceConfig,
}

/// Unusable rows are too many where both bounds are exceeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxBadRows {
    /// Share of all rows.
    pub share: f64,
    /// Their number.
    pub at_least: u64,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Where files go.
    pub place: StorePlace,
    /// How long signed links hold.
    pub signed_url_ttl: Duration,
    /// Key of signed links of a local store.
    pub link_key: Option<Secret>,
}

/// Where finished files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorePlace {
    /// A directory.
    Directory(PathBuf),
    /// A place in an object store.
    Objects(objects::BucketConfig),
}

/// `[worker]`
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Rows per scan.
    pub claim: u32,
    /// How long a claim is believed without being renewed.
    pub lease: Duration,
    /// Threads for CPU work; never 0 here.
    pub threads: usize,
    /// Bytes for loaded data; beyond it a group is worked in parts.
    pub memory: u64,
    /// Batches of a request, above which several daemons work on it in parts.
    pub split_above: usize,
    /// Bytes of a `request_data`; a row with more is FAILED, and a submission with more is refused.
    pub max_request_data: u64,
    /// Crashes while alone before a row is FAILED.
    pub max_crashes: u32,
    /// Take over PROCESSING rows without a lease after this long.
    pub adopt_after: Option<Duration>,
    /// How long a stop waits for work in progress.
    pub stop_timeout: Duration,
    /// Most of one tag in work.
    pub per_tag: TenantLimit,
    /// Most of one channel in work.
    pub per_channel: TenantLimit,
    /// Finished rows and files older than this are removed.
    pub retention: Option<Duration>,
}

/// Most that one tenant may have in work; `None`: any amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimit {
    /// Requests, over all daemons.
    pub requests: Option<u32>,
    /// Bytes of loaded data, of the requests that are worked on together.
    pub bytes: Option<u64>,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What links begin with.
    pub public_url: String,
    /// Whether `/metrics` needs no key.
    pub metrics_public: bool,
    /// Hosts that URLs in rows of others may lead to. Changes while the program runs.
    pub link_hosts: Vec<LinkHost>,
    /// Proxies whose `X-Forwarded-For` says where a call comes from.
    pub trusted_proxies: Vec<IpNet>,
    /// `[[api.keys]]`
    pub keys: Vec<ApiKey>,
    /// Whether calls need a key. With no key left nobody may call then.
    pub keyed: bool,
}

impl Api {
    /// What links begin with. `bound` is where it listens in fact: another port where `listen` leaves it open (0).
    #[must_use]
    pub fn links_begin_with(&self, bound: SocketAddr) -> String {
        let open = format!("http://{}", self.listen);
        if self.listen.port() == 0 && self.public_url == open {
            format!("http://{bound}")
        } else {
            self.public_url.clone()
        }
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Submit, read, cancel and retry single requests.
    #[default]
    Client,
    /// Read, but no links and not who asked.
    Viewer,
    /// What a client may, and act on many requests at once and pause tenants.
    Operator,
    /// Everything, of all tenants.
    Admin,
}

impl Role {
    /// Every role, by its name.
    pub const ALL: [(&'static str, Self); 4] =
        [("client", Self::Client), ("viewer", Self::Viewer), ("operator", Self::Operator), ("admin", Self::Admin)];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// An `[[api.keys]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// For the log.
    pub name: String,
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// What it may do.
    pub role: Role,
    /// Globs of tags it covers.
    pub tags: Vec<String>,
    /// Globs of channels it covers; empty: all.
    pub channels: Vec<String>,
    /// Calls per minute.
    pub per_minute: Option<u32>,
    /// Open requests at a time.
    pub open_requests: Option<u32>,
    /// The last instant at which it is accepted; `None`: it never expires.
    pub not_after: Option<DateTime<Utc>>,
}
