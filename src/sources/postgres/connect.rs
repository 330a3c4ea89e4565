//! A connection to the server: what the URL asks for, how long is waited, and whether a failure may pass.
//!
//! Not here: any statement about tables.

use std::error::Error as _;
use std::str::FromStr;
use std::time::Duration;

use postgres::config::SslMode;
use postgres::error::SqlState;
use postgres::{Client, Config};

/// How long a server may take to answer a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Sent data that nobody acknowledges for this long ends the connection, as does an idle peer that does not answer:
/// without it a scan on a dead network would hang for hours.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Of a whole transaction. Databases and roles can be set to other values than the reading relies on: times in UTC
/// and ISO, binary as hex, floats that read back as they were, and backslashes that mean nothing in literals. A database
/// without encoding would refuse to send what is not UTF-8; then bytes come as they are, and are judged as in files.
pub(super) const SESSION: &str = "SET LOCAL TIME ZONE 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; \
    SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL standard_conforming_strings = on; \
    SELECT set_config('client_encoding', 'SQL_ASCII', true) WHERE current_setting('server_encoding') = 'SQL_ASCII'";

/// Where the server is, and how its certificate is looked at.
#[derive(Clone)]
pub(super) struct Server {
    config: Config,
    /// Only asked where there is TLS at all.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "this build has no TLS"))]
    trust: Trust,
}

/// What `sslmode` and `sslrootcert` of the URL say, as libpq understands them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Trust {
    /// `verify-ca`, `verify-full`: the certificate must come from a known authority.
    authority: bool,
    /// `verify-full`: and name the host.
    host: bool,
    /// A file of authorities.
    root: Option<String>,
}

impl Server {
    /// Reads a `postgres://` URL. The error tells nothing of what stands in it.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err("the source's URL does not begin with postgres://".to_owned());
        }
        let (url, trust) = without_trust(url);
        // The crate's own message may quote the URL.
        let mut config = Config::from_str(&url).map_err(|_| {
            "the source's URL does not read as postgres://user:password@host:port/database?parameters".to_owned()
        })?;
        if trust.authority {
            config.ssl_mode(SslMode::Require);
        }
        if !cfg!(feature = "tls") && config.get_ssl_mode() == SslMode::Require {
            return Err("the source's URL asks for TLS, which this build does not have (feature `tls`)".to_owned());
        }
        if config.get_application_name().is_none() {
            config.application_name("exhaustd");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(DEAD_AFTER);
        }
        config.keepalives(true).keepalives_idle(Duration::from_secs(10)).keepalives_interval(Duration::from_secs(5));
        Ok(Self { config, trust })
    }

    /// A new connection.
    #[cfg(not(feature = "tls"))]
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        self.config.connect(postgres::NoTls).map_err(|e| Failure::connecting(&e))
    }

    /// A new connection, encrypted where the server can and the URL does not forbid it.
    #[cfg(feature = "tls")]
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        let mut connector = self.trust.connector().map_err(|e| Failure {
            message: "TLS cannot be set up".to_owned(),
            detail: format!("TLS cannot be set up: {e}"),
            may_pass: false,
        })?;
        let host = self.trust.host;
        connector.set_callback(move |settings, _| {
            settings.set_verify_hostname(host);
            Ok(())
        });
        self.config.connect(connector).map_err(|e| Failure::connecting(&e))
    }
}

