//! JSON lines: one object a line.
//!
//! Only the needed values are looked at; they stay where they are in the line. Not a general JSON parser: see
//! `values::literal`.

use std::io::{BufRead, BufReader};

use super::errors::Place;
use super::layout::Part;
use super::{BUFFER, PartRead, from_path, open};
use crate::reports::schema::{Kind, Scan};
use crate::sources::SourceError;
use crate::sources::rows::{Cell, FLAT, Reading, Rows};
use crate::sources::values::literal::{self, Span, Spelling};

/// Reads a file.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(part: &Part, reading: &Reading<'_>) -> Result<PartRead, SourceError> {
    let place = Place::of(reading.scan.table, part);
    let mut file = BufReader::with_capacity(BUFFER, open(part).map_err(|error| place.io(&error))?);
    let given = from_path(part, reading.scan);
    let mut has: Vec<bool> = given.iter().map(Option::is_some).collect();
    let mut rows = Rows::new(reading, &part.label);
    let mut any = false;
    let mut texts = vec![Vec::new(); reading.scan.columns.len()];
    let (mut line, mut number) = (Vec::new(), 0);
    while file.read_until(b'\n', &mut line).map_err(|error| place.io(&error))? > 0 {
        number += 1;
        let text = if number == 1 { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line) } else { &line };
        if !text.trim_ascii().is_empty() {
            if let Some(found) = members(text, reading.scan) {
                any = true;
                rows.flat(found.flat);
                push(&mut rows, number, &found, &mut has, &given, &mut texts);
            } else {
                rows.broken(number, "broken JSON", 1, |column| given[column]);
            }
        }
        line.clear();
    }
    Ok(PartRead { tally: rows.finish(), has: any.then_some(has) })
}

/// The needed values of one line.
struct Found<'l> {
    /// By column of the scan, with how well the name fits.
    values: Vec<Option<(Fit, Span<'l>)>>,
    flat: bool,
}

/// How well a name fits, the better the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// `completedCount` for `agg`, in other capitals.
    FlatAlike,
    /// `completedCount` for `agg`.
    Flat,
    /// In other capitals.
    Alike,
    Exact,
}

impl Fit {
    fn of(name: &[u8], kind: Kind, key: &[u8]) -> Option<Self> {
        if key == name {
            Some(Self::Exact)
        } else if key.eq_ignore_ascii_case(name) {
            Some(Self::Alike)
        } else if kind != Kind::CompletedCount {
            None
        } else if key == FLAT.as_bytes() {
            Some(Self::Flat)
        } else {
            key.eq_ignore_ascii_case(FLAT.as_bytes()).then_some(Self::FlatAlike)
        }
    }
}

/// Looks through one line; `None` where it is no JSON object. Of a name that is there twice, the last value counts, as
/// everywhere in JSON.
fn members<'l>(line: &'l [u8], scan: &Scan) -> Option<Found<'l>> {
    let mut values: Vec<Option<(Fit, Span<'_>)>> = vec![None; scan.columns.len()];
    literal::members(line, Spelling::Json, |key, value| {
        let Span::Text(key, _) = key else { return };
        for (column, slot) in scan.columns.iter().zip(&mut values) {
            if let Some(fit) = Fit::of(column.name.as_bytes(), column.kind, key)
                && slot.is_none_or(|(best, _)| fit >= best)
            {
                *slot = Some((fit, value));
            }
        }
    })?;
    let flat = values.iter().any(|value| matches!(value, Some((Fit::Flat | Fit::FlatAlike, _))));
    Some(Found { values, flat })
}

/// Hands one line's values on.
fn push(
    rows: &mut Rows<'_>,
    number: u64,
    found: &Found<'_>,
    has: &mut [bool],
    given: &[Option<Cell<'_>>],
    texts: &mut [Vec<u8>],
) {
    for ((value, has), text) in found.values.iter().zip(has).zip(&mut *texts) {
        *has |= value.is_some();
        if let Some((_, Span::Text(inner, true))) = value {
            text.clear();
            literal::unescape(inner, text);
        }
    }
    rows.push(number, |column| match found.values[column] {
        None => given[column].unwrap_or(Cell::Null),
        Some((_, Span::Text(_, true))) => Cell::Text(&texts[column]),
        Some((_, Span::Text(inner, false))) => Cell::Text(inner),
        Some((_, Span::Null)) => Cell::Null,
        Some((_, Span::Bool(value))) => Cell::Bool(value),
        Some((_, Span::Number(digits))) => Cell::Json(digits),
        Some((_, Span::List(json) | Span::Map(json))) => match std::str::from_utf8(json) {
            Ok(json) => Cell::Json(json),
            Err(_) => Cell::Text(json),
        },
    });
}
