//! What is wrong with jobs.toml: every fault with its place, all at once.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a fault is. Sorts in the order in which faults are shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File,
    /// A position in the file, both counted from 1, columns in characters.
    At {
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// A variable of the environment.
    Variable(String),
}

/// One thing that is wrong. It will not pass by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What is wrong. Never holds a secret.
    pub what: String,
    /// What was probably meant.
    pub meant: Option<String>,
}

/// Everything that is wrong with the configuration, sorted by place; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: PathBuf,
    faults: Vec<Fault>,
}

impl ConfigErrors {
    pub(crate) fn new(file: &Path, mut faults: Vec<Fault>) -> Self {
        faults.sort();
        faults.dedup();
        Self { file: file.to_owned(), faults }
    }

    /// The file, as it was named.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The faults, sorted by place.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl std::error::Error for ConfigErrors {}

/// One fault a line: `jobs.toml:12:3: what is wrong; did you mean …?`
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            match &fault.place {
                Place::File => write!(f, "{}", self.file.display())?,
                Place::At { line, column } => write!(f, "{}:{line}:{column}", self.file.display())?,
                Place::Variable(name) => write!(f, "{name}")?,
            }
            write!(f, ": {}", fault.what)?;
            if let Some(meant) = &fault.meant {
                write!(f, "; did you mean `{meant}`?")?;
            }
        }
        Ok(())
    }
}

/// Gathers faults while everything else is still looked at.
#[derive(Debug, Default)]
pub(crate) struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    pub(crate) fn add(&self, place: &Place, what: impl Into<String>) {
        self.add_meant(place, what, None);
    }

    pub(crate) fn add_meant(&self, place: &Place, what: impl Into<String>, meant: Option<String>) {
        self.0.borrow_mut().push(Fault { place: place.clone(), what: what.into(), meant });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(crate) fn into_errors(self, file: &Path) -> ConfigErrors {
        ConfigErrors::new(file, self.0.into_inner())
    }
}

/// The candidate that `word` is probably a slip of the pen for: at most a third of its characters differ, letter case
/// and the choice of `-` or `_` aside.
pub(crate) fn near_miss<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    let most = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &plain(candidate)), candidate))
        .filter(|&(distance, candidate)| distance <= most && distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// The names, each in backticks, with commas between.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        let keys = ["schedule", "aliases", "id", "max_batches"];
        for (word, meant) in [
            ("shedule", Some("schedule")),
            ("schedul", Some("schedule")),
            ("Schedule", Some("schedule")),
            ("alaises", Some("aliases")),
            ("max-batches", Some("max_batches")),
            ("cron", None),
            ("x", None),
        ] {
            assert_eq!(near_miss(word, keys).as_deref(), meant, "{word}");
        }
    }

    #[test]
    fn shown_one_a_line_sorted_by_place() {
        let faults = Faults::default();
        faults.add(&Place::Variable("EXHAUST__X".to_owned()), "c");
        faults.add(&Place::At { line: 12, column: 3 }, "b");
        faults.add_meant(&Place::At { line: 2, column: 30 }, "a", Some("z".to_owned()));
        faults.add(&Place::At { line: 12, column: 3 }, "b");
        assert_eq!(
            faults.into_errors(Path::new("conf/jobs.toml")).to_string(),
            "conf/jobs.toml:2:30: a; did you mean `z`?\nconf/jobs.toml:12:3: b\nEXHAUST__X: c"
        );
    }
}
