//! Whether a content's metadata meets a filter, and how contents are sorted.

use std::cmp::Ordering;

use chrono_tz::Tz;
use hashbrown::HashSet;
use serde_json::Value;

use super::{Condition, Direction, FieldFilter, Scalar};
use crate::tables::catalog::{Contents, Metadata};
use crate::tables::dates::parse_instant;
use crate::tables::decimal::Decimal;

/// A filter made ready for many contents.
pub(super) struct Prepared<'a> {
    metadata: Metadata<'a>,
    conditions: Vec<Test<'a>>,
    tz: Tz,
}

enum Test<'a> {
    OneOf(Wanted<'a>),
    NoneOf(Wanted<'a>),
    Order(Operand<'a>, fn(Ordering) -> bool),
    Text(&'a str, fn(&str, &str) -> bool),
    Exists(bool),
}

/// The values of a filter by everything that they may equal, so that a value of a content is looked up and not compared
/// with each of them.
#[derive(Default)]
struct Wanted<'a> {
    texts: HashSet<&'a str>,
    /// What texts that are dates mean.
    instants: HashSet<i64>,
    /// What numbers, and texts that are numbers, mean.
    numbers: HashSet<Decimal>,
    /// What numbers mean.
    plain_numbers: HashSet<Decimal>,
    /// What any value means that is true or false in some spelling.
    truths: HashSet<bool>,
    /// What true and false mean.
    plain_truths: HashSet<bool>,
}

/// One value with everything that it may be.
struct Operand<'a> {
    scalar: &'a Scalar,
    number: Option<Decimal>,
    instant: Option<i64>,
    truth: Option<bool>,
}

impl<'a> Operand<'a> {
    fn new(scalar: &'a Scalar, tz: Tz) -> Self {
        let instant = match scalar {
            Scalar::Text(text) => parse_instant(text, tz),
            _ => None,
        };
        Self { scalar, number: number(scalar), instant, truth: truth(scalar) }
    }
}

impl<'a> Wanted<'a> {
    fn new(scalars: &'a [Scalar], tz: Tz) -> Self {
        let mut wanted = Self::default();
        for scalar in scalars {
            let Operand { number, instant, truth, .. } = Operand::new(scalar, tz);
            wanted.truths.extend(truth);
            match scalar {
                Scalar::Bool(_) => {
                    wanted.plain_truths.extend(truth);
                    continue;
                }
                Scalar::Number(..) => wanted.plain_numbers.extend(number.clone()),
                Scalar::Text(text) => drop(wanted.texts.insert(text)),
            }
            wanted.numbers.extend(number);
            wanted.instants.extend(instant);
        }
        wanted
    }

    /// Whether a value equals one of these: true and false whatever is spelled like them, numbers what is the same number,
    /// texts the same bytes, the same number where the other one is no text, and the same instant where both are dates.
    fn holds(&self, found: &Scalar, tz: Tz) -> bool {
        if let Scalar::Bool(_) = found {
            return truth(found).is_some_and(|found| self.truths.contains(&found));
        }
        let is_true_or_false =
            !self.plain_truths.is_empty() && truth(found).is_some_and(|found| self.plain_truths.contains(&found));
        is_true_or_false
            || match found {
                Scalar::Bool(_) => false,
                Scalar::Number(number, _) => self.numbers.contains(number),
                Scalar::Text(text) => {
                    self.texts.contains(text.as_str())
                        || !self.plain_numbers.is_empty()
                            && number(found).is_some_and(|found| self.plain_numbers.contains(&found))
                        || !self.instants.is_empty()
                            && parse_instant(text, tz).is_some_and(|found| self.instants.contains(&found))
                }
            }
    }
}

impl<'a> Prepared<'a> {
    pub(super) fn new(filter: &'a FieldFilter, contents: &'a Contents, tz: Tz) -> Self {
        let order = |scalar, holds| Test::Order(Operand::new(scalar, tz), holds);
        let test = |condition: &'a Condition| match condition {
            Condition::OneOf(scalars) => Test::OneOf(Wanted::new(scalars, tz)),
            Condition::NoneOf(scalars) => Test::NoneOf(Wanted::new(scalars, tz)),
            Condition::AtLeast(scalar) => order(scalar, Ordering::is_ge),
            Condition::AtMost(scalar) => order(scalar, Ordering::is_le),
            Condition::Above(scalar) => order(scalar, Ordering::is_gt),
            Condition::Below(scalar) => order(scalar, Ordering::is_lt),
            Condition::Contains(part) => Test::Text(part, |text, part| text.contains(part)),
            Condition::StartsWith(part) => Test::Text(part, |text, part| text.starts_with(part)),
            Condition::EndsWith(part) => Test::Text(part, |text, part| text.ends_with(part)),
            Condition::Exists(wanted) => Test::Exists(*wanted),
        };
        Self {
            metadata: contents.metadata(&filter.field),
            conditions: filter.conditions.iter().map(test).collect(),
            tz,
        }
    }

    /// Whether a content meets all conditions; of a list, whether one element meets all.
    pub(super) fn matches(&self, content: usize) -> bool {
        let elements = elements(self.metadata.get(content));
        if elements.is_empty() {
            return self.conditions.iter().all(|test| matches!(test, Test::NoneOf(_) | Test::Exists(false)));
        }
        elements.iter().any(|element| self.conditions.iter().all(|test| self.passes(test, element)))
    }

    fn passes(&self, condition: &Test<'_>, found: &Scalar) -> bool {
        match condition {
            Test::OneOf(wanted) => wanted.holds(found, self.tz),
            Test::NoneOf(wanted) => !wanted.holds(found, self.tz),
            Test::Order(wanted, holds) => order(found, wanted, self.tz).is_some_and(holds),
            Test::Text(part, holds) => match found {
                Scalar::Text(text) | Scalar::Number(_, text) => holds(text, part),
                Scalar::Bool(value) => holds(if *value { "true" } else { "false" }, part),
            },
            Test::Exists(wanted) => *wanted,
        }
    }
}

