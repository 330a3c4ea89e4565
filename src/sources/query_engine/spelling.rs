//! How numbers and times of a query's result are written: one spelling for each value, whatever engine it comes from.

use std::fmt::Display;

/// A decimal number without exponent: zeros after the last digit of its fraction say nothing, and nothing is negative.
pub(in crate::sources) fn decimal(plain: &str) -> &str {
    let shortest = if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.') } else { plain };
    if shortest == "-0" { "0" } else { shortest }
}

/// The shortest decimal number that reads as this float.
pub(in crate::sources) fn float(value: impl Display) -> String {
    let text = value.to_string();
    match text.as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        "-0" => "0".to_owned(),
        _ => text,
    }
}

/// A time whose offset from UTC is zero, without it.
pub(in crate::sources) fn time(in_utc: &str) -> &str {
    in_utc.strip_suffix("+00").unwrap_or(in_utc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_spelling() {
        for (written, spelled) in [
            ("1.50", "1.5"),
            ("1.00", "1"),
            ("100", "100"),
            ("-0.00", "0"),
            ("-0", "0"),
            ("-0.10", "-0.1"),
            ("0.0", "0"),
            ("NaN", "NaN"),
            ("Infinity", "Infinity"),
        ] {
            assert_eq!(decimal(written), spelled);
        }
        let floats = [0.1, 1.0, 1e23, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN].map(float);
        assert_eq!(floats, ["0.1", "1", "100000000000000000000000", "0", "Infinity", "-Infinity", "NaN"]);
        assert_eq!(float(0.1_f32), "0.1", "not as a double");
        let times = ["2020-02-05 10:00:00.5+00", "2020-02-05 10:00:00.5", "infinity"].map(time);
        assert_eq!(times, ["2020-02-05 10:00:00.5", "2020-02-05 10:00:00.5", "infinity"]);
    }
}
