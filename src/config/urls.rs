//! URLs of databases, sources and stores. Messages name the scheme alone: the rest may hold a password.

use std::path::{Path, PathBuf};

use super::checked::{CsvDialect, DatabaseUrl, Secret, SourcePlace, StorePlace};
use super::errors::{Faults, Place, listed, near_miss};
use crate::objects::{self, Location};

/// Where URLs are read: relative paths are relative to a directory.
pub(super) struct Urls<'a> {
    /// The directory of jobs.toml.
    pub(super) directory: &'a Path,
    /// Whether this build can speak TLS to a database.
    pub(super) tls: bool,
    /// What the environment says of object stores.
    pub(super) objects: objects::Settings,
    pub(super) faults: &'a Faults,
}

/// Schemes of postgres URLs, as libpq knows them.
const POSTGRES: [&str; 2] = ["postgres", "postgresql"];

impl Urls<'_> {
    /// `[database] url`: `sqlite://…` or `postgres://…`.
    pub(super) fn database(&self, url: &str, place: &Place) -> Option<DatabaseUrl> {
        const KNOWN: [&str; 3] = ["sqlite", "postgres", "postgresql"];
        match self.split(url, place, "sqlite://var/exhaust.db", &KNOWN)? {
            ("sqlite", ":memory:") => {
                self.faults.add(place, "a database in memory is gone with the process; name a file");
                None
            }
            ("sqlite", path) => self.path(path, place).map(DatabaseUrl::Sqlite),
            (scheme, _) if POSTGRES.contains(&scheme) => self.postgres(url, place).map(DatabaseUrl::Postgres),
            (scheme, _) => self.unknown(scheme, place, &KNOWN),
        }
    }

    /// `[source] url` of kind postgres, and `[database] direct_url`.
    pub(super) fn postgres_source(&self, url: &str, place: &Place) -> Option<Secret> {
        match self.split(url, place, "postgres://user@host/database", &POSTGRES)? {
            (scheme, _) if POSTGRES.contains(&scheme) => self.postgres(url, place),
            (scheme, _) => self.unknown(scheme, place, &POSTGRES),
        }
    }

    /// `[source] url` of kind files: a path, with or without `file://`, or a place in an object store.
    pub(super) fn files_source(&self, url: &str, csv_dialect: CsvDialect, place: &Place) -> Option<SourcePlace> {
        let files = |directory| SourcePlace::Files { directory, csv_dialect };
        match url.split_once("://") {
            None => self.path(url, place).map(files),
            Some(("file", path)) => self.path(path, place).map(files),
            Some((scheme, _)) if POSTGRES.contains(&scheme) => {
                self.faults.add(place, "a postgres:// source needs `kind = \"postgres\"`");
                None
            }
            Some((scheme, _)) if Location::SCHEMES.contains(&scheme) => {
                self.objects(url, place).map(|place| SourcePlace::Objects { place, csv_dialect })
            }
            Some((scheme, _)) => self.unknown(scheme, place, &["file", "s3", "az", "gs"]),
        }
    }

    /// `[store] url`: `file://…`, or that of an object store.
    pub(super) fn store(&self, url: &str, place: &Place) -> Option<StorePlace> {
        const KNOWN: [&str; 4] = ["file", "s3", "az", "gs"];
        match self.split(url, place, "file://var/reports", &KNOWN)? {
            ("file", path) => self.path(path, place).map(StorePlace::Directory),
            (scheme, _) if Location::SCHEMES.contains(&scheme) => self.objects(url, place).map(StorePlace::Objects),
            (scheme, _) => self.unknown(scheme, place, &KNOWN),
        }
    }

    /// A place in an object store.
    pub(super) fn objects(&self, url: &str, place: &Place) -> Option<objects::BucketConfig> {
        match Location::parse(url) {
            Ok(location) => {
                let found = objects::BucketConfig { location, settings: self.objects.clone() };
                let odd = found.odd_variables();
                for (variable, what) in &odd {
                    self.faults.add(&Place::Variable(variable.clone()), format!("the value {what}"));
                }
                odd.is_empty().then_some(found)
            }
            Err(error) => {
                self.faults.add(place, error.to_string());
                None
            }
        }
    }

    /// Scheme and rest.
    fn split<'u>(&self, url: &'u str, place: &Place, example: &str, known: &[&str]) -> Option<(&'u str, &'u str)> {
        let split = url.split_once("://");
        if split.is_none() {
            let meant =
                url.split_once(':').and_then(|(scheme, _)| known.contains(&scheme).then(|| format!("{scheme}://")));
            self.faults.add_meant(place, format!("no URL, it has no `://`; write for example `{example}`"), meant);
        }
        split
    }

    fn unknown<T>(&self, scheme: &str, place: &Place, known: &[&str]) -> Option<T> {
        // Anything else than a word may be a part of something secret.
        let is_word = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let shown = if is_word { format!(" `{scheme}`") } else { String::new() };
        let what = format!("unknown URL scheme{shown}; known here: {}", listed(known.iter().copied()));
        self.faults.add_meant(place, what, near_miss(scheme, known.iter().copied()));
        None
    }

    fn path(&self, path: &str, place: &Place) -> Option<PathBuf> {
        if path.is_empty() || path.contains('\0') {
            self.faults.add(place, "the path is empty");
            return None;
        }
        Some(self.directory.join(path))
    }

    fn postgres(&self, url: &str, place: &Place) -> Option<Secret> {
        if !self.tls && asks_for_tls(url) {
            self.faults.add(
                place,
                "the URL asks for TLS, and this build of exhaustd is without: build it with `--features tls`, use a \
                 released binary, or leave out `sslmode`",
            );
            return None;
        }
        Some(Secret::new(url.to_owned()))
    }
}