/// The scalars that a metadata value is made of; none where nothing is there. What is neither scalar nor list (an
/// object) counts as its JSON text.
fn elements(value: Option<Value>) -> Vec<Scalar> {
    let scalar = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(_) | Value::Object(_) => Some(Scalar::Text(value.to_string())),
        value => Scalar::of(value),
    };
    match value {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().filter_map(scalar).collect(),
        Some(value) => scalar(&value).into_iter().collect(),
    }
}

fn number(scalar: &Scalar) -> Option<Decimal> {
    match scalar {
        Scalar::Text(text) => Decimal::parse(text),
        Scalar::Number(number, _) => Some(number.clone()),
        Scalar::Bool(_) => None,
    }
}

/// True and false in any spelling of the platform.
fn truth(scalar: &Scalar) -> Option<bool> {
    let text = match scalar {
        Scalar::Bool(value) => return Some(*value),
        // By value: 1.0 is 1.
        Scalar::Number(number, _) => match number.millionths() {
            Some(0) => return Some(false),
            Some(1_000_000) => return Some(true),
            _ => return None,
        },
        Scalar::Text(text) => text.trim(),
    };
    if text == "1" || text.eq_ignore_ascii_case("true") {
        return Some(true);
    }
    (text == "0" || text.eq_ignore_ascii_case("false")).then_some(false)
}

/// `None` where the two cannot be ordered.
fn order(found: &Scalar, wanted: &Operand<'_>, tz: Tz) -> Option<Ordering> {
    match (found, wanted.scalar) {
        (Scalar::Bool(_), _) | (_, Scalar::Bool(_)) => Some(truth(found)?.cmp(&wanted.truth?)),
        (Scalar::Number(..), _) | (_, Scalar::Number(..)) => Some(number(found)?.cmp(wanted.number.as_ref()?)),
        (Scalar::Text(text), Scalar::Text(wanted_text)) => {
            if let Some(instant) = wanted.instant
                && let Some(found) = parse_instant(text, tz)
            {
                return Some(found.cmp(&instant));
            }
            if let Some(wanted) = &wanted.number
                && let Some(found) = Decimal::parse(text)
            {
                return Some(found.cmp(wanted));
            }
            Some(text.cmp(wanted_text))
        }
    }
}

/// What contents are sorted by: false and true, then numbers, then dates, then other texts.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SortValue {
    Bool(bool),
    Number(Decimal),
    Instant(i64),
    Text(String),
}

impl SortValue {
    /// The value of a content, `None` where nothing is there. Of a list the least counts where the order rises, the
    /// greatest where it falls.
    pub(super) fn of(contents: &Contents, content: usize, field: &str, direction: Direction, tz: Tz) -> Option<Self> {
        let values = elements(contents.metadata(field).get(content)).into_iter().map(|scalar| match scalar {
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Number(number, _) => Self::Number(number),
            Scalar::Text(text) => match (Decimal::parse(&text), parse_instant(&text, tz)) {
                (Some(number), _) => Self::Number(number),
                (None, Some(instant)) => Self::Instant(instant),
                (None, None) => Self::Text(text),
            },
        });
        match direction {
            Direction::Ascending => values.min(),
            Direction::Descending => values.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether two values are equal, compared by themselves: what `Wanted` looks up.
    fn equal(found: &Scalar, wanted: &Operand<'_>, tz: Tz) -> bool {
        match (found, wanted.scalar) {
            (Scalar::Bool(_), _) | (_, Scalar::Bool(_)) => truth(found).is_some() && truth(found) == wanted.truth,
            (Scalar::Number(found, _), _) => wanted.number.as_ref() == Some(found),
            (Scalar::Text(_), Scalar::Number(..)) => number(found).is_some() && number(found) == wanted.number,
            (Scalar::Text(found), Scalar::Text(text)) => {
                found == text || wanted.instant.is_some() && parse_instant(found, tz) == wanted.instant
            }
        }
    }

    fn scalar() -> impl Strategy<Value = Scalar> {
        const TEXTS: &[&str] =
            &["", "a", "1", "01", "1.0", "1e0", "0", "true", "False", " true ", "2020-01-01", "2020-01-01T00:00:00Z"];
        const NUMBERS: &[&str] =
            &["1", "1.0", "10e-1", "0", "-0", "7", "123456789012345678901", "123456789012345678902"];
        let number = |text: &str| Decimal::parse(text).map(|number| Scalar::Number(number, text.to_owned()));
        prop_oneof![
            proptest::sample::select(TEXTS).prop_map(|text| Scalar::Text(text.to_owned())),
            proptest::sample::select(NUMBERS).prop_filter_map("a number", number),
            any::<bool>().prop_map(Scalar::Bool),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_value_is_looked_up_as_it_would_be_compared(
            wanted in proptest::collection::vec(scalar(), 0..5), found in scalar()
        ) {
            let one_by_one = wanted.iter().any(|wanted| equal(&found, &Operand::new(wanted, Tz::UTC), Tz::UTC));
            prop_assert_eq!(Wanted::new(&wanted, Tz::UTC).holds(&found, Tz::UTC), one_by_one);
        }
    }
}
