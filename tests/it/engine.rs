//! Engines for tests: Sail, which `scripts/with-sail` starts, and Spark, which `scripts/with-spark` does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::path::Path;
use std::sync::Arc;

use exhaust::sources::sql::{self, Access, Config, EngineRelations, EngineUrl};
use exhaust::sources::{Settings, Source};
use exhaust::tables::schema::Table;

/// The URL of Sail. `None`, said loudly, where it is not running; with CI=true that is a failure.
pub(crate) fn sail() -> Option<String> {
    let variable = "EXHAUST_TEST_SAIL";
    let url = std::env::var(variable).ok();
    if url.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set: no test with an engine");
        eprintln!("skipped: this test with an engine: {variable} is not set (scripts/with-sail sets it)");
    }
    url
}

/// Runs `test` with Sail, and with Spark where `scripts/with-spark` has started one (`scripts/test-all`).
pub(crate) fn each(test: impl Fn(&str, &str)) {
    let spark = std::env::var("EXHAUST_TEST_SPARK").ok();
    for (name, url) in [("Sail", sail()), ("Spark", spark)] {
        if let Some(url) = url {
            eprintln!("on {name}");
            test(name, &url);
        }
    }
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
