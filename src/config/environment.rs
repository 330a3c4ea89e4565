//! The process's environment, handed in, and `${NAME}` inside strings.
//!
//! Not here: variables that stand for keys of jobs.toml (`overlay`).

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use crate::objects::{self, odd_character};

/// Variables, and how many cores there are. Line ends at the end of a value are not part of it: a Secret that was made with
/// `echo`, or a file that was read into a variable, ends with one.
#[derive(Clone)]
pub struct Environment {
    /// `None`: the value is not UTF-8.
    variables: BTreeMap<String, Option<String>>,
    cores: NonZeroUsize,
}

/// Values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("cores", &self.cores).finish_non_exhaustive()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    /// These variables, on a machine with one core.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), Some(trimmed(value.into())))).collect();
        Self { variables, cores: NonZeroUsize::MIN }
    }
}

impl Environment {
    /// The environment of this process. The only place that reads it; called by `main`.
    #[must_use]
    pub fn process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok().map(trimmed))))
            .collect();
        Self { variables, cores: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN) }
    }

    /// The same on a machine with this many cores.
    #[cfg(test)]
    pub(super) fn with_cores(self, cores: NonZeroUsize) -> Self {
        Self { cores, ..self }
    }

    /// A variable that is no key of jobs.toml.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn variable(&self, name: &str) -> Result<Option<&str>, String> {
        match self.variables.get(name) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(format!("the variable `{name}` is not UTF-8")),
        }
    }

    /// What it says of object stores.
    #[must_use]
    pub fn objects(&self) -> objects::Settings {
        self.variables.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))).collect()
    }

    /// The variables whose names begin so; the value is `None` where it is not UTF-8.
    pub(super) fn beginning<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        let those = self.variables.iter().filter(move |(name, _)| name.starts_with(prefix));
        those.map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// What `threads = 0` stands for.
    pub(super) const fn cores(&self) -> usize {
        self.cores.get()
    }

    /// `text` with each `${NAME}` replaced by that variable, and each `$${` by `${`.
    ///
    /// # Errors
    /// What is wrong with the first one that cannot be replaced.
    pub(super) fn replace(&self, text: &str) -> Result<String, String> {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            replaced.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("$${") {
                replaced.push_str("${");
                rest = after;
            } else if let Some(after) = rest.strip_prefix("${") {
                let (name, after) = after.split_once('}').filter(|(name, _)| is_name(name)).ok_or(
                    "`${` begins the name of a variable, letters, digits and `_`, which ends with `}`; \
                     `$${` stands for `${` itself",
                )?;
                match self.variables.get(name) {
                    Some(Some(value)) => {
                        if let Some(what) = odd_character(value) {
                            return Err(format!("the variable `{name}` {what}"));
                        }
                        replaced.push_str(value);
                    }
                    Some(None) => return Err(format!("the variable `{name}` is not UTF-8")),
                    None => return Err(format!("the variable `{name}` is not set")),
                }
                rest = after;
            } else {
                replaced.push('$');
                rest = &rest[1..];
            }
        }
        replaced.push_str(rest);
        Ok(replaced)
    }
}

/// Without the line ends at its end.
fn trimmed(mut value: String) -> String {
    value.truncate(value.trim_end_matches(['\n', '\r']).len());
    value
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_inside_text() {
        let env = [("A", "x"), ("_B2", "${A}"), ("EMPTY", "")].into_iter().collect::<Environment>();
        for (text, replaced) in [
            ("", ""),
            ("${A}", "x"),
            ("-${A}-${A}-", "-x-x-"),
            ("${_B2}", "${A}"),
            ("${EMPTY}", ""),
            ("$A $ $$ {A}", "$A $ $$ {A}"),
            ("$${A}", "${A}"),
            ("é${A}€", "éx€"),
        ] {
            assert_eq!(env.replace(text).unwrap(), replaced, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error_without_the_text() {
        let env = [("A", "x")].into_iter().collect::<Environment>();
        assert_eq!(env.replace("pw${NOPE}").unwrap_err(), "the variable `NOPE` is not set");
        for text in ["hunter2${A", "hunter2${}", "hunter2${a b}", "${2A}"] {
            let what = env.replace(text).unwrap_err();
            assert!(what.starts_with("`${` begins the name of a variable") && !what.contains("hunter2"), "{what}");
        }
    }

    #[test]
    fn values_are_not_shown() {
        let env = [("PASSWORD", "hunter2")].into_iter().collect::<Environment>();
        assert!(!format!("{env:?}").contains("hunter2"));
    }
}
