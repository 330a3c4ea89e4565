//! From the document to the configuration.

use std::path::Path;
use std::sync::Arc;

use chrono_tz::Tz;

use super::checked::{Config, Secret, Written};
use super::input::Input;
use super::{api, audit, database, jobs, logging, sources, store, worker, zones};
use crate::document::Fallback::Says;
use crate::document::Form::Text;
use crate::document::{Faults, Key, Section, Urls, restart};

/// The fewest characters of `[secrets] key`.
const SHORTEST_SECRET: usize = 16;

/// The keys of `[secrets]`.
pub(super) const SECRETS: &[Key] = &[restart(
    "key",
    Text,
    Says("none"),
    "Encryption keys of requests are kept encrypted under this: at least 16 characters, best random ones (`openssl rand \
     -base64 32`). Better set as `EXHAUST__SECRETS__KEY`. A change needs a restart.",
)];

/// Reads the whole document. What comes out is right only if no fault was noted.
pub(super) fn config(input: Arc<Input>, faults: &Faults) -> Config {
    let Input { document, keys, file, environment, reports, keyed } = &*input;
    let top = Section::top(document, keys, faults);
    let directory = file.parent().unwrap_or(Path::new(""));
    let urls = Urls { directory, tls: cfg!(feature = "tls"), objects: environment.objects(), faults };
    let sources = sources::sources(&top.section("source"), &urls);
    let sections = top.sections("job");
    Config {
        file: file.clone(),
        timezone: timezone(&top).unwrap_or(Tz::UTC),
        jobs: jobs::jobs(&sections, file, reports, &sources.used).into_iter().map(Arc::new).collect(),
        database: database::database(&top.section("database"), &urls),
        log_format: logging::format(&top.section("log")),
        sources,
        store: store::store(&top.section("store"), &urls),
        worker: worker::worker(&top.section("worker"), environment),
        api: api::api(&top.section("api"), file, *keyed),
        audit: audit::audit(&top.section("audit")),
        secrets_key: secrets_key(&top.section("secrets")),
        written: Written(input),
    }
}

/// Everything that is sealed depends on it: a short one could be tried out.
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
