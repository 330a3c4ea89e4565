//! The process's environment, handed in: `${NAME}` inside strings, and `EXHAUST__SECTION__KEY` in place of a key.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use super::errors::{Faults, Place, near_miss};
use super::keys::{Form, form, known_keys, stands_for};
use super::raw::{Node, Table, Value, parse_value};
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

/// What variables that set a key begin with.
const PREFIX: &str = "EXHAUST__";

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
    #[must_use]
    pub fn with_cores(self, cores: NonZeroUsize) -> Self {
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

    /// Puts the values of `EXHAUST__…` into the document, and `DATABASE_URL` where nothing else sets the database.
    pub(super) fn overlay(&self, document: &mut Table, faults: &Faults) {
        let jobs = job_names(document);
        for (variable, value) in self.variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
            let place = Place::Variable(variable.clone());
            let Some(value) = value else {
                faults.add(&place, "the value is not UTF-8");
                continue;
            };
            match target(&variable[PREFIX.len()..], &jobs) {
                Target::Key(path, form) => {
                    if let Some(node) = loose(value, form, &place, faults) {
                        set(document, &path, node);
                    }
                }
                Target::JobKey(number, path, form) => {
                    if let Some(node) = loose(value, form, &place, faults)
                        && let Some(job) = job_table(document, number)
                    {
                        set(job, &path, node);
                    }
                }
                Target::Ambiguous(ids) => {
                    faults.add(&place, format!("several jobs have this name in variables: {ids}; set it in the file"));
                }
                Target::Unknown => {
                    let meant = nearest(variable, known_variables(&jobs));
                    faults.add_meant(&place, "no key of the configuration has this name", meant);
                }
            }
        }
        let fallback = self.variables.get("DATABASE_URL").and_then(Option::as_ref).filter(|url| !url.is_empty());
        if let Some(url) = fallback
            && !is_set(document, "database", "url")
        {
            let place = Place::Variable("DATABASE_URL".to_owned());
            if let Some(what) = odd_character(url) {
                faults.add(&place, format!("the value {what}"));
                return;
            }
            set(document, &["database".to_owned(), "url".to_owned()], Node { place, value: Value::Loose(url.clone()) });
        }
    }
}

/// What a variable sets.
enum Target {
    /// A key of a section, and how its value is written.
    Key(Vec<String>, Form),
    /// A key of the job with this number.
    JobKey(usize, Vec<String>, Form),
    /// A key of several jobs.
    Ambiguous(String),
    /// Nothing.
    Unknown,
}

/// A job as its variables name it (`COURSE_REPORT`), its id and its number in the file.
type JobName = (String, String, usize);

fn target(name: &str, jobs: &[JobName]) -> Target {
    let Some(of_job) = name.strip_prefix("JOB__") else {
        let path: Vec<String> = name.split("__").map(str::to_ascii_lowercase).collect();
        return match form(&path.join(".")) {
            Some(form) if is_upper(name) => Target::Key(path, form),
            _ => Target::Unknown,
        };
    };
    let mut found = Vec::new();
    for (job, id, number) in jobs {
        let Some(key) = of_job.strip_prefix(job.as_str()).and_then(|rest| rest.strip_prefix("__")) else { continue };
        let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
        if path != ["id"]
            && is_upper(key)
            && let Some(form) = form(&format!("job.{}", path.join(".")))
        {
            found.push((*number, path, form, id));
        }
    }
    match found.as_slice() {
        [] => Target::Unknown,
        [(number, path, form, _)] => Target::JobKey(*number, path.clone(), *form),
        several => Target::Ambiguous(super::errors::listed(several.iter().map(|(.., id)| id.as_str()))),
    }
}

/// Every variable that would set something in this document.
fn known_variables(jobs: &[JobName]) -> Vec<String> {
    let upper = |dotted: &str| dotted.replace('.', "__").to_ascii_uppercase();
    let mut names = Vec::new();
    let is_settable = |key: &str| form(key).is_some() && key != "job.id" && !key.starts_with("api.keys.");
    for key in known_keys().iter().filter(|key| is_settable(key)) {
        match key.strip_prefix("job.") {
            Some(key) => names.extend(jobs.iter().map(|(job, ..)| format!("{PREFIX}JOB__{job}__{}", upper(key)))),
            None => names.push(format!("{PREFIX}{}", upper(key))),
        }
    }
    names
}

