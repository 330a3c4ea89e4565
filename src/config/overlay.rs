//! The environment over the file: `EXHAUST__SECTION__KEY` in place of a key.

use super::environment::Environment;
use super::sources;
use crate::document::{
    Entry, Faults, Form, Keys, Node, Place, Table, VARIABLES, Value, listed, near_miss, parse_value,
};
use crate::objects::odd_character;

/// Puts the values of `EXHAUST__…` into the document, and `DATABASE_URL` where nothing else sets the database.
pub(super) fn overlay(environment: &Environment, document: &mut Table, keys: &Keys, faults: &Faults) {
    let jobs = jobs(document);
    for (variable, value) in environment.beginning(VARIABLES) {
        let place = Place::Variable(variable.to_owned());
        let Some(value) = value else {
            faults.add(&place, "the value is not UTF-8");
            continue;
        };
        match target(&variable[VARIABLES.len()..], keys, &jobs) {
            Target::Key { job, path, form } => {
                let table = match job {
                    None => Some(&mut *document),
                    Some(number) => job_table(document, number),
                };
                if let (Some(table), Some(node)) = (table, loose(value, form, &place, faults)) {
                    set(table, &path, &node);
                }
            }
            Target::Several(names) => {
                let what = format!("several jobs have this name in variables: {names}; set it in the file");
                faults.add(&place, what);
            }
            Target::Unknown => {
                let meant = nearest(variable, known(keys, &jobs));
                faults.add_meant(&place, "no key of the configuration has this name", meant);
            }
        }
    }
    let fallback = environment.beginning("DATABASE_URL").find(|(name, _)| *name == "DATABASE_URL");
    if let Some((_, Some(url))) = fallback
        && !url.is_empty()
        && !is_set(document, "database", "url")
    {
        let place = Place::Variable("DATABASE_URL".to_owned());
        if let Some(what) = odd_character(url) {
            faults.add(&place, format!("the value {what}"));
            return;
        }
        let path = [("database".to_owned(), Form::Section(&[])), ("url".to_owned(), Form::Text)];
        set(document, &path, &Node { place, value: Value::Loose(url.to_owned()) });
    }
}

/// Begins the sources that are named by a variable with their kind (`EXHAUST__SOURCE__LAKE__KIND`), so that they have keys
/// like those of the file.
pub(super) fn add_sources(environment: &Environment, document: &mut Table) {
    let prefix = format!("{VARIABLES}SOURCE__");
    for (variable, value) in environment.beginning(&prefix) {
        let name = variable[prefix.len()..].strip_suffix("__KIND").filter(|name| !name.contains("__"));
        let (Some(name), Some(kind)) = (name, value) else { continue };
        let lower = name.to_ascii_lowercase();
        if upper(&lower) == name && sources::may_be_called(&lower) {
            let path = [("source", Form::Section(&[])), (&lower, Form::Section(&[])), ("kind", Form::Text)];
            let path = path.map(|(name, form)| (name.to_owned(), form));
            let value = Value::Loose(kind.to_owned());
            set(document, &path, &Node { place: Place::Variable(variable.to_owned()), value });
        }
    }
}

/// What a variable sets.
enum Target {
    /// A key, of the job with this number or of a section.
    Key { job: Option<usize>, path: Path, form: Form },
    /// A key of several jobs, by their ids.
    Several(String),
    /// Nothing.
    Unknown,
}

/// The way to a key through the tables that hold it, with what each of them is.
type Path = Vec<(String, Form)>;

/// A job of the file.
struct Job {
    /// As variables name it: `COURSE_REPORT`.
    name: String,
    id: String,
    /// Its place among the file's jobs.
    number: usize,
}

fn target(name: &str, keys: &Keys, jobs: &[Job]) -> Target {
    let Some(of_job) = name.strip_prefix("JOB__") else {
        // A section as a whole cannot be set.
        let found = find(keys, name).filter(|path| path.len() > 1 || !is_section(path));
        return found.map_or(Target::Unknown, |path| Target::Key { job: None, form: form(&path), path });
    };
    let mut found = Vec::new();
    for job in jobs {
        let Some(key) = of_job.strip_prefix(job.name.as_str()).and_then(|rest| rest.strip_prefix("__")) else {
            continue;
        };
        if key != "ID"
            && let Some(path) = job_keys(keys).and_then(|keys| find(keys, key))
        {
            found.push((job, path));
        }
    }
    match &mut found[..] {
        [] => Target::Unknown,
        [(job, path)] => Target::Key { job: Some(job.number), form: form(path), path: std::mem::take(path) },
        several => Target::Several(listed(several.iter().map(|(job, _)| job.id.as_str()))),
    }
}

/// The way to a key by its name in variables.
fn find(keys: &Keys, name: &str) -> Option<Path> {
    keys.entries().iter().find_map(|entry| {
        let rest = name.strip_prefix(&upper(&entry.name))?;
        let step = (entry.name.to_string(), entry.key.form);
        if rest.is_empty() {
            return Some(vec![step]);
        }
        let inside = inside(entry).and_then(|inside| find(inside, rest.strip_prefix("__")?))?;
        Some(std::iter::once(step).chain(inside).collect())
    })
}

