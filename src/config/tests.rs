//! Files that read: what comes out of them, with the environment, and that the documentation is true.

mod documents;
mod faults;
mod limits;
mod live;
mod sources;
mod urls;
mod variables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checked::{
    Compress, Database, DatabaseUrl, MaxBadRows, Mode, NamedSource, Pooler, Secret, Sources, Store, StorePlace,
    TenantLimit, Worker, Zip,
};
use super::*;
use crate::outputs::CsvOptions;
use crate::reports::{AssessmentOptions, Attempt, Options, registry};
use crate::sources::configured::SourceConfig;
use crate::sources::files::{self, CsvDialect, FilesLocation};
use crate::sources::postgres::{self, Relations};
use crate::tables::schema::Table;

fn no_variables() -> Environment {
    std::iter::empty::<(String, String)>().collect()
}

/// Checks a text as if it stood in conf/jobs.toml.
fn check_with(text: &str, environment: &Environment) -> Result<Config, String> {
    check(text, Path::new("conf/jobs.toml"), environment, registry()).map_err(|errors| errors.to_string())
}

fn good(text: &str) -> Config {
    check_with(text, &no_variables()).unwrap()
}

/// Files in a directory, quoted as RFC 4180 says.
fn files(directory: &str) -> SourceConfig {
    let location = FilesLocation::Directory(PathBuf::from(directory));
    SourceConfig::Files(files::Config { location, tables: CsvDialect::Rfc4180.into() })
}

/// Everything from `[source]`.
fn one_source(config: SourceConfig, max_bad_rows: MaxBadRows) -> Sources {
    let source = NamedSource { name: "source".to_owned(), tables: Table::ALL.to_vec(), config };
    Sources { used: vec![source], unused: Vec::new(), max_bad_rows }
}

#[test]
fn an_empty_file_runs() {
    let config = check_with("", &no_variables().with_cores(6.try_into().unwrap())).unwrap();
    assert_eq!(config.file, Path::new("conf/jobs.toml"));
    assert_eq!(config.timezone, chrono_tz::UTC);
    assert_eq!(config.jobs, []);
    let url = DatabaseUrl::Sqlite(PathBuf::from("conf/var/exhaust.db"));
    assert_eq!(config.database, Database { url, migrate: true, pooler: None, direct_url: None });
    assert_eq!(config.sources, one_source(files("conf/data"), MaxBadRows { share: 0.001, at_least: 10 }));
    let store = Store {
        place: StorePlace::Directory(PathBuf::from("conf/var/reports")),
        signed_url_ttl: Duration::from_hours(24),
        link_key: None,
    };
    assert_eq!(config.store, store);
    let worker = Worker {
        claim: 500,
        lease: Duration::from_mins(2),
        threads: 6,
        memory: 2 * 1024 * 1024 * 1024,
        max_request_data: 65_536,
        split_above: 200,
        max_crashes: 5,
        adopt_after: None,
        stop_timeout: Duration::from_secs(30),
        per_tag: TenantLimit::default(),
        per_channel: TenantLimit::default(),
        retention: None,
    };
    assert_eq!(config.worker, worker);
    assert_eq!(config.api, None);
    assert_eq!(config.secrets_key, None);
}

