//! The keys that one document may have: the declared ones, and those under names that the document brings itself.
//!
//! Finds unknown keys and what was probably meant, fills in defaults, and tells which keys differ between two documents.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::errors::{Faults, Place, near_miss};
use super::key::{Fallback, Form, Key, Reload};
use super::raw::{Node, Table, Value, parse_value};
use super::values::{parse_duration, parse_size};

/// The keys of one table.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The table's full name: `job.options`; empty for the document itself.
    dotted: String,
    /// How the table is written in the file, for messages: `[worker]`.
    written: String,
    entries: Vec<Entry>,
    /// Names that are refused, with the reason.
    refused: BTreeMap<String, String>,
}

/// One key of a table.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its declaration.
    pub key: &'static Key,
    /// The keys of the table or tables that it holds.
    pub inside: Option<Keys>,
    /// Whether defaults are filled in where it is absent.
    has_default: bool,
}

impl Keys {
    /// Those of a document with these keys at its top level.
    #[must_use]
    pub fn of_document(keys: &'static [Key]) -> Self {
        Self::new(String::new(), "the top level".to_owned(), keys)
    }

    fn new(dotted: String, written: String, keys: &'static [Key]) -> Self {
        let mut all = Self { dotted, written, entries: Vec::new(), refused: BTreeMap::new() };
        for key in keys {
            all.add(Cow::Borrowed(key.name), key, key.form, true);
        }
        all
    }

    fn add(&mut self, name: Cow<'static, str>, key: &'static Key, form: Form, has_default: bool) {
        let dotted = if self.dotted.is_empty() { name.to_string() } else { format!("{}.{name}", self.dotted) };
        let written = match form {
            Form::Section(_) => format!("[{dotted}]"),
            Form::Sections(_) => format!("[[{dotted}]]"),
            _ => format!("`{name}` of {}", self.written),
        };
        let inside = form.inside().map(|keys| Self::new(dotted, written, keys));
        self.entries.push(Entry { name, key, inside, has_default });
    }

    /// Adds a key under a name that the document brings; `inside`: keys of its table beside those of its declaration.
    pub fn add_named(&mut self, name: &str, key: &'static Key, inside: &'static [Key]) {
        self.add(Cow::Owned(name.to_owned()), key, key.form, false);
        if let Some(own) = self.inside_mut(name) {
            own.also(inside);
        }
    }

    /// Adds keys to these. One of a name that is there already is passed over.
    pub fn also(&mut self, keys: &'static [Key]) {
        for key in keys {
            if self.entry(key.name).is_none() {
                self.add(Cow::Borrowed(key.name), key, key.form, true);
            }
        }
    }

    /// Adds keys that may be there and are not read, so that they have no default.
    pub fn also_unread(&mut self, keys: &'static [Key]) {
        for key in keys {
            if self.entry(key.name).is_none() {
                self.add(Cow::Borrowed(key.name), key, key.form, false);
            }
        }
    }

    /// Refuses a name, with this sentence.
    pub fn refuse(&mut self, name: &str, what: String) {
        self.refused.insert(name.to_owned(), what);
    }

