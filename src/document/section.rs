//! One table of the document read key by key. Every fault is noted, and reading goes on.

use std::sync::LazyLock;
use std::time::Duration;

use super::errors::{Faults, Place, listed, near_miss};
use super::keys::Keys;
use super::raw::{Node, Table, Value};
use super::secret::Secret;
use super::values::{parse_duration, parse_size};

/// What variables that set a key begin with.
pub(crate) const VARIABLES: &str = "EXHAUST__";

/// A table of the document.
pub(crate) struct Section<'a> {
    keys: &'a Keys,
    /// Where the table itself is.
    pub(crate) place: Place,
    table: Option<&'a Table>,
    pub(crate) faults: &'a Faults,
}

impl<'a> Section<'a> {
    /// The document itself, which may have these keys.
    pub(crate) const fn top(document: &'a Table, keys: &'a Keys, faults: &'a Faults) -> Self {
        Self { keys, place: Place::File, table: Some(document), faults }
    }

    /// A section inside this one; an empty one where it is absent or no table.
    pub(crate) fn section(&self, key: &str) -> Self {
        match self.node(key) {
            None => Self { keys: self.inside(key), place: self.place.clone(), table: None, faults: self.faults },
            Some(node) => Self::of_node(self.inside(key), node, self.faults),
        }
    }

    /// The sections of an array of tables (`[[job]]`).
    pub(crate) fn sections(&self, key: &str) -> Vec<Self> {
        let keys = self.inside(key);
        match self.node(key) {
            None => Vec::new(),
            Some(Node { value: Value::List(items), .. }) => {
                items.iter().map(|item| Self::of_node(keys, item, self.faults)).collect()
            }
            Some(Node { place, value: Value::Table(_) }) => {
                self.faults.add(place, format!("there may be several, write {}", keys.written()));
                Vec::new()
            }
            Some(node) => {
                self.wrong_type(key, &format!("tables, each under {}", keys.written()), node);
                Vec::new()
            }
        }
    }

    fn of_node(keys: &'a Keys, node: &'a Node, faults: &'a Faults) -> Self {
        let table = match &node.value {
            Value::Table(table) => Some(table),
            Value::Faulty => None,
            other => {
                faults.add(&node.place, format!("{} must be a table, this is {}", keys.written(), other.kind()));
                None
            }
        };
        Self { keys, place: node.place.clone(), table, faults }
    }

