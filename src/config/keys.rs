//! The keys of jobs.toml: the list of its sections. Each section declares its own keys beside the function that reads it.

use super::{api, audit, database, jobs, logging, read, sources, store, worker};
use crate::document::Fallback::{Is, Says};
use crate::document::Form::{Section, Sections, Text};
use crate::document::{Key, Keys, Table, live, restart};

/// The keys of the top level.
pub(super) const TOP: &[Key] = &[
    restart(
        "timezone",
        Text,
        Is("\"UTC\""),
        "Name of the IANA time zone of schedules and of dates in reports, such as `\"Asia/Kolkata\"`.",
    ),
    live("job", Sections(jobs::KEYS), Says("none"), "The jobs, each under its own `[[job]]`."),
    restart("database", Section(database::KEYS), Says(""), "Where the requests are."),
    restart("source", Section(sources::KEYS), Says(""), "Where the platform's tables come from."),
    restart("store", Section(store::KEYS), Says(""), "Where reports go."),
    live("worker", Section(worker::KEYS), Says(""), "How much is done at a time."),
    live("api", Section(api::KEYS), Says(""), "The HTTP API."),
    restart("audit", Section(audit::KEYS), Says(""), "How long the table of acts is kept."),
    restart("log", Section(logging::KEYS), Says(""), "How events are logged."),
    restart("secrets", Section(read::SECRETS), Says(""), "What keeps other keys secret."),
];

/// The keys that a document may have.
pub(super) fn keys_of(document: &Table) -> Keys {
    let mut keys = Keys::of_document(TOP);
    jobs::add_keys(&mut keys);
    sources::add_keys(&mut keys, document, false);
    keys
}

/// The keys that variables may set in a document.
pub(super) fn settable_keys_of(document: &Table) -> Keys {
    let mut keys = Keys::of_document(TOP);
    jobs::add_keys(&mut keys);
    sources::add_keys(&mut keys, document, true);
    keys
}

/// Every key, sections included, with its section in front: `timezone`, `job.options.attempt`, `api.keys.name`.
#[must_use]
pub fn known_keys() -> Vec<String> {
    let keys = settable_keys_of(&Table::new());
    let tables = keys.tables().into_iter();
    tables.flat_map(|table| table.entries().iter().map(|entry| table.dotted(&entry.name))).collect()
}
