//! Engines for tests: Sail, which `scripts/with-sail` starts, and Spark, which `scripts/with-spark` does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use exhaust::sources::sql::{self, Access, Config, EngineRelations, EngineUrl};
use exhaust::sources::{Settings, Source};
use exhaust::tables::chunk::{Chunk, Texts};
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::{Column, Table};

/// The URL of Sail. `None`, said loudly, where it is not running; with CI=true that is a failure.
pub(crate) fn sail() -> Option<String> {
    started("EXHAUST_TEST_SAIL")
}

/// The same of one with a driver and workers, which notes the jobs that it runs.
pub(crate) fn sail_cluster() -> Option<String> {
    started("EXHAUST_TEST_SAIL_CLUSTER")
}

/// Where Sail is installed, to start one of one's own.
pub(crate) fn sail_program() -> Option<PathBuf> {
    started("EXHAUST_TEST_SAIL_PROGRAM").map(PathBuf::from)
}

fn started(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok();
    if url.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set: no test with an engine");
        eprintln!("skipped: this test with an engine: {variable} is not set (scripts/with-sail sets it)");
    }
    url
}

/// Runs `test` with Sail, and with Spark where `scripts/with-spark` has started one (`scripts/test-all`).
pub(crate) fn each(test: impl Fn(&str, &str)) {
    on([("Sail", sail()), ("Spark", spark())], test);
}

/// The same, and with Sail as a cluster.
pub(crate) fn each_and_cluster(test: impl Fn(&str, &str)) {
    on([("Sail", sail()), ("Sail's cluster", sail_cluster()), ("Spark", spark())], test);
}

fn spark() -> Option<String> {
    std::env::var("EXHAUST_TEST_SPARK").ok()
}

fn on<const N: usize>(engines: [(&str, Option<String>); N], test: impl Fn(&str, &str)) {
    for (name, url) in engines {
        if let Some(url) = url {
            eprintln!("on {name}");
            test(name, &url);
        }
    }
}

/// How the jobs of a user of Sail's cluster stand, as it says itself, sorted.
pub(crate) fn jobs(url: &str, user: &str) -> Vec<String> {
    let of_user = format!(
        "(SELECT j.status AS userid FROM system.execution.jobs AS j JOIN system.session.sessions AS s \
         ON j.session_id = s.session_id WHERE s.user_id = '{user}')"
    );
    let source = at(url, &[(Table::User, of_user)], Settings::new(chrono_tz::UTC));
    let statuses = Mutex::new(Vec::new());
    let take = |chunk: &Chunk| {
        let texts = Texts::of(&chunk.columns()[0]);
        statuses.lock().unwrap().extend(chunk.rows().map(|row| texts.get(row).to_owned()));
    };
    source.read(&Scan::everything(Table::User, vec![Column::key("userid")]), &take).unwrap();
    let mut statuses = statuses.into_inner().unwrap();
    statuses.sort_unstable();
    statuses
}

/// What stands after `FROM` for Parquet files.
pub(crate) fn parquet(path: &Path) -> String {
    format!("parquet.`{}`", path.display())
}

/// A source with these tables in the engine at a URL.
pub(crate) fn at(url: &str, tables: &[(Table, String)], settings: Settings) -> Arc<dyn Source> {
    let relations = EngineRelations::from(tables.iter().cloned());
    let access = Access::SparkConnect { url: EngineUrl::parse(url).unwrap(), token: None };
    sql::open(&Config { access, relations, stage: None }, settings).unwrap()
}
