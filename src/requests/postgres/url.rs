//! The connection URL, completed with what makes a dead network noticed.

use super::super::QueueError;

/// Added where the URL does not say otherwise. Sent data that nobody acknowledges for four seconds ends the connection,
/// and so does an idle peer that does not answer; without these a call could hang for hours.
const PARAMETERS: [(&str, &str); 7] = [
    ("application_name", "exhaustd"),
    ("connect_timeout", "3"),
    ("keepalives", "1"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "3"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "4000"),
];

/// The URL with [`PARAMETERS`].
pub(super) fn complete(url: &str) -> Result<String, QueueError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(QueueError::Refused("the database URL does not begin with postgres://".to_owned()));
    }
    if url.contains('\0') {
        return Err(QueueError::Refused("the database URL contains a NUL character".to_owned()));
    }
    // A password may hold a question mark: parameters begin after the last @.
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
    fn what_cannot_connect_is_refused_without_showing_the_password() {
        for url in ["mysql://u:secret@h/d", "postgres://u:secret\0@h/d"] {
            let error = complete(url).unwrap_err();
            assert!(!error.may_pass() && !error.to_string().contains("secret"), "{error}");
        }
        #[cfg(not(feature = "tls"))]
        assert!(complete("postgres://u:secret@h/d?sslmode=require").unwrap_err().to_string().contains("TLS"));
    }
}
