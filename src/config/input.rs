//! What a configuration is read from.

use std::path::PathBuf;

use super::environment::Environment;
use crate::document::{Keys, Table};
use crate::reports::Report;

/// What a configuration is read from.
pub(super) struct Input {
    /// Every key has a value or no default.
    pub(super) document: Table,
    /// The keys that it may have.
    pub(super) keys: Keys,
    pub(super) file: PathBuf,
    pub(super) environment: Environment,
    pub(super) reports: Vec<&'static dyn Report>,
    /// The API asks for keys already: so it does without any as well.
    pub(super) keyed: bool,
}
