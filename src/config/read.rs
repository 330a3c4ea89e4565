//! From the document to the configuration: one function for each section.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono_tz::Tz;

use super::api;
use super::checked::{
    Config, CsvDialect, Database, DatabaseUrl, MaxBadRows, Pooler, Secret, Source, SourcePlace, SourceTable, Store,
    StorePlace, TenantLimit, Worker,
};
use super::environment::Environment;
use super::errors::Faults;
use super::jobs;
use super::keys::of_table;
use super::raw::{Table, Value};
use super::section::Section;
use super::urls::Urls;
use super::zones;
use crate::reports::Report;
use crate::tables::schema::Table as PlatformTable;

/// What S3 allows for signed links.
const LONGEST_LINK: Duration = Duration::from_hours(7 * 24);

/// The fewest characters of `[secrets] key`.
const SHORTEST_SECRET: usize = 16;

/// Reads the whole document. What comes out is right only if no fault was noted.
pub(super) fn config(
    document: &Table,
    file: &Path,
    environment: &Environment,
    reports: &[&'static dyn Report],
    faults: &Faults,
) -> Config {
    let top = Section::top(document, faults);
    let directory = file.parent().unwrap_or(Path::new(""));
    let urls = Urls { directory, tls: cfg!(feature = "tls"), objects: environment.objects(), faults };
    Config {
        file: file.to_owned(),
        timezone: timezone(&top).unwrap_or(Tz::UTC),
        jobs: jobs::jobs(&top.sections("job", "job"), file, reports).into_iter().map(Arc::new).collect(),
        database: database(&top.section("database", "database"), &urls),
        source: source(&top.section("source", "source"), &urls),
        store: store(&top.section("store", "store"), &urls),
        worker: worker(&top.section("worker", "worker"), environment),
        api: api::api(&top.section("api", "api"), file),
        secrets_key: secrets_key(&top.section("secrets", "secrets")),
    }
}

/// Everything that is sealed hangs on it: a short one could be tried out.
fn secrets_key(section: &Section<'_>) -> Option<Secret> {
    let (key, place) = section.filled("key")?;
    if key.chars().count() < SHORTEST_SECRET {
        section.faults.add(place, format!("`key` must have at least {SHORTEST_SECRET} characters"));
        return None;
    }
    Some(Secret::new(key.to_owned()))
}

fn timezone(top: &Section<'_>) -> Option<Tz> {
    let (name, place) = top.text("timezone")?;
    zones::parse(name).map_err(|unknown| top.faults.add_meant(place, unknown.what, unknown.meant)).ok()
}

fn database(section: &Section<'_>, urls: &Urls<'_>) -> Database {
    let url = section.filled("url").and_then(|(url, place)| urls.database(url, place));
    let poolers = [
        ("auto", None),
        ("none", Some(Pooler::None)),
        ("session", Some(Pooler::Session)),
        ("transaction", Some(Pooler::Transaction)),
    ];
    Database {
        url: url.unwrap_or_else(|| DatabaseUrl::Sqlite(urls.directory.join("var/exhaust.db"))),
        migrate: section.boolean("migrate").unwrap_or(true),
        pooler: section.one_of("pooler", &poolers).unwrap_or_default(),
        direct_url: section.filled("direct_url").and_then(|(url, place)| urls.postgres_source(url, place)),
    }
}

fn source(section: &Section<'_>, urls: &Urls<'_>) -> Source {
    let is_postgres = section.one_of("kind", &[("files", false), ("postgres", true)]).unwrap_or(false);
    let url = section.filled("url");
    let csv_dialect = csv_dialect(section).unwrap_or(CsvDialect::Rfc4180);
    let schema = section.filled("schema").map_or("public", |(schema, _)| schema).to_owned();
    let files = |place: Option<SourcePlace>| {
        place.unwrap_or_else(|| SourcePlace::Files { directory: urls.directory.join("data"), csv_dialect })
    };
    let place = if !is_postgres {
        files(url.and_then(|(url, place)| urls.files_source(url, csv_dialect, place)))
    } else if let Some((url, place)) = url {
        urls.postgres_source(url, place).map_or_else(|| files(None), |url| SourcePlace::Postgres { url, schema })
    } else {
        if let Some(kind) = section.node("kind").filter(|_| section.node("url").is_none()) {
            section.faults.add(&kind.place, "`kind = \"postgres\"` needs `url = \"postgres://…\"`");
        }
        files(None)
    };
    Source {
        place,
        max_bad_rows: max_bad_rows(&section.section("max_bad_rows", "source.max_bad_rows")),
        tables: source_tables(&section.section("tables", "source.tables")),
    }
}

fn csv_dialect(section: &Section<'_>) -> Option<CsvDialect> {
    let dialects = [("rfc4180", CsvDialect::Rfc4180), ("spark", CsvDialect::Spark), ("cqlsh", CsvDialect::Cqlsh)];
    section.one_of("csv_dialect", &dialects)
}

/// Only tables of which something is said.
fn source_tables(section: &Section<'_>) -> BTreeMap<PlatformTable, SourceTable> {
    let tables = PlatformTable::ALL.into_iter().filter_map(|table| {
        section.node(table.name())?;
        let own = section.section(table.name(), of_table(table.name()));
        Some((table, SourceTable { csv_dialect: csv_dialect(&own) }))
    });
    tables.filter(|(_, table)| *table != SourceTable::default()).collect()
}

fn max_bad_rows(section: &Section<'_>) -> MaxBadRows {
    MaxBadRows { share: section.share("share").unwrap_or(0.001), at_least: section.number("at_least", 0).unwrap_or(10) }
}

fn store(section: &Section<'_>, urls: &Urls<'_>) -> Store {
    let url = section.filled("url").and_then(|(url, place)| urls.store(url, place));
    let ttl = section.duration("signed_url_ttl", false).and_then(|(ttl, place)| {
        let what = if ttl > LONGEST_LINK {
            "at most 7d, object stores sign no longer"
        } else if ttl < Duration::from_secs(1) {
            "at least 1s"
        } else {
            return Some(ttl);
        };
        section.faults.add(place, format!("`signed_url_ttl` must be {what}"));
        None
    });
    Store {
        place: url.unwrap_or_else(|| StorePlace::Directory(urls.directory.join("var/reports"))),
        signed_url_ttl: ttl.unwrap_or(Duration::from_hours(24)),
        link_key: section.secret("link_key"),
    }
}

fn worker(section: &Section<'_>, environment: &Environment) -> Worker {
    let threads = section.number("threads", 0).filter(|&threads: &usize| threads > 0);
    let duration = |key, zero| section.duration(key, zero).map(|(duration, _)| duration);
    Worker {
        claim: section.number("claim", 1).unwrap_or(500),
        lease: duration("lease", false).unwrap_or(Duration::from_mins(2)),
        threads: threads.unwrap_or_else(|| environment.cores()),
        memory: section.size("memory").unwrap_or(2 << 30),
        max_request_data: section.size("max_request_data").unwrap_or(64 << 10),
        max_crashes: section.number("max_crashes", 1).unwrap_or(5),
        adopt_after: section.duration_or_off("adopt_after"),
        stop_timeout: duration("stop_timeout", true).unwrap_or(Duration::from_secs(30)),
        per_tag: tenant_limit(section, "per_tag", "worker.per_tag"),
        per_channel: tenant_limit(section, "per_channel", "worker.per_channel"),
        retention: section.duration_or_off("retention"),
    }
}

/// A number of requests, or a table.
fn tenant_limit(worker: &Section<'_>, key: &'static str, dotted: &'static str) -> TenantLimit {
    let Some(node) = worker.node(key) else { return TenantLimit::default() };
    match node.value {
        Value::Table(_) => {
            let section = worker.section(key, dotted);
            TenantLimit { requests: section.number("requests", 1), bytes: section.size("bytes") }
        }
        Value::Integer(_) | Value::Loose(_) => TenantLimit { requests: worker.number(key, 1), bytes: None },
        _ => {
            worker.wrong_type(key, "a whole number or a table such as { requests = 100, bytes = \"1GiB\" }", node);
            TenantLimit::default()
        }
    }
}
