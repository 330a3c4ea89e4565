//! A place as an operator has it: a directory with jobs.toml, source tables and a store, a database, and the built
//! program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use exhaust::objects::Bucket;

use crate::buckets::{self, TestBucket};
use crate::databases::{self, TestDatabase};
use crate::http;
use crate::reliability::stored_files;

/// The `CREATE TABLE` of the original design, as somebody else's API made it.
pub(crate) const ORIGINAL_TABLE: &str = "CREATE TABLE IF NOT EXISTS job_request (tag VARCHAR(50), request_id VARCHAR(50), \
     job_id VARCHAR(50), status VARCHAR(50), request_data json, requested_by VARCHAR(50), \
     requested_channel VARCHAR(50), download_urls text[], dt_file_created TIMESTAMP, dt_job_submitted TIMESTAMP, \
     dt_job_completed TIMESTAMP, execution_time INTEGER, err_message VARCHAR(100), PRIMARY KEY (tag, request_id))";

/// The two jobs of the design page.
pub(crate) const JOBS: &str = "[[job]]\nid = \"course-report\"\nreport = \"course\"\n\n[[job]]\nid = \
     \"assessment-report\"\naliases = [\"assessment-score-report\"]\nreport = \"assessment\"\n";

/// An operator's place; removed when it is dropped.
pub(crate) struct Site<'a> {
    directory: tempfile::TempDir,
    pub(crate) database: &'a TestDatabase,
    /// Where reports go, if not into its directory.
    store: Option<Store>,
}

struct Store {
    environment: Vec<(&'static str, String)>,
    bucket: Bucket,
}

/// Runs `test` on each database with a store in a directory, and on SQLite with each object store: databases and stores
/// know nothing of each other, so the other pairs have nothing new.
pub(crate) fn each(test: impl Fn(&TestDatabase, Option<&TestBucket>)) {
    databases::each(|database| test(database, None));
    buckets::each(|bucket| test(&TestDatabase::sqlite(), Some(bucket)));
}

/// A row as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) status: String,
    pub(crate) message: String,
    pub(crate) urls: Vec<String>,
    pub(crate) stats: Value,
}