/// Whether a postgres URL cannot be served without TLS. `prefer` and `allow` can; `ssl=true` is JDBC's spelling of
/// `sslmode=require`, which libpq knows too.
fn asks_for_tls(url: &str) -> bool {
    let Some((_, parameters)) = url.split_once('?') else { return false };
    parameters.split('&').any(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "sslmode" => matches!(value, "require" | "verify-ca" | "verify-full"),
            "ssl" => value == "true",
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `read` gives in /etc/exhaust, or the faults.
    fn read<T>(tls: bool, read: impl Fn(&Urls<'_>, &Place) -> Option<T>) -> Result<T, String> {
        let faults = Faults::default();
        let urls =
            Urls { directory: Path::new("/etc/exhaust"), tls, objects: objects::Settings::default(), faults: &faults };
        let read = read(&urls, &Place::File);
        assert_eq!(read.is_some(), faults.is_empty());
        read.ok_or_else(|| faults.into_errors(Path::new("f")).to_string())
    }

    /// What `[source] url` gives.
    fn source(url: &str) -> Result<SourcePlace, String> {
        read(false, |urls, at| urls.files_source(url, CsvDialect::Spark, at))
    }

    fn directory(path: &str) -> SourcePlace {
        SourcePlace::Files { directory: path.into(), csv_dialect: CsvDialect::Spark }
    }

    #[test]
    fn everything_after_the_slashes_is_the_path() {
        for (url, path) in [
            ("sqlite://var/exhaust.db", "/etc/exhaust/var/exhaust.db"),
            ("sqlite:///var/exhaust.db", "/var/exhaust.db"),
            ("sqlite://a b?c#d.db", "/etc/exhaust/a b?c#d.db"),
        ] {
            assert_eq!(read(false, |urls, at| urls.database(url, at)), Ok(DatabaseUrl::Sqlite(path.into())), "{url}");
        }
        for (url, path) in [("file://var/reports", "/etc/exhaust/var/reports"), ("file:///srv", "/srv")] {
            assert_eq!(read(false, |urls, at| urls.store(url, at)), Ok(StorePlace::Directory(path.into())), "{url}");
            assert_eq!(source(url), Ok(directory(path)), "{url}");
        }
        for (url, path) in [("data", "/etc/exhaust/data"), ("/srv/data", "/srv/data"), ("../d", "/etc/exhaust/../d")] {
            assert_eq!(source(url), Ok(directory(path)), "{url}");
        }
    }

    #[test]
    fn postgres_urls_are_kept_as_they_are() {
        for url in ["postgres://u:p@h:5432/d?sslmode=prefer", "postgresql:///d?host=/run"] {
            let expected = DatabaseUrl::Postgres(Secret::new(url.to_owned()));
            assert_eq!(read(false, |urls, at| urls.database(url, at)), Ok(expected));
            assert_eq!(read(false, |urls, at| urls.postgres_source(url, at)), Ok(Secret::new(url.to_owned())));
        }
    }

    #[test]
    fn tls_is_refused_in_a_build_without() {
        let tls_urls = ["sslmode=require", "a=b&sslmode=verify-ca", "sslmode=verify-full&a=b", "ssl=true"]
            .map(|parameters| format!("postgres://u:hunter2@h/d?{parameters}"));
        for url in tls_urls {
            let refused = read(false, |urls, at| urls.database(&url, at)).unwrap_err();
            assert!(refused.starts_with("f: the URL asks for TLS, and this build of exhaustd is without"), "{refused}");
            assert!(!refused.contains("hunter2"));
            assert!(read(true, |urls, at| urls.database(&url, at)).is_ok());
            assert!(read(false, |urls, at| urls.postgres_source(&url, at)).is_err());
        }
    }

    #[test]
    fn other_schemes_are_refused_and_passwords_not_shown() {
        let database = |url: &str| read(false, |urls, at| urls.database(url, at)).unwrap_err();
        let known = "known here: `sqlite`, `postgres`, `postgresql`";
        assert_eq!(
            database("postgre://u:hunter2@h/d"),
            format!("f: unknown URL scheme `postgre`; {known}; did you mean `postgres`?")
        );
        assert_eq!(database("mysql://u:hunter2@h/d"), format!("f: unknown URL scheme `mysql`; {known}"));
        assert_eq!(database("hunter2 @://"), format!("f: unknown URL scheme; {known}"));
        assert_eq!(database("hunter2"), "f: no URL, it has no `://`; write for example `sqlite://var/exhaust.db`");
        assert!(database("sqlite:var/x.db").ends_with("did you mean `sqlite://`?"));
        assert_eq!(database("sqlite://"), "f: the path is empty");
        assert_eq!(database("sqlite://:memory:"), "f: a database in memory is gone with the process; name a file");
    }

    #[test]
    fn object_stores() {
        for url in ["s3://bucket/prefix", "az://container", "gs://bucket/a/b"] {
            match read(false, |urls, at| urls.store(url, at)) {
                Ok(StorePlace::Objects(place)) => assert_eq!(place.location.to_string(), url),
                other => panic!("{other:?}"),
            }
            match source(url) {
                Ok(SourcePlace::Objects { place, csv_dialect: CsvDialect::Spark }) => {
                    assert_eq!(place.location.to_string(), url);
                }
                other => panic!("{other:?}"),
            }
        }
        for (url, told) in [
            ("s3://", "the URL names no bucket; write for example s3://bucket/prefix"),
            (
                "s3://k:hunter2@b",
                "credentials do not belong in the URL: they come from the environment or the cloud's own files",
            ),
            (
                "s3://b?region=x",
                "the URL must not hold `?` or `#`: region and endpoint come from the environment, such as AWS_REGION",
            ),
            ("fil://x", "unknown URL scheme `fil`; known here: `file`, `s3`, `az`, `gs`; did you mean `file`?"),
        ] {
            assert_eq!(read(false, |urls, at| urls.store(url, at)).unwrap_err(), format!("f: {told}"));
            assert_eq!(source(url), Err(format!("f: {told}")));
        }
        assert_eq!(source("postgres://h/d"), Err("f: a postgres:// source needs `kind = \"postgres\"`".to_owned()));
    }
}
