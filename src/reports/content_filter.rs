//! `contentFilters`: a composite-search request evaluated over the platform's `content`.
//!
//! How values compare: numbers as numbers wherever one side is one (`"9"` = 9), dates as instants where both sides are
//! dates, text by exact bytes, true and false however they are spelt. The order of two texts that are both numbers is
//! that of numbers; their equality stays one of bytes, so that an id keeps its leading zeros. A metadata value that is
//! a list matches if any element does, for every operator, `!=` included.
//!
//! Not here: which batches follow from the contents ([`filters`](super::filters)).

mod evaluate;
mod parse;

use std::cmp::Reverse;

use chrono_tz::Tz;
use serde_json::Value;

use crate::tables::catalog::Contents;
use crate::tables::decimal::Decimal;
use evaluate::{Prepared, SortValue};
pub(super) use parse::{MOST_FIELDS, MOST_SORT_KEYS};

/// A composite-search request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ContentFilter {
    /// All hold.
    filters: Vec<FieldFilter>,
    /// The first key leads.
    sort_by: Vec<(String, Direction)>,
    /// How many contents remain; `None`: all.
    limit: Option<usize>,
}

/// The conditions on one metadata field; all hold (for one and the same element of a list).
#[derive(Clone, Debug, PartialEq)]
struct FieldFilter {
    field: String,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    OneOf(Vec<Scalar>),
    NoneOf(Vec<Scalar>),
    AtLeast(Scalar),
    AtMost(Scalar),
    Above(Scalar),
    Below(Scalar),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    Exists(bool),
}

/// A value that a filter compares with.
#[derive(Clone, Debug, PartialEq)]
enum Scalar {
    Text(String),
    /// The number, and how it was written.
    Number(Decimal, String),
    Bool(bool),
}

impl Scalar {
    /// `None` for null, lists and objects. Empty text is a scalar here; whether it may stand is the caller's matter.
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Number(number) => {
                let text = number.to_string();
                Decimal::parse(&text).map(|number| Self::Number(number, text))
            }
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

impl ContentFilter {
    /// The metadata fields that it names, each once.
    pub(super) fn fields(&self) -> Vec<&str> {
        let mut fields: Vec<&str> = self.filters.iter().map(|filter| filter.field.as_str()).collect();
        fields.extend(self.sort_by.iter().map(|(field, _)| field.as_str()));
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// Which contents are in the result, one flag per content. Dates without zone are local times in `tz`.
    pub(super) fn select(&self, contents: &Contents, tz: Tz) -> Vec<bool> {
        let filters: Vec<Prepared<'_>> =
            self.filters.iter().map(|filter| Prepared::new(filter, contents, tz)).collect();
        let matching = |content: &usize| filters.iter().all(|filter| filter.matches(*content));
        let mut found: Vec<usize> = (0..contents.len()).filter(matching).collect();
        if let Some(limit) = self.limit {
            self.sort(&mut found, contents, tz);
            found.truncate(limit);
        }
        let mut selected = vec![false; contents.len()];
        for content in found {
            selected[content] = true;
        }
        selected
    }

    /// By each sort key, missing last in both directions; ties by identifier ascending.
    fn sort(&self, found: &mut [usize], contents: &Contents, tz: Tz) {
        let value = |content: usize, field: &str, direction| SortValue::of(contents, content, field, direction, tz);
        found.sort_by_cached_key(|content| {
            let keys =
                self.sort_by.iter().map(|(field, direction)| match (value(*content, field, *direction), direction) {
                    (None, _) => (true, None, None),
                    (some, Direction::Ascending) => (false, some, None),
                    (some, Direction::Descending) => (false, None, Some(Reverse(some))),
                });
            (keys.collect::<Vec<_>>(), contents.identifier(*content).to_owned())
        });
    }
}

/// For tests that judge whether two filters mean the same: as it was read, without orders that mean nothing.
#[cfg(test)]
impl ContentFilter {
    pub(super) fn normal_form(&self) -> String {
        use std::collections::BTreeSet;

        let value = |scalar: &Scalar| match scalar {
            Scalar::Number(number, _) => format!("{number:?}"),
            other => format!("{other:?}"),
        };
        let condition = |condition: &Condition| match condition {
            Condition::OneOf(scalars) => format!("one of {:?}", scalars.iter().map(value).collect::<BTreeSet<_>>()),
            Condition::NoneOf(scalars) => format!("none of {:?}", scalars.iter().map(value).collect::<BTreeSet<_>>()),
            Condition::AtLeast(scalar) => format!(">= {}", value(scalar)),
            Condition::AtMost(scalar) => format!("<= {}", value(scalar)),
            Condition::Above(scalar) => format!("> {}", value(scalar)),
            Condition::Below(scalar) => format!("< {}", value(scalar)),
            other => format!("{other:?}"),
        };
        let filter = |filter: &FieldFilter| {
            (filter.field.clone(), filter.conditions.iter().map(condition).collect::<BTreeSet<_>>())
        };
        let filters: BTreeSet<_> = self.filters.iter().map(filter).collect();
        format!("{filters:?} {:?} {:?}", self.sort_by, self.limit)
    }
}

#[cfg(test)]
mod tests;