    /// How it is written in the file, for messages.
    pub(crate) fn written(&self) -> &'a str {
        self.keys.written()
    }

    /// The names that the document brings for this declaration.
    pub(crate) fn named(&self, declared: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        let entries = self.keys.entries().iter().filter(move |entry| entry.key.name == declared);
        entries.map(|entry| entry.name.as_ref())
    }

    /// The variable that sets a key.
    fn variable(&self, key: &str) -> String {
        format!("{VARIABLES}{}", self.keys.dotted(key).replace('.', "__").to_ascii_uppercase())
    }

    /// The keys of a table inside. One that is not declared has none, so that everything in it is unknown.
    fn inside(&self, key: &str) -> &'a Keys {
        static NONE: LazyLock<Keys> = LazyLock::new(|| Keys::of_document(&[]));
        let inside = self.keys.entry(key).and_then(|entry| entry.inside.as_ref());
        debug_assert!(inside.is_some(), "{key} is not declared as a table");
        inside.unwrap_or(&NONE)
    }

    /// A key's value, as written, or its default.
    pub(crate) fn node(&self, key: &str) -> Option<&'a Node> {
        debug_assert!(self.keys.entry(key).is_some(), "{key} is not declared");
        self.table.and_then(|table| table.get(key)).map(|(_, node)| node)
    }

    /// Whether this table did not read at all, which is then among the faults.
    pub(crate) fn is_absent(&self) -> bool {
        self.table.is_none()
    }

    /// Notes that a key holds something else; nothing where what it holds did not read.
    pub(crate) fn wrong_type(&self, key: &str, expected: &str, node: &Node) {
        if !matches!(node.value, Value::Faulty) {
            self.faults.add(&node.place, format!("`{key}` must be {expected}, this is {}", node.value.kind()));
        }
    }

    /// Text, with its place.
    pub(crate) fn text(&self, key: &str) -> Option<(&'a str, &'a Place)> {
        let node = self.node(key)?;
        if let Value::Text(text) | Value::Loose(text) = &node.value {
            Some((text, &node.place))
        } else {
            self.wrong_type(key, "text", node);
            None
        }
    }

    /// Text that is not empty, with its place; a fault where the key is absent.
    pub(crate) fn required(&self, key: &str) -> Option<(&'a str, &'a Place)> {
        if self.node(key).is_none() && !self.is_absent() {
            self.faults.add(&self.place, format!("{} needs `{key}`", self.written()));
        }
        self.filled(key)
    }

    /// Text that is not empty, with its place.
    pub(crate) fn filled(&self, key: &str) -> Option<(&'a str, &'a Place)> {
        let (text, place) = self.text(key)?;
        if text.is_empty() {
            self.faults.add(place, format!("`{key}` is empty"));
            return None;
        }
        Some((text, place))
    }

    /// Text that must not be shown.
    pub(crate) fn secret(&self, key: &str) -> Option<Secret> {
        self.filled(key).map(|(text, _)| Secret::new(text.to_owned()))
    }

    /// The same, from a variable alone: in the file it is a fault.
    pub(crate) fn environment_secret(&self, key: &str) -> Option<Secret> {
        let (_, place) = self.filled(key)?;
        if !matches!(place, Place::Variable(_)) {
            let what = format!("`{key}` comes from the environment alone: set {}", self.variable(key));
            self.faults.add(place, what);
            return None;
        }
        self.secret(key)
    }

    pub(crate) fn boolean(&self, key: &str) -> Option<bool> {
        let node = self.node(key)?;
        match &node.value {
            Value::Boolean(truth) => return Some(*truth),
            Value::Loose(text) if text == "true" => return Some(true),
            Value::Loose(text) if text == "false" => return Some(false),
            Value::Loose(_) => self.faults.add(&node.place, format!("`{key}` must be true or false")),
            _ => self.wrong_type(key, "true or false", node),
        }
        None
    }

    /// A whole number of at least `least`.
    pub(crate) fn number<T: TryFrom<i64>>(&self, key: &str, least: i64) -> Option<T> {
        let node = self.node(key)?;
        let number = match &node.value {
            Value::Integer(number) => *number,
            Value::Loose(text) => text.parse().ok(),
            _ => {
                self.wrong_type(key, "a whole number", node);
                return None;
            }
        };
        let read = number.filter(|&number| number >= least).and_then(|number| T::try_from(number).ok());
        if read.is_none() {
            let bound = if number.is_some_and(|number| number > least) { "is too large" } else { "" };
            let what =
                if bound.is_empty() { format!("must be a whole number of at least {least}") } else { bound.into() };
            self.faults.add(&node.place, format!("`{key}` {what}"));
        }
        read
    }

    /// A share, from 0 to 1.
    #[allow(clippy::cast_precision_loss, reason = "what is not exact in an f64 is far beyond 1")]
    pub(crate) fn share(&self, key: &str) -> Option<f64> {
        let node = self.node(key)?;
        let share = match &node.value {
            Value::Float(number) => Some(*number),
            Value::Integer(number) => number.map(|number| number as f64),
            Value::Loose(text) => text.parse().ok(),
            _ => {
                self.wrong_type(key, "a number from 0 to 1", node);
                return None;
            }
        };
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.faults.add(&node.place, format!("`{key}` must be a number from 0 to 1"));
        }
        share
    }

    /// One of a closed set of words.
    pub(crate) fn one_of<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let (text, place) = self.text(key)?;
        let chosen = choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let names = || choices.iter().map(|(name, _)| *name);
            let what = format!("`{key}` is one of {}, not `{text}`", listed(names()));
            self.faults.add_meant(place, what, near_miss(text, names()));
        }
        chosen
    }

    /// A length of time with its place, longer than nothing unless `zero` is allowed.
    pub(crate) fn duration(&self, key: &str, zero: bool) -> Option<(Duration, &'a Place)> {
        let (text, place) = self.unit_text(key, "a length of time such as \"30s\"")?;
        let read = parse_duration(text).and_then(|duration| {
            if duration.is_zero() && !zero { Err("must be longer than nothing".to_owned()) } else { Ok(duration) }
        });
        match read {
            Ok(duration) => Some((duration, place)),
            Err(what) => {
                self.faults.add(place, format!("`{key}` {what}"));
                None
            }
        }
    }

    /// A length of time, or `off`.
    pub(crate) fn duration_or_off(&self, key: &str) -> Option<Duration> {
        if matches!(self.node(key)?.value, Value::Text(ref text) | Value::Loose(ref text) if text == "off") {
            return None;
        }
        self.duration(key, false).map(|(duration, _)| duration)
    }

    /// Bytes, more than none.
    pub(crate) fn size(&self, key: &str) -> Option<u64> {
        if matches!(self.node(key)?.value, Value::Integer(_)) {
            return self.number(key, 1);
        }
        let (text, place) = self.unit_text(key, "a size such as \"2GiB\"")?;
        parse_size(text).map_err(|what| self.faults.add(place, format!("`{key}` {what}"))).ok()
    }

    fn unit_text(&self, key: &str, expected: &str) -> Option<(&'a str, &'a Place)> {
        let node = self.node(key)?;
        if matches!(node.value, Value::Text(_) | Value::Loose(_)) {
            return self.text(key);
        }
        self.wrong_type(key, expected, node);
        None
    }

    /// A list of texts that are not empty, with their places. `None`: absent or no list.
    pub(crate) fn texts(&self, key: &str) -> Option<Vec<(&'a str, &'a Place)>> {
        let node = self.node(key)?;
        let Value::List(items) = &node.value else {
            self.wrong_type(key, "a list of texts", node);
            return None;
        };
        let text = |item: &'a Node| match &item.value {
            Value::Text(text) if text.is_empty() => {
                self.faults.add(&item.place, format!("a text in `{key}` is empty"));
                None
            }
            Value::Text(text) => Some((text.as_str(), &item.place)),
            Value::Faulty => None,
            other => {
                self.faults.add(&item.place, format!("`{key}` must be a list of texts, this is {}", other.kind()));
                None
            }
        };
        Some(items.iter().filter_map(text).collect())
    }
}
