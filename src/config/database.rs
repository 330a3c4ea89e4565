//! `[database]`: where the `job_request` table is.

use super::checked::{Database, DatabaseUrl, Pooler};
use crate::document::Fallback::{Is, Says};
use crate::document::Form::{Boolean, Text};
use crate::document::{Key, POSTGRES, Place, Section, Urls, restart};

/// The keys of the section.
pub(super) const KEYS: &[Key] = &[
    restart(
        "url",
        Text,
        Is("\"sqlite://var/exhaust.db\""),
        "Where the `job_request` table is: `sqlite://PATH`, or `postgres://user:password@host/database`.",
    ),
    restart(
        "migrate",
        Boolean,
        Is("true"),
        "Bring the table to what this version needs when starting: adds columns and indexes, and drops indexes of its own \
         that it no longer reads.",
    ),
    restart(
        "pooler",
        Text,
        Is("\"auto\""),
        "PostgreSQL: what is between the program and `url`. `\"auto\"`: it is recognised. `\"none\"`; `\"session\"`: a \
         pooler that gives each connection a session of its own; `\"transaction\"`: one that gives a session to each \
         transaction. See [PgBouncer](deployment.md#pgbouncer).",
    ),
    restart(
        "direct_url",
        Text,
        Says(""),
        "PostgreSQL: the same database by a way that no pooler of transactions is on, for migrations and for hearing of \
         submissions. A secret as `url` is.",
    ),
];

/// Reads the section.
pub(super) fn database(section: &Section<'_>, urls: &Urls<'_>) -> Database {
    let poolers = [
        ("auto", None),
        ("none", Some(Pooler::None)),
        ("session", Some(Pooler::Session)),
        ("transaction", Some(Pooler::Transaction)),
    ];
    let read = section.filled("url").and_then(|(text, place)| url(urls, text, place));
    Database {
        url: read.unwrap_or_else(|| DatabaseUrl::Sqlite(urls.directory.to_owned())),
        migrate: section.boolean("migrate").unwrap_or_default(),
        pooler: section.one_of("pooler", &poolers).unwrap_or_default(),
        direct_url: section.filled("direct_url").and_then(|(url, place)| urls.postgres(url, place)),
    }
}

/// `sqlite://…` or `postgres://…`.
pub(super) fn url(urls: &Urls<'_>, url: &str, place: &Place) -> Option<DatabaseUrl> {
    const KNOWN: [&str; 3] = ["sqlite", "postgres", "postgresql"];
    match urls.split(url, place, "sqlite://var/exhaust.db", &KNOWN)? {
        ("sqlite", ":memory:") => {
            urls.faults.add(place, "a database in memory is gone with the process; name a file");
            None
        }
        ("sqlite", path) => urls.path(path, place).map(DatabaseUrl::Sqlite),
        (scheme, _) if POSTGRES.contains(&scheme) => urls.postgres(url, place).map(DatabaseUrl::Postgres),
        (scheme, _) => urls.unknown(scheme, place, &KNOWN),
    }
}