#[test]
fn a_job_has_defaults() {
    let config = good("[[job]]\nid = 'a'\nreport = 'course'");
    let [job] = config.jobs.as_slice() else { panic!("one job") };
    assert_eq!((job.id.as_str(), job.report.name(), job.schedule.as_str()), ("a", "course", "*/30 * * * * *"));
    assert_eq!(job.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(job.mode, Mode::Request);
    assert_eq!(job.report_path, "reports/");
    assert_eq!((job.max_attempts, job.max_batches), (3, 1000));
    assert!(job.on_submit && !job.own_channel_only && !job.require_encryption);
    assert_eq!((job.zip, job.compress), (Zip::Aes, Compress::None));
    assert_eq!((&job.options, job.csv), (&Options::default(), CsvOptions::default()));
}

#[test]
fn every_key_of_a_job_is_taken() {
    let config = good(
        r#"
        [[job]]
        id = "a"
        aliases = ["b", "c"]
        report = "assessment"
        schedule = "0 0  2 * * MON"
        mode = "standalone"
        config = { batchFilters = ["TPD"], includeExpired = true, batchId = "b-3" }
        report_path = "x/y"
        max_attempts = 7
        max_batches = 8
        on_submit = false
        own_channel_only = true
        require_encryption = false
        zip = "legacy"
        compress = "gzip"
        [job.options]
        apply_privacy_policy = false
        attempt = "latest"
        assessment_content_types = ["Exam", "Quiz"]
        formula_guard = false
        crlf = true
        bom = true
        "#,
    );
    let job = &config.jobs[0];
    assert_eq!(job.names().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!((job.report.name(), job.schedule.as_str()), ("assessment", "0 0 2 * * MON"));
    let job_config = serde_json::json!({"batchFilters": ["TPD"], "includeExpired": true, "batchId": "b-3"});
    assert_eq!(job.mode, Mode::Standalone(job_config));
    assert_eq!((job.report_path.as_str(), job.max_attempts, job.max_batches), ("x/y", 7, 8));
    assert!(!job.on_submit && job.own_channel_only && !job.require_encryption);
    assert!(good("[[job]]\nid = 'a'\nreport = 'course'\nrequire_encryption = true").jobs[0].require_encryption);
    assert_eq!((job.zip, job.compress), (Zip::Legacy, Compress::Gzip));
    let options = Options {
        apply_privacy_policy: false,
        assessment: AssessmentOptions {
            attempt: Attempt::Latest,
            content_types: vec!["Exam".to_owned(), "Quiz".to_owned()],
        },
    };
    assert_eq!(job.options, options);
    assert_eq!(job.csv, CsvOptions { formula_guard: false, crlf: true, bom: true });
}

#[test]
fn every_key_of_the_sections_is_taken() {
    let config = good(
        r#"
        timezone = "Europe/London"
        [database]
        url = "postgres://u:p@h/d"
        migrate = false
        pooler = "transaction"
        direct_url = "postgres://u:p@direct/d"
        [source]
        kind = "postgres"
        url = "postgresql://u:p@h/s"
        schema = "platform"
        max_bad_rows = { share = 0, at_least = 0 }
        [store]
        url = "file:///srv/reports"
        signed_url_ttl = "7d"
        link_key = "lk"
        [worker]
        claim = 1
        lease = "500ms"
        threads = 3
        memory = 1024
        max_request_data = "4MiB"
        max_crashes = 2
        adopt_after = "1h"
        stop_timeout = "0s"
        per_tag = 4
        per_channel = { requests = 5, bytes = "1GiB" }
        retention = "90d"
        [secrets]
        key = "0123456789abcdef"
        "#,
    );
    assert_eq!(config.timezone, chrono_tz::Europe::London);
    let secret = |text: &str| Secret::new(text.to_owned());
    let database = Database {
        url: DatabaseUrl::Postgres(secret("postgres://u:p@h/d")),
        migrate: false,
        pooler: Some(Pooler::Transaction),
        direct_url: Some(secret("postgres://u:p@direct/d")),
    };
    assert_eq!(config.database, database);
    let relations = Relations::in_schema("platform".to_owned());
    let postgres = postgres::Config { url: secret("postgresql://u:p@h/s"), password: None, relations };
    let expected = one_source(SourceConfig::Postgres(postgres), MaxBadRows { share: 0.0, at_least: 0 });
    assert_eq!(config.sources, expected);
    let week = Duration::from_hours(7 * 24);
    let place = StorePlace::Directory(PathBuf::from("/srv/reports"));
    assert_eq!(config.store, Store { place, signed_url_ttl: week, link_key: Some(secret("lk")) });
    let worker = Worker {
        claim: 1,
        lease: Duration::from_millis(500),
        threads: 3,
        memory: 1024,
        max_request_data: 4 << 20,
        split_above: 200,
        max_crashes: 2,
        adopt_after: Some(Duration::from_hours(1)),
        stop_timeout: Duration::ZERO,
        per_tag: TenantLimit { requests: Some(4), bytes: None },
        per_channel: TenantLimit { requests: Some(5), bytes: Some(1 << 30) },
        retention: Some(Duration::from_hours(90 * 24)),
    };
    assert_eq!(config.worker, worker);
    assert_eq!(config.secrets_key, Some(secret("0123456789abcdef")));
}

#[test]
fn the_api_is_off_unless_it_listens() {
    assert_eq!(good("[api]\npublic_url = 'http://x'").api, None);
    assert_eq!(good("[api]\nlisten = 'off'").api, None);
    for (listen, url, is_public) in [
        ("127.0.0.1:8080", "http://127.0.0.1:8080", true),
        ("[::1]:80", "http://[::1]:80", true),
        ("[::ffff:127.0.0.1]:80", "http://[::ffff:127.0.0.1]:80", true),
    ] {
        let api = good(&format!("[api]\nlisten = '{listen}'")).api.unwrap();
        assert_eq!(api.listen.to_string(), listen);
        assert_eq!((api.public_url.as_str(), api.metrics_public), (url, is_public));
        assert_eq!(api.keys, []);
    }
}

#[test]
fn keys_of_the_api() {
    let sha256 = "00ff".repeat(16);
    let api = good(&format!(
        "[api]\nlisten = '0.0.0.0:80'\npublic_url = 'https://x.example/r/'\n[[api.keys]]\nname = 'a'\n\
         sha256 = '{sha256}'\n[[api.keys]]\nname = 'b'\nsha256 = '{}'\ntags = ['t-*']\nchannels = ['c']\n\
         per_minute = 1\nopen_requests = 2\nnot_after = 2027-01-31T00:00:00Z",
        "AbCd".repeat(16),
    ))
    .api
    .unwrap();
    assert_eq!((api.public_url.as_str(), api.metrics_public), ("https://x.example/r", false));
    let [a, b] = api.keys.as_slice() else { panic!("two keys") };
    let bytes: [u8; 32] = std::array::from_fn(|i| if i % 2 == 0 { 0 } else { 255 });
    assert_eq!((a.name.as_str(), a.sha256), ("a", bytes));
    assert_eq!(
        (a.tags.as_slice(), a.channels.len(), a.per_minute, a.open_requests),
        (&["*".to_owned()][..], 0, None, None)
    );
    let bytes: [u8; 32] = std::array::from_fn(|i| if i % 2 == 0 { 0xab } else { 0xcd });
    assert_eq!((b.name.as_str(), b.sha256), ("b", bytes));
    assert_eq!(
        (a.not_after, b.not_after.map(|end| end.to_string())),
        (None, Some("2027-01-31 00:00:00 UTC".to_owned()))
    );
    assert_eq!((b.tags.as_slice(), b.channels.as_slice()), (&["t-*".to_owned()][..], &["c".to_owned()][..]));
    assert_eq!((b.per_minute, b.open_requests), (Some(1), Some(2)));
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let at = |file: &str| {
        let config = check("", Path::new(file), &no_variables(), registry()).unwrap();
        config.store.place
    };
    assert_eq!(at("jobs.toml"), StorePlace::Directory("var/reports".into()));
    assert_eq!(at("/etc/exhaust/jobs.toml"), StorePlace::Directory("/etc/exhaust/var/reports".into()));
}

#[test]
fn secrets_are_not_shown() {
    let config = good(
        "[database]\nurl = 'postgres://u:hunter2@h/d'\n[source]\nkind = 'postgres'\nurl = 'postgres://u:hunter2@h/d'\n\
         [store]\nlink_key = 'hunter2'\n[secrets]\nkey = 'hunter2hunter2hunter2'",
    );
    let shown = format!("{config:?} {config:#?}");
    assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
}
