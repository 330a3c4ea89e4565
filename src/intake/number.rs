//! The canonical spelling of a number, which is exact: 1, 1.0 and 1e0 have the same, and no two numbers do.

/// The longest integer that is written out.
const LONGEST: usize = 40;

/// The canonical text of a JSON number. It gives the exact value in one of three forms, chosen by the value: as in RFC 8785,
/// if that text is exact; a large integer by its digits; any other number by its significant digits and a power of ten, as
/// in `-15e-1`.
pub(super) fn canonical(text: &str) -> String {
    let exact = exact(text);
    if let Some(float) = text.parse::<f64>().ok().filter(|float| float.is_finite()) {
        let short = ryu_js::Buffer::new().format(float).to_owned();
        if self::exact(&short) == exact {
            return short;
        }
    }
    let (digits, exponent) = exact.split_once('e').unwrap_or((&exact, "0"));
    match exponent.parse::<usize>() {
        Ok(zeros) if digits.len() + zeros <= LONGEST => format!("{digits}{}", "0".repeat(zeros)),
        _ => exact,
    }
}

/// `0`, or the significant digits and a power of ten.
fn exact(text: &str) -> String {
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    format!("{sign}{significant}e{}", sum(exponent, zeros, fraction.len()))
}

/// `exponent + more - less`, however many digits the exponent has.
fn sum(exponent: &str, more: usize, less: usize) -> String {
    let (sign, digits) = match exponent.as_bytes().first() {
        Some(b'-') => ("-", &exponent[1..]),
        Some(b'+') => ("", &exponent[1..]),
        _ => ("", exponent),
    };
    let digits = digits.trim_start_matches('0');
    let written = format!("{sign}{}", if digits.is_empty() { "0" } else { digits });
    let small = |n: usize| i128::try_from(n).ok();
    let exact = || written.parse::<i128>().ok()?.checked_add(small(more)?)?.checked_sub(small(less)?);
    // Such a number, of 38 digits after the `e`, is equal only to one that is spelled like it.
    exact().map_or_else(|| format!("{written}+{more}-{less}"), |sum| sum.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::canonical;

    #[test]
    fn equal_numbers_have_one_spelling_and_others_none_in_common() {
        for (one, other) in [
            ("1", "1.0"),
            ("1", "1e0"),
            ("1", "10E-1"),
            ("100", "1e+2"),
            ("0.1", "0.10"),
            ("1e400", "10e399"),
            ("0", "-0"),
            ("0", "0.000e99999999999999999999999999999999999999999"),
            ("-15e-1", "-1.5"),
            ("1e00007", "1e7"),
            ("9007199254740993", "9007199254740993.000"),
            ("1e-00000000000000000000000000000000000000000000000001", "0.1"),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one} = {other}");
        }
        for (one, other) in [
            ("1", "-1"),
            ("1", "10"),
            ("1", "0.1"),
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.1000000000000000055511151231257827"),
            ("1e400", "1e401"),
            ("1e99999999999999999999999999999999999999999", "1e99999999999999999999999999999999999999998"),
            ("1e99999999999999999999999999999999999999999", "1e-99999999999999999999999999999999999999999"),
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} ≠ {other}");
        }
    }

    /// The ids of ordinary submissions stay as they were.
    #[test]
    fn what_a_double_holds_is_written_as_rfc_8785_has_it() {
        for (text, written) in [
            ("1", "1"),
            ("10.0", "10"),
            ("2.50", "2.5"),
            ("-0", "0"),
            ("1E30", "1e+30"),
            ("0.000000000000000000000000001", "1e-27"),
            ("9007199254740993", "9007199254740993"),
            ("1234567890123456789.0", "1234567890123456789"),
            ("0.1000000000000000055511151231257827", "1000000000000000055511151231257827e-34"),
            ("1e400", "1e400"),
        ] {
            assert_eq!(canonical(text), written);
        }
    }

    /// A number by its digits, written out in full without an exponent: what people compare.
    fn written_out(negative: bool, digits: &[u8], exponent: i32) -> String {
        let digits: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        let point = i32::try_from(digits.len()).unwrap() + exponent;
        let (whole, fraction) = if point <= 0 {
            (String::new(), "0".repeat(usize::try_from(-point).unwrap()) + &digits)
        } else {
            let padded = format!("{digits}{}", "0".repeat(usize::try_from(exponent.max(0)).unwrap()));
            let (whole, fraction) = padded.split_at(usize::try_from(point).unwrap());
            (whole.to_owned(), fraction.to_owned())
        };
        let text = format!("{}.{}", whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        if text == "." || !negative { text } else { format!("-{text}") }
    }

    /// The same number spelled with its point moved by `shift` places.
    fn spelled(negative: bool, digits: &[u8], exponent: i32, shift: usize, style: u8) -> String {
        let text: String = digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        let places = shift % text.len();
        let (whole, fraction) = text.split_at(text.len() - places);
        let whole = match whole.trim_start_matches('0') {
            "" => "0",
            digits => digits,
        };
        let zeros = "0".repeat(usize::from(style % 3));
        let fraction =
            if fraction.is_empty() && zeros.is_empty() { String::new() } else { format!(".{fraction}{zeros}") };
        let exponent = exponent + i32::try_from(places).unwrap();
        let e = if style & 4 == 0 { 'e' } else { 'E' };
        let exponent = match (exponent, style & 8 == 0) {
            (0, true) => String::new(),
            (n, true) if n > 0 => format!("{e}+{n}"),
            (n, _) if n < 0 => format!("{e}-00{}", -n),
            (n, _) => format!("{e}{n}"),
        };
        format!("{}{whole}{fraction}{exponent}", if negative { "-" } else { "" })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Against numbers that are written out digit by digit.
        #[test]
        fn as_written_out(
            one in (any::<bool>(), prop::collection::vec(0_u8..10, 1..6), -6_i32..6, 0_usize..6, 0_u8..16),
            other in (any::<bool>(), prop::collection::vec(0_u8..10, 1..6), -6_i32..6, 0_usize..6, 0_u8..16),
            again in (0_usize..6, 0_u8..16),
        ) {
            let spell = |(negative, digits, exponent, shift, style): &(bool, Vec<u8>, i32, usize, u8)| {
                let text = spelled(*negative, digits, *exponent, *shift, *style);
                // As it comes out of a body.
                serde_json::from_str::<serde_json::Number>(&text).unwrap().to_string()
            };
            let mut same = one.clone();
            (same.3, same.4) = again;
            prop_assert_eq!(canonical(&spell(&one)), canonical(&spell(&same)));
            let equal = written_out(one.0, &one.1, one.2) == written_out(other.0, &other.1, other.2);
            prop_assert_eq!(canonical(&spell(&one)) == canonical(&spell(&other)), equal);
        }
    }
}
