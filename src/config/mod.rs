//! jobs.toml: read as written, checked as a whole, ready to use.
//!
//! `raw` holds the document with positions; `read`, `jobs` and `api` go through it key by key and gather every fault;
//! [`checked`] is what the rest of the program sees. `docs/configuration.md` explains each key to people. Not here:
//! whether anything that is named can be reached, and when the file is read again.

mod api;
mod api_keys;
pub mod checked;
pub mod cron;
mod environment;
mod errors;
mod jobs;
mod keys;
mod live;
mod loopback;
mod raw;
mod read;
mod section;
mod urls;
mod values;
mod zones;

use std::path::Path;

pub use checked::Config;
pub use environment::Environment;
pub use errors::{ConfigErrors, Fault, Place};
pub use keys::known_keys;
pub use live::{Changes, Live};
pub use loopback::is_loopback_host;
pub use values::parse_duration;

use crate::reports::Report;
use errors::Faults;

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
            faults.add(&raw::place_of_byte(&valid), "the file is not UTF-8 from here on");
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
    let mut document = raw::parse(text, environment, &faults);
    if document.is_empty() && !faults.is_empty() {
        return Err(faults.into_errors(path));
    }
    environment.overlay(&mut document, &faults);
    let config = read::config(&document, path, environment, reports, &faults);
    if faults.is_empty() { Ok(config) } else { Err(faults.into_errors(path)) }
}

#[cfg(test)]
mod tests;
