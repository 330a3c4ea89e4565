//! The connection URL, completed with settings that make a dead network noticed.

use super::super::types::QueueError;

/// Added where the URL does not set them. Sent data that is not acknowledged for four seconds ends the connection, and so does an
/// idle peer that does not answer; without these a call could hang for hours.
const PARAMETERS: [(&str, &str); 7] = [
    ("application_name", "exhaustd"),
    ("connect_timeout", "3"),
    ("keepalives", "1"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "3"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "4000"),
];

/// The name of the setting that marks a session: see `connect`.
macro_rules! mark {
    () => {
        "exhaust.connection"
    };
}
pub(super) const MARK: &str = mark!();
pub(super) use mark;

/// A complete URL with one more startup option, which sets [`MARK`]. `otherwise`: the options that libpq takes where the URL has
/// none (`PGOPTIONS`); they stay in force.
pub(super) fn marked(complete: &str, mark: &str, otherwise: Option<&str>) -> String {
    let option = format!("-c%20{MARK}%3D{mark}");
    let query = complete.rfind('?').map_or(complete.len(), |at| at + 1);
    let given = complete[query..].split('&').find(|pair| pair.starts_with("options="));
    match (given, otherwise) {
        (Some(given), _) => {
            let end = query + complete[query..].find(given).unwrap_or(0) + given.len();
            format!("{}%20{option}{}", &complete[..end], &complete[end..])
        }
        (None, Some(otherwise)) => format!("{complete}&options={}%20{option}", percent_encoded(otherwise)),
        (None, None) => format!("{complete}&options={option}"),
    }
}

fn percent_encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(byte).collect()
}

/// The URL with [`PARAMETERS`].
pub(super) fn complete(url: &str) -> Result<String, QueueError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(QueueError::Refused("the database URL does not begin with postgres://".to_owned()));
    }
    if url.contains('\0') {
        return Err(QueueError::Refused("the database URL contains a NUL character".to_owned()));
    }
    // A password may contain a question mark: parameters begin after the last @.
    let host = url.rfind('@').unwrap_or(0);
    let given = url[host..].split_once('?').map_or("", |(_, query)| query);
    let given: Vec<(&str, &str)> = given.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let asks_for_tls =
        |(name, value): &(&str, &str)| *name == "sslmode" && ["require", "verify-ca", "verify-full"].contains(value);
    if !cfg!(feature = "tls") && given.iter().any(asks_for_tls) {
        return Err(QueueError::Refused(
            "the database URL asks for TLS, which this build does not have (feature `tls`)".to_owned(),
        ));
    }
    let mut complete = url.to_owned();
    let mut sign = if url[host..].contains('?') { '&' } else { '?' };
    for (name, value) in PARAMETERS.iter().filter(|(name, _)| given.iter().all(|(given, _)| given != name)) {
        complete.extend([sign.to_string().as_str(), name, "=", value]);
        sign = '&';
    }
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "application_name=exhaustd&connect_timeout=3&keepalives=1&keepalives_idle=10&\
                       keepalives_interval=3&keepalives_count=3&tcp_user_timeout=4000";

    #[test]
    fn parameters_are_added_and_the_givens_win() {
        assert_eq!(complete("postgres://u:p?w@h/d").unwrap(), format!("postgres://u:p?w@h/d?{ALL}"));
        assert_eq!(
            complete("postgresql://h/d?sslmode=disable").unwrap(),
            format!("postgresql://h/d?sslmode=disable&{ALL}")
        );
        let own = complete("postgres://h/d?connect_timeout=9&application_name=me").unwrap();
        assert!(own.starts_with("postgres://h/d?connect_timeout=9&application_name=me&keepalives=1&"), "{own}");
        assert_eq!(own.matches("connect_timeout").count(), 1);
    }

    #[test]
    fn a_mark_is_added_to_the_options_that_are_there() {
        let mark = "-c%20exhaust.connection%3D0a";
        let of = |url: &str, otherwise| marked(&complete(url).unwrap(), "0a", otherwise);
        assert_eq!(of("postgres://u:p?w@h/d", None), format!("postgres://u:p?w@h/d?{ALL}&options={mark}"));
        let given = "postgres://h/d?options=-c%20search_path%3Dx&sslmode=disable";
        let whole = format!("postgres://h/d?options=-c%20search_path%3Dx%20{mark}&sslmode=disable&{ALL}");
        assert_eq!(of(given, None), whole);
        assert_eq!(of(given, Some("-c a=b")), whole, "libpq prefers the URL's");
        assert_eq!(of("postgres://h/d", Some("-c a=b")), format!("postgres://h/d?{ALL}&options=%2Dc%20a%3Db%20{mark}"));
    }

    #[test]
    fn what_cannot_connect_is_refused_without_showing_the_password() {
        for url in ["mysql://u:secret@h/d", "postgres://u:secret\0@h/d"] {
            let error = complete(url).unwrap_err();
            assert!(!error.may_pass() && !error.to_string().contains("secret"), "{error}");
        }
        #[cfg(not(feature = "tls"))]
        assert!(complete("postgres://u:secret@h/d?sslmode=require").unwrap_err().to_string().contains("TLS"));
    }
}
