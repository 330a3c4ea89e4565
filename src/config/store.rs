//! `[store]`: where finished files go, and how long links to them hold.

use std::time::Duration;

use super::checked::{Store, StorePlace};
use crate::document::Fallback::{Is, Says};
use crate::document::Form::{self, Text};
use crate::document::{Key, Place, Section, Urls, restart};
use crate::objects::Location;

/// What S3 allows for signed links.
const LONGEST_LINK: Duration = Duration::from_hours(7 * 24);

/// The keys of the section.
pub(super) const KEYS: &[Key] = &[
    restart(
        "url",
        Text,
        Is("\"file://var/reports\""),
        "Where reports are stored: a directory, or `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix`, \
         with credentials from the environment: [stores.md](stores.md).",
    ),
    restart(
        "signed_url_ttl",
        Form::Duration,
        Is("\"24h\""),
        "How long download links hold: `\"1s\"` to `\"7d\"`, for all stores: object stores sign no longer.",
    ),
    restart(
        "link_key",
        Text,
        Says("made"),
        "Key that signs the links of a local store. Without it one is made on first start and kept beside the data.",
    ),
];

/// Reads the section.
pub(super) fn store(section: &Section<'_>, urls: &Urls<'_>) -> Store {
    let read = section.filled("url").and_then(|(text, place)| url(urls, text, place));
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
        place: read.unwrap_or_else(|| StorePlace::Directory(urls.directory.to_owned())),
        signed_url_ttl: ttl.unwrap_or_default(),
        link_key: section.secret("link_key"),
    }
}

/// `file://…`, or the URL of an object store.
pub(super) fn url(urls: &Urls<'_>, url: &str, place: &Place) -> Option<StorePlace> {
    const KNOWN: [&str; 4] = ["file", "s3", "az", "gs"];
    match urls.split(url, place, "file://var/reports", &KNOWN)? {
        ("file", path) => urls.path(path, place).map(StorePlace::Directory),
        (scheme, _) if Location::SCHEMES.contains(&scheme) => urls.objects(url, place).map(StorePlace::Objects),
        (scheme, _) => urls.unknown(scheme, place, &KNOWN),
    }
}
