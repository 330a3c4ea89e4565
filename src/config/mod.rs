//! jobs.toml: read as written, checked as a whole, ready to use.
//!
//! One file for each section: its keys, declared once, and the function that reads them (`keys` is the list of the
//! sections); every fault is noted. [`checked`] is what the rest of the program sees. `docs/configuration.md` explains each
//! key to people. Not here: the document itself (`document`), what a kind of source has (`sources`), whether anything that
//! is named can be reached, and when the file is read again.

mod api;
mod api_keys;
mod audit;
pub mod checked;
pub mod cron;
mod database;
mod environment;
mod input;
mod jobs;
mod keys;
mod live;
mod logging;
mod loopback;
mod overlay;
mod read;
mod sources;
mod sql_reports;
mod store;
mod worker;
mod zones;

use std::path::Path;
use std::sync::Arc;

pub use checked::Config;
pub use environment::Environment;
pub use keys::known_keys;
pub use live::{Changes, Live};
pub use loopback::is_loopback_host;

pub use crate::document::{ConfigErrors, Fault, Place, parse_duration};
use crate::document::{Faults, parse, place_of_byte};
use crate::reports::Report;
use input::Input;

/// Reads and checks a configuration file. Relative paths in it are relative to its directory; `reports` is the
/// registry.
///
/// # Errors
/// Every fault of file and environment at once. None of them passes by itself.
pub fn load(path: &Path, environment: &Environment, reports: &[&'static dyn Report]) -> Result<Config, ConfigErrors> {
    let faults = Faults::default();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let what = if error.kind() == std::io::ErrorKind::NotFound {
                "there is no such file; name another with --config FILE".to_owned()
            } else {
                format!("the file cannot be read: {error}")
            };
            faults.add(&Place::File, what);
            return Err(faults.into_errors(path));
        }
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => check(text, path, environment, reports),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]); // nothing is lost of this part
            faults.add(&place_of_byte(&valid), "the file is not UTF-8 from here on");
            Err(faults.into_errors(path))
        }
    }
}

/// Checks the text of a configuration file that would stand at `path`.
///
/// # Errors
/// As [`load`].
pub fn check(
    text: &str,
    path: &Path,
    environment: &Environment,
    reports: &[&'static dyn Report],
) -> Result<Config, ConfigErrors> {
    let faults = Faults::default();
    let mut document = parse(text, &|text| environment.replace(text), &faults);
    if document.is_empty() && !faults.is_empty() {
        return Err(faults.into_errors(path));
    }
    overlay::add_sources(environment, &mut document);
    let settable = keys::settable_keys_of(&document);
    overlay::overlay(environment, &mut document, &settable, &faults);
    let keys = keys::keys_of(&document);
    keys.check(&document, &faults);
    keys.fill(&mut document, &Place::File, &faults);
    let input = Input {
        document,
        keys,
        file: path.to_owned(),
        environment: environment.clone(),
        reports: reports.to_vec(),
        keyed: false,
    };
    let config = read::config(Arc::new(input), &faults);
    if faults.is_empty() { Ok(config) } else { Err(faults.into_errors(path)) }
}

#[cfg(test)]
mod tests;