/// The keys of a table that variables reach: of several sections no variable tells which.
fn inside(entry: &Entry) -> Option<&Keys> {
    entry.inside.as_ref().filter(|_| !matches!(entry.key.form, Form::Sections(_)))
}

fn job_keys(keys: &Keys) -> Option<&Keys> {
    keys.entry("job")?.inside.as_ref()
}

fn form(path: &Path) -> Form {
    path.last().map_or(Form::Text, |(_, form)| *form)
}

fn is_section(path: &Path) -> bool {
    matches!(form(path), Form::Section(_) | Form::Sections(_))
}

fn upper(name: &str) -> String {
    name.to_ascii_uppercase()
}

/// Every variable that would set something in this document.
fn known(keys: &Keys, jobs: &[Job]) -> Vec<String> {
    fn all(keys: &Keys, prefix: &str, names: &mut Vec<String>) {
        for entry in keys.entries() {
            let name = format!("{prefix}{}", upper(&entry.name));
            if let Some(inside) = inside(entry) {
                all(inside, &format!("{name}__"), names);
            }
            // A section as a whole cannot be set.
            if prefix != VARIABLES || !matches!(entry.key.form, Form::Section(_) | Form::Sections(_)) {
                names.push(name);
            }
        }
    }
    let mut names = Vec::new();
    all(keys, VARIABLES, &mut names);
    for job in jobs {
        let prefix = format!("{VARIABLES}JOB__{}__", job.name);
        let mut of_job = Vec::new();
        if let Some(keys) = job_keys(keys) {
            all(keys, &prefix, &mut of_job);
        }
        names.extend(of_job.into_iter().filter(|name| *name != format!("{prefix}ID")));
    }
    names
}

/// The variable that was probably meant: each part of its name is a near miss. (Compared as a whole, all names are near
/// to each other: most of their characters are the same.)
fn nearest(variable: &str, known: Vec<String>) -> Option<String> {
    let is_near = |candidate: &String| {
        let parts = || variable.split("__").zip(candidate.split("__"));
        variable.matches("__").count() == candidate.matches("__").count()
            && parts().all(|(part, candidate)| near_miss(part, [candidate]).is_some())
    };
    known.into_iter().filter(is_near).min_by_key(|candidate| strsim::osa_distance(variable, candidate))
}

/// The jobs of the file, with the names that variables have for them: upper case, `_` for anything but letters and digits.
fn jobs(document: &Table) -> Vec<Job> {
    let Some((_, Node { value: Value::List(jobs), .. })) = document.get("job") else { return Vec::new() };
    let id_of = |job: &Node| match job.table()?.get("id").map(|(_, node)| &node.value) {
        Some(Value::Text(id)) => Some(id.clone()),
        _ => None,
    };
    let name = |id: &str| id.to_uppercase().replace(|c: char| !c.is_alphanumeric(), "_");
    let jobs = jobs.iter().enumerate();
    jobs.filter_map(|(number, job)| id_of(job).map(|id| Job { name: name(&id), id, number })).collect()
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
    let is_toml = match form {
        Form::Texts | Form::Json | Form::Table(_) | Form::Section(_) | Form::Sections(_) => true,
        Form::Short(..) => value.trim_start().starts_with('{'),
        Form::Text | Form::Boolean | Form::Number | Form::Share | Form::Duration | Form::Size => false,
    };
    if is_toml {
        // TOML knows lines, and refuses what it does not know.
        Some(parse_value(value, place, faults))
    } else if let Some(what) = odd_character(value) {
        faults.add(place, format!("the value {what}"));
        None
    } else {
        Some(Node { place: place.clone(), value: Value::Loose(value.to_owned()) })
    }
}

/// Puts a node at the end of a path. Where something on the way is no table, that is a fault of its own, found later.
fn set(document: &mut Table, path: &[(String, Form)], node: &Node) {
    match path {
        [] => {}
        [(key, _)] => {
            document.insert(key.clone(), (node.place.clone(), node.clone()));
        }
        [(section, form), rest @ ..] => {
            let place = node.place.clone();
            let empty = || (place.clone(), Node { place: place.clone(), value: Value::Table(Table::new()) });
            let there = &mut document.entry(section.clone()).or_insert_with(empty).1;
            // The table that a value stands for, so that the variable sets one key of it and not all.
            if let (Value::Integer(_) | Value::Loose(_), Form::Short(key, _)) = (&there.value, form) {
                let stands_for = Table::from([((*key).to_owned(), (there.place.clone(), there.clone()))]);
                there.value = Value::Table(stands_for);
            }
            if let Value::Table(inner) = &mut there.value {
                set(inner, rest, node);
            }
        }
    }
}

fn is_set(document: &Table, section: &str, key: &str) -> bool {
    document.get(section).and_then(|(_, node)| node.table()).is_some_and(|keys| keys.contains_key(key))
}