#[cfg(feature = "tls")]
impl Trust {
    fn connector(&self) -> Result<postgres_openssl::MakeTlsConnector, openssl::error::ErrorStack> {
        use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
        let mut builder = SslConnector::builder(SslMethod::tls())?;
        if let Some(root) = &self.root {
            builder.set_ca_file(root)?;
        }
        builder.set_verify(if self.authority { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
        Ok(postgres_openssl::MakeTlsConnector::new(builder.build()))
    }
}

/// Takes what the `postgres` crate does not know out of the URL's parameters: `sslmode=verify-…` and `sslrootcert`.
fn without_trust(url: &str) -> (String, Trust) {
    let mut trust = Trust::default();
    // A password may hold a question mark: parameters begin after the last @.
    let host = url.rfind('@').unwrap_or(0);
    let Some(mark) = url[host..].find('?').map(|at| host + at) else {
        return (url.to_owned(), trust);
    };
    let mut kept = Vec::new();
    let mut required = false;
    for pair in url[mark + 1..].split('&') {
        match pair.split_once('=') {
            Some(("sslmode", "verify-ca")) => trust.authority = true,
            Some(("sslmode", "verify-full")) => (trust.authority, trust.host) = (true, true),
            Some(("sslmode", "require") | ("ssl", "true")) => required = true,
            Some(("sslmode", "allow")) => {}
            // No file: the authorities that OpenSSL finds by itself, and never less than verify-full.
            Some(("sslrootcert", "system")) => (trust.authority, trust.host) = (true, true),
            Some(("sslrootcert", path)) => {
                trust.root = Some(percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned());
            }
            _ => kept.push(pair),
        }
    }
    if required {
        kept.push("sslmode=require");
        // Whoever names authorities wants them asked, even where only `require` is said.
        trust.authority |= trust.root.is_some();
    }
    (format!("{}?{}", &url[..mark], kept.join("&")), trust)
}

/// What went wrong on the server or on the way to it.
#[derive(Debug)]
pub(super) struct Failure {
    /// For the client: no host, no user.
    pub message: String,
    /// The whole chain, for the operator.
    pub detail: String,
    /// Whether it may pass.
    pub may_pass: bool,
}

impl Failure {
    /// No connection to be had. A wrong password passes as well: passwords are changed, and on both sides not at once.
    fn connecting(error: &postgres::Error) -> Self {
        Self {
            message: "the PostgreSQL server cannot be reached".to_owned(),
            detail: format!("the PostgreSQL server cannot be reached: {}", chain(error)),
            may_pass: true,
        }
    }

    /// Something is not there, and will not be by itself.
    pub(super) fn lasting(message: String) -> Self {
        Self { detail: message.clone(), message, may_pass: false }
    }

    /// A statement failed.
    pub(super) fn statement(error: &postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            return Self {
                message: "the connection to the PostgreSQL server was lost".to_owned(),
                detail: format!("the connection to the PostgreSQL server was lost: {}", chain(error)),
                may_pass: true,
            };
        };
        Self {
            message: format!("PostgreSQL: {}", one_line(told.message())),
            detail: format!("PostgreSQL: {} ({})", one_line(told.message()), told.code().code()),
            may_pass: passes(told.code()),
        }
    }

    /// Reading the rows failed on the way.
    pub(super) fn reading(error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<postgres::Error>()) {
            Some(inner) => Self::statement(inner),
            None => Self {
                message: "the connection to the PostgreSQL server was lost".to_owned(),
                detail: format!("the connection to the PostgreSQL server was lost: {error}"),
                may_pass: true,
            },
        }
    }
}

/// Lost connections, conflicts, resources, an operator's hand, the server's own trouble.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn passes(code: &SqlState) -> bool {
    ["08", "40", "53", "55", "57", "58", "XX"].contains(&code.code().get(..2).unwrap_or_default())
}

fn chain(error: &postgres::Error) -> String {
    let mut told = one_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = one_line(&error.to_string());
        // The crate writes its cause into its own message.
        if !told.contains(&next) {
            told = format!("{told}: {next}");
        }
        cause = error.source();
    }
    told
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_does_not_read_is_refused_without_showing_it() {
        for url in
            ["mysql://u:secret@h/d", "postgres://u:secret@h:secret/d", "postgres://u@h/d?secret=secret", "secret"]
        {
            let error = Server::new(url).err().unwrap();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_dead_networks_need_is_added() {
        let server = Server::new("postgres://u:p@h/d").unwrap();
        assert_eq!(server.config.get_connect_timeout(), Some(&Duration::from_secs(5)));
        assert_eq!(server.config.get_application_name(), Some("exhaustd"));
        assert!(server.config.get_keepalives());
        let own = Server::new("postgres://u:p@h/d?connect_timeout=9&application_name=me").unwrap();
        assert_eq!(own.config.get_connect_timeout(), Some(&Duration::from_secs(9)));
        assert_eq!(own.config.get_application_name(), Some("me"));
    }

    #[test]
    fn tls_is_asked_for_as_libpq_does() {
        let url = "postgres://u:p?q@h/d?sslmode=verify-full&connect_timeout=9&sslrootcert=/etc/my%20ca.pem";
        let (rest, trust) = without_trust(url);
        assert_eq!(rest, "postgres://u:p?q@h/d?connect_timeout=9");
        assert_eq!(trust, Trust { authority: true, host: true, root: Some("/etc/my ca.pem".to_owned()) });
        let plain = "postgres://u:p?q@h/d";
        assert_eq!(without_trust(plain), (plain.to_owned(), Trust::default()));
        let required = "postgres://h/d?sslmode=require";
        for (url, authority, host) in [
            (required.to_owned(), false, false),
            ("postgres://h/d?ssl=true".to_owned(), false, false),
            (format!("{required}&sslrootcert=ca.pem"), true, false),
            (format!("{required}&sslrootcert=system"), true, true),
        ] {
            let (rest, trust) = without_trust(&url);
            assert_eq!((rest.as_str(), trust.authority, trust.host), (required, authority, host), "{url}");
        }
        #[cfg(not(feature = "tls"))]
        for asks in ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full", "sslrootcert=system", "ssl=true"] {
            let error = Server::new(&format!("postgres://h/d?{asks}")).err().unwrap();
            assert!(error.contains("TLS"), "{error}");
        }
        assert!(Server::new("postgres://h/d?sslmode=prefer").is_ok());
        assert!(Server::new("postgres://h/d?sslmode=allow").is_ok());
    }

    #[test]
    fn what_may_pass() {
        for code in ["08006", "40001", "40P01", "53300", "55P03", "57P01", "57014", "58030", "XX000"] {
            assert!(passes(&SqlState::from_code(code)), "{code}");
        }
        for code in ["42P01", "42703", "42501", "22021", "0A000"] {
            assert!(!passes(&SqlState::from_code(code)), "{code}");
        }
    }
}