/// Writes the tables of one course, `do_1`, with these batches, users and enrolments as CSV.
pub(crate) fn write_one_course(directory: &Path, batches: &str, users: &str, enrolments: &str) {
    for (name, text) in [
        ("course_batch.csv", batches),
        ("user_enrolments.csv", enrolments),
        ("user.csv", users),
        ("user_activity_agg.csv", "activity_id,user_id,context_id,agg,agg_last_updated\n"),
        (
            "content.jsonl",
            "{\"identifier\": \"do_1\", \"name\": \"Course\", \"channel\": \"c\", \"leafNodesCount\": 4}\n",
        ),
        ("content_hierarchy.jsonl", "{\"identifier\": \"do_1\", \"hierarchy\": \"{}\"}\n"),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
}

impl<'a> Site<'a> {
    /// With this jobs.toml besides database, source and store; `source` are further lines of `[source]`.
    pub(crate) fn new(database: &'a TestDatabase, data: &Path, jobs: &str, source: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            "{jobs}\n[database]\n{}[source]\nurl = \"{}\"\n{source}\n[store]\nurl = \"file://reports\"\n",
            database.settings(),
            data.display()
        );
        fs::write(directory.path().join("jobs.toml"), text).unwrap();
        Self { directory, database, store: None }
    }

    /// The same with its reports in this bucket; `None`: in its directory.
    pub(crate) fn storing_in(mut self, bucket: Option<&TestBucket>) -> Self {
        if let Some(bucket) = bucket {
            let file = self.path("jobs.toml");
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains("\"file://reports\""), "{text}");
            fs::write(&file, text.replace("\"file://reports\"", &format!("\"{}\"", bucket.url))).unwrap();
            self.store = Some(Store { environment: bucket.environment(), bucket: bucket.open() });
        }
        self
    }

    /// With further sections of jobs.toml.
    pub(crate) fn with(self, sections: &str) -> Self {
        let file = self.path("jobs.toml");
        fs::write(&file, format!("{}\n{sections}", fs::read_to_string(&file).unwrap())).unwrap();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// As [`Self::new`], with another way to the same database: through a proxy.
    pub(crate) fn through(database: &'a TestDatabase, url: &str, data: &Path, jobs: &str) -> Self {
        let site = Self::new(database, data, jobs, "");
        let file = site.path("jobs.toml");
        fs::write(&file, fs::read_to_string(&file).unwrap().replace(&database.url(), url)).unwrap();
        site
    }

    /// Runs the built program here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_exhaustd"));
        command.current_dir(self.directory.path()).args(arguments);
        for variable in ["DATABASE_URL", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command.envs(self.store.iter().flat_map(|store| store.environment.clone()));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Makes the table as another system has it, and inserts a row the way that system does.
    pub(crate) fn insert(&self, tag: &str, id: &str, job: &str, request_data: &str) {
        let data = request_data.replace('\'', "''");
        self.database.execute(&format!(
            "{ORIGINAL_TABLE}; INSERT INTO job_request (tag, request_id, job_id, status, request_data, requested_by, \
             requested_channel, dt_job_submitted) VALUES ('{tag}', '{id}', '{job}', 'SUBMITTED', '{data}', 'them', \
             'channel', '2026-01-01 00:00:00')"
        ));
    }

    /// Every row, by request id.
    pub(crate) fn rows(&self) -> BTreeMap<String, Seen> {
        let urls = if self.database.is_postgres() { "to_json(download_urls)" } else { "download_urls" };
        let rows = self
            .database
            .query_text(&format!("SELECT request_id, status, err_message, {urls}, job_stats FROM job_request"));
        let seen = |row: Vec<Option<String>>| {
            let [id, status, message, urls, stats] = row.try_into().unwrap();
            let parsed = |text: Option<String>| text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
            let urls = serde_json::from_value(parsed(urls)).unwrap_or_default();
            let seen = Seen {
                status: status.unwrap_or_default(),
                message: message.unwrap_or_default(),
                urls,
                stats: parsed(stats),
            };
            (id.unwrap(), seen)
        };
        rows.into_iter().map(seen).collect()
    }

    /// The file behind a download url, if it is text.
    pub(crate) fn file(&self, url: &str) -> String {
        String::from_utf8(self.bytes(url)).unwrap()
    }

    /// The file behind a download url; that of a bucket comes as clients get it, by a link.
    pub(crate) fn bytes(&self, url: &str) -> Vec<u8> {
        let Some(Store { bucket, .. }) = &self.store else {
            return fs::read(self.path("reports").join(url)).unwrap();
        };
        let link = bucket.sign(&[url], Duration::from_mins(1)).unwrap().remove(0);
        let answer = http::fetch(&link);
        assert_eq!(answer.status, 200, "{link}: {}", String::from_utf8_lossy(&answer.body));
        answer.body
    }

    /// The keys of all files that are in the store under a name, whoever names them.
    pub(crate) fn stored(&self) -> BTreeSet<String> {
        let Some(Store { bucket, .. }) = &self.store else {
            let reports = self.path("reports");
            let key = |file: PathBuf| file.strip_prefix(&reports).unwrap().to_str().unwrap().to_owned();
            return stored_files(&reports).into_iter().map(key).collect();
        };
        // Not what `check` leaves there.
        bucket.list("").unwrap().map(|object| object.unwrap().key).filter(|key| !key.starts_with('.')).collect()
    }

    /// Puts other bytes behind a download url.
    pub(crate) fn overwrite(&self, url: &str, bytes: &[u8]) {
        match &self.store {
            None => {
                let path = self.path("reports").join(url);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            Some(Store { bucket, .. }) => buckets::put(bucket, url, bytes.to_vec()),
        }
    }

    /// Removes the file behind a download url.
    pub(crate) fn remove(&self, url: &str) {
        match &self.store {
            None => fs::remove_file(self.path("reports").join(url)).unwrap(),
            Some(Store { bucket, .. }) => bucket.remove(url).unwrap(),
        }
    }

    /// The file behind a download url, where other programs can open it.
    pub(crate) fn on_disk(&self, url: &str) -> PathBuf {
        if self.store.is_none() {
            return self.path("reports").join(url);
        }
        let path = self.path("downloads").join(url);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, self.bytes(url)).unwrap();
        path
    }
}

/// A fixture of this repository.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// What a program printed, for messages.
pub(crate) fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
