//! Scores as whole per cents, exactly.

use crate::tables::decimal::Decimal;

/// A score that does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// The per cent of a `grand_total`, `score/max`; `None` if there is none or its maximum is 0.
///
/// # Errors
/// It does not read.
pub fn grand_total(text: &str) -> Result<Option<i64>, Unreadable> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let (score, max) = text.split_once('/').ok_or(Unreadable)?;
    let millionths = |text: &str| Decimal::parse(text.trim())?.millionths();
    let score = millionths(score).ok_or(Unreadable)?;
    Ok(per_cent(score.into(), millionths(max).ok_or(Unreadable)?.into()))
}

/// `ceil(100 × score ÷ max)`, exactly; `None` if `max` is 0.
#[must_use]
pub fn per_cent(score: i128, max: i128) -> Option<i64> {
    let hundredfold = score.checked_mul(100)?;
    let (hundredfold, max) = if max < 0 { (-hundredfold, -max) } else { (hundredfold, max) };
    let floor_of_negative = (-hundredfold).checked_div_euclid(max)?;
    i64::try_from(-floor_of_negative).ok()
}
