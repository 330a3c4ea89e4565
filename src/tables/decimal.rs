//! Decimal numbers compared exactly, however many digits they have: an id of 19 digits is no float.

use std::cmp::Ordering;

/// A decimal number, `±0.d1d2d3… × 10^magnitude`, digits without zeros at either end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Decimal {
    negative: bool,
    magnitude: i64,
    digits: Box<[u8]>,
}

impl Decimal {
    /// Reads `[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let leading = whole.bytes().chain(fraction.bytes()).take_while(|digit| *digit == b'0').count();
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip(leading).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Self { negative: false, magnitude: 0, digits: Box::default() });
        }
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()?;
        Some(Self { negative, magnitude: point.saturating_add(exponent), digits: digits.into() })
    }

    /// The number in millionths, where it is a whole number of them that fits.
    pub(crate) fn millionths(&self) -> Option<i64> {
        // Digits stand before the point of the scaled number, or there is something smaller than a millionth.
        let places = self.magnitude.saturating_add(6);
        let given = i64::try_from(self.digits.len()).ok()?;
        if given > places || places > 19 {
            return self.digits.is_empty().then_some(0);
        }
        let mut value: i128 = 0;
        for place in 0..places {
            let digit = usize::try_from(place).ok().and_then(|place| self.digits.get(place)).map_or(0, |d| d - b'0');
            value = value * 10 + i128::from(digit);
        }
        i64::try_from(if self.negative { -value } else { value }).ok()
    }

    /// Where it stands by size alone.
    fn cmp_absolute(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.magnitude.cmp(&other.magnitude).then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.cmp_absolute(other),
            (true, true) => other.cmp_absolute(self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The digits after `e`; beyond what 64 bits hold it is as far as they go.
fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bound = i64::MAX / 4;
    let value = digits.parse().unwrap_or(bound).min(bound);
    Some(if text.starts_with('-') { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn one_number_has_many_spellings() {
        for (left, right) in [
            ("9", "9.0"),
            ("9", "009"),
            ("9", "+9"),
            ("9", "9."),
            ("9", "0.9e1"),
            ("90", "9e1"),
            ("0.09", ".09"),
            ("0", "-0.000"),
            ("0", "0e999"),
            ("1500", "1.5E+3"),
            ("0.0015", "1.5e-3"),
            ("-7", "-7.000"),
        ] {
            assert_eq!(decimal(left), decimal(right), "{left} = {right}");
        }
    }

    #[test]
    fn order_is_exact_beyond_floats() {
        let rising = [
            "-1e400",
            "-9007199254740993",
            "-9007199254740992",
            "-10",
            "-9.5",
            "-0.1",
            "0",
            "1e-400",
            "0.1",
            "0.11",
            "9",
            "9.000000000000000001",
            "10",
            "11",
            "99",
            "100",
            "1303150537737011211",
            "1303150537737011212",
            "1e400",
            "1e99999999999999999999",
        ];
        for pair in rising.windows(2) {
            assert!(decimal(pair[0]) < decimal(pair[1]), "{} < {}", pair[0], pair[1]);
            assert!(decimal(pair[1]) > decimal(pair[0]), "{} > {}", pair[1], pair[0]);
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in ["", ".", "-", "+", "1e", "1e+", "e1", "1.2.3", "1 ", " 1", "1,5", "0x1", "NaN", "inf", "١", "--1"]
        {
            assert_eq!(Decimal::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn millionths_are_exact_or_nothing() {
        for (text, millionths) in [
            ("7", Some(7_000_000)),
            ("0", Some(0)),
            ("0.0000000", Some(0)),
            ("7.25", Some(7_250_000)),
            ("-1.5", Some(-1_500_000)),
            ("0.000001", Some(1)),
            ("0.0000010", Some(1)),
            ("1e-6", Some(1)),
            ("0.0000001", None),
            ("7.1234567", None),
            ("1.0E1", Some(10_000_000)),
            ("9223372036854.775807", Some(i64::MAX)),
            ("9223372036854.775808", None),
            ("1e13", None),
            ("1e999", None),
        ] {
            assert_eq!(decimal(text).millionths(), millionths, "{text}");
        }
    }
}