/// The variable that was probably meant: each part of its name is a near miss. (Of the whole name everything would be
/// near, so much do they have in common.)
fn nearest(variable: &str, known: Vec<String>) -> Option<String> {
    let is_near = |candidate: &String| {
        let parts = || variable.split("__").zip(candidate.split("__"));
        variable.matches("__").count() == candidate.matches("__").count()
            && parts().all(|(part, candidate)| near_miss(part, [candidate]).is_some())
    };
    known.into_iter().filter(is_near).min_by_key(|candidate| strsim::osa_distance(variable, candidate))
}

/// The jobs of the file under the names that variables have for them: upper case, `_` for anything but letters and
/// digits.
fn job_names(document: &Table) -> Vec<JobName> {
    let Some((_, Node { value: Value::List(jobs), .. })) = document.get("job") else { return Vec::new() };
    let id_of = |job: &Node| match &job.value {
        Value::Table(keys) => match keys.get("id").map(|(_, node)| &node.value) {
            Some(Value::Text(id)) => Some(id.clone()),
            _ => None,
        },
        _ => None,
    };
    let variable = |id: &str| id.to_uppercase().replace(|c: char| !c.is_alphanumeric(), "_");
    jobs.iter().enumerate().filter_map(|(number, job)| id_of(job).map(|id| (variable(&id), id, number))).collect()
}

fn job_table(document: &mut Table, number: usize) -> Option<&mut Table> {
    match document.get_mut("job").map(|(_, node)| &mut node.value) {
        Some(Value::List(jobs)) => match jobs.get_mut(number).map(|job| &mut job.value) {
            Some(Value::Table(keys)) => Some(keys),
            _ => None,
        },
        _ => None,
    }
}

/// What a variable's value stands for; `None`: it cannot be meant, which is noted.
fn loose(value: &str, form: Form, place: &Place, faults: &Faults) -> Option<Node> {
    let is_table = || value.trim_start().starts_with('{');
    if form == Form::Toml || (form == Form::Short && is_table()) {
        // TOML knows lines, and refuses what it does not know.
        Some(parse_value(value, place, faults))
    } else if let Some(what) = odd_character(value) {
        faults.add(place, format!("the value {what}"));
        None
    } else {
        Some(Node { place: place.clone(), value: Value::Loose(value.to_owned()) })
    }
}

/// Puts a node at a path. Where something on the way is no table, that is a fault of its own, found later.
fn set(document: &mut Table, path: &[String], node: Node) {
    match path {
        [] => {}
        [key] => {
            document.insert(key.clone(), (node.place.clone(), node));
        }
        [section, rest @ ..] => {
            let place = node.place.clone();
            let empty = || (place.clone(), Node { place: place.clone(), value: Value::Table(Table::new()) });
            let there = &mut document.entry(section.clone()).or_insert_with(empty).1;
            // The table that a value stands for, so that the variable sets one key of it and not all.
            if let (Value::Integer(_) | Value::Loose(_), Some(key)) = (&there.value, stands_for(section)) {
                there.value = Value::Table(Table::from([(key.to_owned(), (there.place.clone(), there.clone()))]));
            }
            if let Value::Table(inner) = &mut there.value {
                set(inner, rest, node);
            }
        }
    }
}

fn is_set(document: &Table, section: &str, key: &str) -> bool {
    match document.get(section).map(|(_, node)| &node.value) {
        Some(Value::Table(keys)) => keys.contains_key(key),
        _ => false,
    }
}

/// Without the line ends at its end.
fn trimmed(mut value: String) -> String {
    value.truncate(value.trim_end_matches(['\n', '\r']).len());
    value
}

fn is_upper(name: &str) -> bool {
    !name.contains(|c: char| c.is_ascii_lowercase())
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
