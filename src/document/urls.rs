//! URLs and paths of jobs.toml. Messages name the scheme alone: the rest may hold a password.

use std::path::{Path, PathBuf};

use super::errors::{Faults, Place, listed, near_miss};
use super::secret::Secret;
use crate::objects::{self, Location};

/// Where URLs are read: relative paths are relative to a directory.
pub(crate) struct Urls<'a> {
    /// The directory of jobs.toml.
    pub(crate) directory: &'a Path,
    /// Whether this build can speak TLS to a database.
    pub(crate) tls: bool,
    /// What the environment says of object stores.
    pub(crate) objects: objects::Settings,
    pub(crate) faults: &'a Faults,
}

/// Schemes of postgres URLs, as libpq knows them.
pub(crate) const POSTGRES: [&str; 2] = ["postgres", "postgresql"];

impl Urls<'_> {
    /// A `postgres://…` URL.
    pub(crate) fn postgres(&self, url: &str, place: &Place) -> Option<Secret> {
        match self.split(url, place, "postgres://user@host/database", &POSTGRES)? {
            (scheme, _) if POSTGRES.contains(&scheme) => self.with_tls(url, place),
            (scheme, _) => self.unknown(scheme, place, &POSTGRES),
        }
    }

    /// A place in an object store.
    pub(crate) fn objects(&self, url: &str, place: &Place) -> Option<objects::BucketConfig> {
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
    pub(crate) fn split<'u>(
        &self,
        url: &'u str,
        place: &Place,
        example: &str,
        known: &[&str],
    ) -> Option<(&'u str, &'u str)> {
        let split = url.split_once("://");
        if split.is_none() {
            let meant =
                url.split_once(':').and_then(|(scheme, _)| known.contains(&scheme).then(|| format!("{scheme}://")));
            self.faults.add_meant(place, format!("no URL, it has no `://`; write for example `{example}`"), meant);
        }
        split
    }

    /// Notes a scheme that is none of the known ones.
    pub(crate) fn unknown<T>(&self, scheme: &str, place: &Place, known: &[&str]) -> Option<T> {
        // Anything else than a word may be a part of something secret.
        let is_word = !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        let shown = if is_word { format!(" `{scheme}`") } else { String::new() };
        let what = format!("unknown URL scheme{shown}; known here: {}", listed(known.iter().copied()));
        self.faults.add_meant(place, what, near_miss(scheme, known.iter().copied()));
        None
    }

    /// A path, relative to the directory of jobs.toml.
    pub(crate) fn path(&self, path: &str, place: &Place) -> Option<PathBuf> {
        if path.is_empty() || path.contains('\0') {
            self.faults.add(place, "the path is empty");
            return None;
        }
        Some(self.directory.join(path))
    }

    /// The URL, unless it asks for what this build does not have.
    fn with_tls(&self, url: &str, place: &Place) -> Option<Secret> {
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
