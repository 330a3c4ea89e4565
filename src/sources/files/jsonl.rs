//! JSON lines: one object a line.
//!
//! Only the needed values are looked at; they stay where they are in the line. Not a general JSON parser: see
//! `values::literal`.

use std::sync::Arc;

use super::allowance::Allowance;
use super::errors::FileContext;
use super::part::Part;
use super::text::{LARGE, Line, Lines, TextFile};
use super::{PartRead, from_path};
use crate::sources::SourceError;
use crate::sources::rows::{Cell, Reading, Rows, key_of};
use crate::sources::spellings::{Ambiguous, Spellings};
use crate::sources::values::literal::{self, Escapes, Span, Spelling as Syntax};

/// Reads a file.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(part: &Part, reading: &Reading<'_>, allowance: &Arc<Allowance>) -> Result<PartRead, SourceError> {
    let place = FileContext::of(reading.scan.table, part);
    let Some(file) = TextFile::open(part, reading, allowance)? else { return Ok(PartRead::empty()) };
    if let Some(what) = no_lines(&file.start) {
        return Err(place.broken(what));
    }
    let most = reading.settings.bounds.unit;
    let (bytes, reserved) = file.into_bytes();
    let mut lines = Lines::new(bytes, most, reserved.is_none().then_some(allowance));
    let spellings = reading.spellings();
    let given = from_path(part, reading)?;
    let mut has: Vec<bool> = given.iter().map(Option::is_some).collect();
    // Of a line that does not read it is only known where no earlier spelling may be in it.
    let first = reading.by().map(|by| spellings.of_column(by).start);
    let key = first.and_then(|first| given[first]).and_then(key_of);
    let mut rows = Rows::new(reading, &part.label);
    let mut any = false;
    let mut texts = vec![Vec::new(); spellings.all().len()];
    let (mut number, mut any_line) = (0, false);
    while let Some(line) = lines.next().map_err(|error| place.io(&error))? {
        number += 1;
        let Line::Whole(line) = line else { return Err(place.too_long(number, most)) };
        let text = if number == 1 { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) } else { line };
        if !text.trim_ascii().is_empty() {
            any_line = true;
            if let Some(found) = members(text, spellings) {
                let found = found.map_err(|clash| place.broken(&format!("line {number} {clash}")))?;
                any = true;
                push(&mut rows, number, &found, &mut has, &given, &mut texts);
            } else {
                rows.broken(number, "broken JSON", 1, key.as_deref().unwrap_or_default());
            }
        }
    }
    if !any_line {
        return Ok(PartRead::empty());
    }
    let has = any.then(|| spellings.columns(|at| has[at]));
    Ok(PartRead { stats: rows.finish(), has, is_empty: false })
}

/// What a file begins with that is JSON in other ways than one object a line.
fn no_lines(start: &[u8]) -> Option<&'static str> {
    let text = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start).trim_ascii_start();
    match text {
        [b'[', ..] => Some("is a JSON array, not JSON lines: write one object a line"),
        [b'{', rest @ ..] => {
            let rest = rest.strip_prefix(b"\r").unwrap_or(rest);
            rest.starts_with(b"\n").then_some("has JSON objects over several lines: write one object a line")
        }
        _ => None,
    }
}

/// The value of one spelling in a line.
#[derive(Clone, Copy)]
struct Found<'l> {
    /// As the line spells it.
    name: &'l [u8],
    value: Span<'l>,
    /// Another name that differs from this one in letter case only.
    other: Option<&'l [u8]>,
}

/// The needed values of one line, by spelling; `None` where it is no JSON object. Of a name that is there twice, the last
/// value counts, as everywhere in JSON; of names that differ in letter case, the one that is spelled exactly so, and if
/// there is none, the line is ambiguous.
fn members<'l>(line: &'l [u8], spellings: &Spellings) -> Option<Result<Vec<Option<Span<'l>>>, Ambiguous>> {
    let mut all: Vec<Option<Found<'_>>> = vec![None; spellings.all().len()];
    literal::members(line, Syntax::Json, |key, value| {
        let Span::Text(name, _) = key else { return };
        for (spelling, slot) in spellings.all().iter().zip(&mut all) {
            let asked = spelling.name.as_bytes();
            if !name.eq_ignore_ascii_case(asked) {
                continue;
            }
            match slot {
                Some(found) if found.name == name => found.value = value,
                Some(found) if found.name == asked => {}
                Some(found) if name != asked => found.other = Some(name),
                _ => *slot = Some(Found { name, value, other: None }),
            }
        }
    })?;
    let clashes = all.iter().zip(spellings.all());
    let clash = clashes.into_iter().find_map(|(found, spelling)| {
        let Found { name, other, .. } = (*found)?;
        other.map(|other| Ambiguous::new(&spelling.name, name, other))
    });
    Some(clash.map_or_else(|| Ok(all.iter().map(|found| found.map(|found| found.value)).collect()), Err))
}

/// Hands one line's values on.
fn push(
    rows: &mut Rows<'_>,
    number: u64,
    found: &[Option<Span<'_>>],
    has: &mut [bool],
    given: &[Option<Cell<'_>>],
    texts: &mut [Vec<u8>],
) {
    for ((value, has), text) in found.iter().zip(has).zip(&mut *texts) {
        *has |= value.is_some();
        if let Some(Span::Text(inner, escapes @ (Escapes::Backslashes | Escapes::DoubledQuotes))) = value {
            if text.capacity() > LARGE {
                *text = Vec::new();
            }
            text.clear();
            literal::unescape(inner, *escapes, text);
        }
    }
    rows.push(number, |at| match found[at] {
        None => given[at].unwrap_or(Cell::Null),
        Some(Span::Text(inner, Escapes::None)) => Cell::Text(inner),
        Some(Span::Text(..)) => Cell::Text(&texts[at]),
        Some(Span::Null) => Cell::Null,
        Some(Span::Bool(value)) => Cell::Bool(value),
        Some(Span::Number(digits)) => Cell::Json(digits),
        Some(Span::List(json) | Span::Map(json)) => match std::str::from_utf8(json) {
            Ok(json) => Cell::Json(json),
            Err(_) => Cell::Text(json),
        },
    });
}
