//! One table of the document read key by key: every fault is noted, and reading goes on with the default.

use std::time::Duration;

use super::checked::Secret;
use super::errors::{Faults, Place, listed, near_miss};
use super::keys::{keys_of, unknown_key, written};
use super::raw::{Node, Table, Value};
use super::values::{parse_duration, parse_size};

/// A table of the document.
pub(super) struct Section<'a> {
    name: &'static str,
    /// Where the table itself is.
    pub(super) place: Place,
    table: Option<&'a Table>,
    pub(super) faults: &'a Faults,
}

impl<'a> Section<'a> {
    /// The document itself. Notes unknown keys.
    pub(super) fn top(document: &'a Table, faults: &'a Faults) -> Self {
        Self::of_table("", Place::File, Some(document), faults)
    }

    /// A section inside this one; an empty one where it is absent or no table. `dotted` is its full name.
    pub(super) fn section(&self, key: &'static str, dotted: &'static str) -> Section<'a> {
        match self.node(key) {
            None => Section::of_table(dotted, self.place.clone(), None, self.faults),
            Some(node) => Section::of_node(dotted, node, self.faults),
        }
    }

    /// The sections of an array of tables (`[[job]]`).
    pub(super) fn sections(&self, key: &'static str, dotted: &'static str) -> Vec<Section<'a>> {
        match self.node(key) {
            None => Vec::new(),
            Some(Node { value: Value::List(items), .. }) => {
                items.iter().map(|item| Section::of_node(dotted, item, self.faults)).collect()
            }
            Some(Node { place, value: Value::Table(_) }) => {
                self.faults.add(place, format!("there may be several, write {}", written(dotted)));
                Vec::new()
            }
            Some(node) => {
                self.wrong_type(key, &format!("tables, each under {}", written(dotted)), node);
                Vec::new()
            }
        }
    }

    fn of_node(name: &'static str, node: &'a Node, faults: &'a Faults) -> Self {
        let table = match &node.value {
            Value::Table(table) => Some(table),
            Value::Faulty => None,
            other => {
                faults.add(&node.place, format!("{} must be a table, this is {}", written(name), other.kind()));
                None
            }
        };
        Self::of_table(name, node.place.clone(), table, faults)
    }

    fn of_table(name: &'static str, place: Place, table: Option<&'a Table>, faults: &'a Faults) -> Self {
        for (key, (place, _)) in table.into_iter().flatten() {
            if !keys_of(name).contains(&key.as_str()) {
                let (what, meant) = unknown_key(name, key);
                faults.add_meant(place, what, meant);
            }
        }
        Self { name, place, table, faults }
    }

    /// A key's value, as written.
    pub(super) fn node(&self, key: &'static str) -> Option<&'a Node> {
        debug_assert!(keys_of(self.name).contains(&key), "{key} is not in the list of keys");
        self.table.and_then(|table| table.get(key)).map(|(_, node)| node)
    }

    /// Whether this table did not read at all, which is then among the faults.
    pub(super) fn is_absent(&self) -> bool {
        self.table.is_none()
    }

    /// Notes that a key holds something else; nothing where what it holds did not read.
    pub(super) fn wrong_type(&self, key: &str, expected: &str, node: &Node) {
        if !matches!(node.value, Value::Faulty) {
            self.faults.add(&node.place, format!("`{key}` must be {expected}, this is {}", node.value.kind()));
        }
    }

    /// Text, with its place.
    pub(super) fn text(&self, key: &'static str) -> Option<(&'a str, &'a Place)> {
        let node = self.node(key)?;
        if let Value::Text(text) | Value::Loose(text) = &node.value {
            Some((text, &node.place))
        } else {
            self.wrong_type(key, "text", node);
            None
        }
    }

    /// Text that is not empty, with its place; a fault where the key is absent.
    pub(super) fn required(&self, key: &'static str) -> Option<(&'a str, &'a Place)> {
        if self.node(key).is_none() && !self.is_absent() {
            self.faults.add(&self.place, format!("{} needs `{key}`", written(self.name)));
        }
        self.filled(key)
    }

    /// Text that is not empty, with its place.
    pub(super) fn filled(&self, key: &'static str) -> Option<(&'a str, &'a Place)> {
        let (text, place) = self.text(key)?;
        if text.is_empty() {
            self.faults.add(place, format!("`{key}` is empty"));
            return None;
        }
        Some((text, place))
    }

    /// Text that must not be shown.
    pub(super) fn secret(&self, key: &'static str) -> Option<Secret> {
        self.filled(key).map(|(text, _)| Secret::new(text.to_owned()))
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
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
    pub(super) fn number<T: TryFrom<i64>>(&self, key: &'static str, least: i64) -> Option<T> {
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
    pub(super) fn share(&self, key: &'static str) -> Option<f64> {
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
    pub(super) fn one_of<T: Copy>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
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
    pub(super) fn duration(&self, key: &'static str, zero: bool) -> Option<(Duration, &'a Place)> {
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
    pub(super) fn duration_or_off(&self, key: &'static str) -> Option<Duration> {
        if matches!(self.node(key)?.value, Value::Text(ref text) | Value::Loose(ref text) if text == "off") {
            return None;
        }
        self.duration(key, false).map(|(duration, _)| duration)
    }

    /// Bytes, more than none.
    pub(super) fn size(&self, key: &'static str) -> Option<u64> {
        if matches!(self.node(key)?.value, Value::Integer(_)) {
            return self.number(key, 1);
        }
        let (text, place) = self.unit_text(key, "a size such as \"2GiB\"")?;
        parse_size(text).map_err(|what| self.faults.add(place, format!("`{key}` {what}"))).ok()
    }

    fn unit_text(&self, key: &'static str, expected: &str) -> Option<(&'a str, &'a Place)> {
        let node = self.node(key)?;
        if matches!(node.value, Value::Text(_) | Value::Loose(_)) {
            return self.text(key);
        }
        self.wrong_type(key, expected, node);
        None
    }

    /// A list of texts that are not empty, with their places. `None`: absent or no list.
    pub(super) fn texts(&self, key: &'static str) -> Option<Vec<(&'a str, &'a Place)>> {
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
