//! URLs of databases, sources and stores.

use super::super::{database, store};
use super::*;
use crate::document::{Faults, Urls};
use crate::objects;

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
fn source(url: &str) -> Result<FilesLocation, String> {
    read(false, |urls, at| files::location(urls, url, at))
}

fn directory(path: &str) -> FilesLocation {
    FilesLocation::Directory(path.into())
}

#[test]
fn everything_after_the_slashes_is_the_path() {
    for (url, path) in [
        ("sqlite://var/exhaust.db", "/etc/exhaust/var/exhaust.db"),
        ("sqlite:///var/exhaust.db", "/var/exhaust.db"),
        ("sqlite://a b?c#d.db", "/etc/exhaust/a b?c#d.db"),
    ] {
        assert_eq!(read(false, |urls, at| database::url(urls, url, at)), Ok(DatabaseUrl::Sqlite(path.into())), "{url}");
    }
    for (url, path) in [("file://var/reports", "/etc/exhaust/var/reports"), ("file:///srv", "/srv")] {
        assert_eq!(read(false, |urls, at| store::url(urls, url, at)), Ok(StorePlace::Directory(path.into())), "{url}");
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
        assert_eq!(read(false, |urls, at| database::url(urls, url, at)), Ok(expected));
        assert_eq!(read(false, |urls, at| urls.postgres(url, at)), Ok(Secret::new(url.to_owned())));
    }
}

#[test]
fn tls_is_refused_in_a_build_without() {
    let tls_urls = ["sslmode=require", "a=b&sslmode=verify-ca", "sslmode=verify-full&a=b", "ssl=true"]
        .map(|parameters| format!("postgres://u:hunter2@h/d?{parameters}"));
    for url in tls_urls {
        let refused = read(false, |urls, at| database::url(urls, &url, at)).unwrap_err();
        assert!(refused.starts_with("f: the URL asks for TLS, and this build of exhaustd is without"), "{refused}");
        assert!(!refused.contains("hunter2"));
        assert!(read(true, |urls, at| database::url(urls, &url, at)).is_ok());
        assert!(read(false, |urls, at| urls.postgres(&url, at)).is_err());
    }
}

#[test]
fn other_schemes_are_refused_and_passwords_not_shown() {
    let database = |url: &str| read(false, |urls, at| database::url(urls, url, at)).unwrap_err();
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
        match read(false, |urls, at| store::url(urls, url, at)) {
            Ok(StorePlace::Objects(place)) => assert_eq!(place.location.to_string(), url),
            other => panic!("{other:?}"),
        }
        match source(url) {
            Ok(FilesLocation::Objects(place)) => assert_eq!(place.location.to_string(), url),
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
        assert_eq!(read(false, |urls, at| store::url(urls, url, at)).unwrap_err(), format!("f: {told}"));
        assert_eq!(source(url), Err(format!("f: {told}")));
    }
    assert_eq!(source("postgres://h/d"), Err("f: a postgres:// source needs `kind = \"postgres\"`".to_owned()));
}