    /// How the table is written in the file.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The keys, in the order of their declaration.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The key of a name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    fn entry_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.name == name)
    }

    /// The keys inside the table of a name.
    pub fn inside_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.entry_mut(name)?.inside.as_mut()
    }

    /// Every table with these keys in front: itself, then those inside, in the order of declaration.
    #[must_use]
    pub fn tables(&self) -> Vec<&Self> {
        let inside = self.entries.iter().filter_map(|entry| entry.inside.as_ref());
        std::iter::once(self).chain(inside.flat_map(Self::tables)).collect()
    }

    /// The full name of one of these keys.
    #[must_use]
    pub fn dotted(&self, name: &str) -> String {
        if self.dotted.is_empty() { name.to_owned() } else { format!("{}.{name}", self.dotted) }
    }

    /// Notes every key of the document that is not among these.
    pub(crate) fn check(&self, document: &Table, faults: &Faults) {
        self.check_table(document, self, faults);
    }

    fn check_table(&self, table: &Table, all: &Self, faults: &Faults) {
        for (name, (place, node)) in table {
            let Some(entry) = self.entry(name) else {
                let (what, meant) = self.unknown(name, all);
                faults.add_meant(place, what, meant);
                continue;
            };
            let Some(inside) = &entry.inside else { continue };
            match &node.value {
                Value::Table(table) => inside.check_table(table, all, faults),
                Value::List(items) => {
                    let tables = items.iter().filter_map(|item| item.table());
                    tables.for_each(|table| inside.check_table(table, all, faults));
                }
                _ => {}
            }
        }
    }

    /// What is to be said of a key that is not among these: the fault, and what was probably meant.
    fn unknown(&self, name: &str, all: &Self) -> (String, Option<String>) {
        if let Some(what) = self.refused.get(name) {
            return (what.clone(), None);
        }
        let elsewhere = all.tables().into_iter().find(|keys| keys.dotted != self.dotted && keys.entry(name).is_some());
        let meant = near_miss(name, self.entries.iter().map(|entry| entry.name.as_ref()));
        let here = if self.dotted.is_empty() { "at the top level".to_owned() } else { format!("in {}", self.written) };
        match (elsewhere, meant) {
            (Some(keys), None) => (format!("unknown key `{name}` {here}; it belongs in {}", keys.written), None),
            (_, meant) => (format!("unknown key `{name}` {here}"), meant),
        }
    }

    /// Puts the default of every absent key into a table. `place`: the table's.
    pub(crate) fn fill(&self, table: &mut Table, place: &Place, faults: &Faults) {
        for entry in self.entries.iter().filter(|entry| entry.has_default) {
            let absent = match (entry.key.form, entry.key.fallback) {
                (Form::Section(_) | Form::Table(_), _) => {
                    Some(Node { place: place.clone(), value: Value::Table(Table::new()) })
                }
                (_, Fallback::Is(value)) => Some(parse_value(value, place, faults)),
                (_, Fallback::Says(_)) => None,
            };
            if let (Some(node), false) = (absent, table.contains_key(entry.name.as_ref())) {
                table.insert(entry.name.to_string(), (place.clone(), node));
            }
        }
        for entry in &self.entries {
            let (Some(inside), Some((_, node))) = (&entry.inside, table.get_mut(entry.name.as_ref())) else { continue };
            match &mut node.value {
                Value::Table(table) => inside.fill(table, &node.place, faults),
                Value::List(items) => {
                    for item in items {
                        if let Value::Table(table) = &mut item.value {
                            inside.fill(table, &item.place, faults);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// The new document, with the old one's values of all keys that take effect at the next start only.
    pub(crate) fn in_force(&self, old: &Table, new: &Table) -> Table {
        let mut merged = new.clone();
        for entry in &self.entries {
            let name = entry.name.as_ref();
            match (entry.key.reload, old.get(name)) {
                (Reload::Restart, None) => _ = merged.remove(name),
                (Reload::Restart, Some(before)) => _ = merged.insert(name.to_owned(), before.clone()),
                (Reload::Live, Some((_, before))) => {
                    if let (Some(inside), Some((_, node)), Some(before)) =
                        (&entry.inside, merged.get_mut(name), before.table())
                        && let Value::Table(after) = &node.value
                    {
                        node.value = Value::Table(inside.in_force(before, after));
                    }
                }
                (Reload::Live, None) => {}
            }
        }
        merged
    }

    /// What differs between two documents and takes effect at the next start only: `timezone`, `[database]`,
    /// `[worker] threads`.
    pub(crate) fn need_restart(&self, old: &Table, new: &Table) -> Vec<String> {
        let mut named = Vec::new();
        for entry in &self.entries {
            let (old, new) = (old.get(entry.name.as_ref()), new.get(entry.name.as_ref()));
            let (old, new) = (old.map(|(_, node)| node), new.map(|(_, node)| node));
            match (entry.key.reload, &entry.inside) {
                (Reload::Restart, inside) if !is_same(entry, old, new) => {
                    let section = inside.as_ref().map(|inside| inside.written.clone());
                    let of = if self.dotted.is_empty() { String::new() } else { format!("{} ", self.written) };
                    named.push(section.unwrap_or_else(|| format!("{of}{}", entry.name)));
                }
                (Reload::Live, Some(inside)) if matches!(entry.key.form, Form::Section(_)) => {
                    if let (Some(old), Some(new)) = (old.and_then(Node::table), new.and_then(Node::table)) {
                        named.extend(inside.need_restart(old, new));
                    }
                }
                _ => {}
            }
        }
        named
    }
}

/// Whether two values of a key mean the same.
fn is_same(entry: &Entry, old: Option<&Node>, new: Option<&Node>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return old.is_none() && new.is_none() };
    match (&entry.inside, old.table(), new.table()) {
        (Some(inside), Some(old), Some(new)) => {
            let known = |name: &String| inside.entry(name).is_some();
            let is_same = |entry: &Entry| {
                let name = entry.name.as_ref();
                is_same(entry, old.get(name).map(|(_, node)| node), new.get(name).map(|(_, node)| node))
            };
            // A name that these keys do not have is one that only the other document brings.
            old.keys().chain(new.keys()).all(known) && inside.entries.iter().all(is_same)
        }
        _ => meaning(entry.key.form, old) == meaning(entry.key.form, new),
    }
}

/// Equal for values that mean the same, however they are written.
fn meaning(form: Form, node: &Node) -> serde_json::Value {
    let (Value::Text(text) | Value::Loose(text)) = &node.value else { return node.to_json(&Faults::default()) };
    match form {
        Form::Duration => {
            parse_duration(text).map_or_else(|_| text.clone().into(), |time| time.as_millis().to_string().into())
        }
        Form::Size => parse_size(text).map_or_else(|_| text.clone().into(), Into::into),
        Form::Number | Form::Share | Form::Boolean => {
            serde_json::from_str(text).unwrap_or_else(|_| text.clone().into())
        }
        _ => text.clone().into(),
    }
}
