//! Where the server is: what the URL asks for, and how long is waited.
//!
//! Not here: any statement about tables.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode};

use super::connection::{Connection, Tls};
use super::failure::Failure;

/// How long a server may take to answer a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Sent data that nobody acknowledges for this long ends the connection, as does an idle peer that does not answer:
/// without it a scan on a dead network would hang for hours.
const DEAD_AFTER: Duration = Duration::from_secs(30);
/// An answer that is awaited, or the next row of one, comes within this time, or the connection is given up.
const SILENCE: Duration = Duration::from_mins(5);

/// Begins a transaction, and holds for the whole of it. Databases and roles can be set to other values than the reading relies on: times in UTC
/// and ISO, binary as hex, floats that read back as they were, and backslashes that mean nothing in literals. A database
/// without encoding would refuse to send what is not UTF-8; then bytes come as they are, and are judged as in files.
macro_rules! begin {
    ($begin:literal) => {
        concat!(
            $begin,
            "; SET LOCAL TIME ZONE 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; \
            SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; \
            SET LOCAL standard_conforming_strings = on; \
            SELECT set_config('client_encoding', 'SQL_ASCII', true) \
            WHERE current_setting('server_encoding') = 'SQL_ASCII'"
        )
    };
}

/// Begins the transaction of one scan.
pub(super) const BEGIN: &str = begin!("BEGIN");
/// Begins the transaction of all scans of a load. Between two of them the rows of the first are put in order, which may take
/// longer than a session may idle.
pub(super) const BEGIN_SNAPSHOT: &str =
    begin!("BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL idle_in_transaction_session_timeout = 0");

/// Where the server is, and how its certificate is looked at.
#[derive(Clone)]
pub(super) struct Server {
    /// One for each host of the URL: the crate tries them all by itself, but would stay with one that is silent.
    hosts: Vec<Config>,
    /// The hosts are tried in any order.
    shuffled: bool,
    /// Only asked where there is TLS at all.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "this build has no TLS"))]
    trust: Trust,
    /// How long an answer is waited for.
    pub(super) silence: Duration,
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
    /// Whether one of its hosts is a socket or a loopback address.
    pub(super) fn is_on_this_machine(&self) -> bool {
        let is_near = |host: &Host| match host {
            Host::Tcp(name) => {
                name.eq_ignore_ascii_case("localhost")
                    || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
            }
            Host::Unix(_) => true,
        };
        self.hosts.iter().flat_map(Config::get_hosts).any(is_near)
    }

    /// Reads a `postgres://` URL; `password` counts in place of its own. The error tells nothing of what stands in it.
    pub(super) fn new(url: &str, password: Option<&str>) -> Result<Self, String> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err("the source's URL does not begin with postgres://".to_owned());
        }
        let (url, trust) = without_trust(url);
        // The crate's own message may quote the URL.
        let mut config = Config::from_str(&url).map_err(|_| {
            "the source's URL does not read as postgres://user:password@host:port/database?parameters".to_owned()
        })?;
        if let Some(password) = password {
            config.password(password);
        }
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
        let shuffled = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        Ok(Self { hosts: each_host(&config), shuffled, trust, silence: SILENCE })
    }

    /// A new connection to the first host that gives one, encrypted where the server can, the build can and the URL does
    /// not forbid it. The error is the last host's.
    pub(super) fn connect(&self) -> Result<Connection, Failure> {
        let mut hosts: Vec<&Config> = self.hosts.iter().collect();
        if self.shuffled {
            fastrand::shuffle(&mut hosts);
        }
        let mut failure = Failure::lasting("the source's URL names no host".to_owned());
        for host in hosts {
            match Connection::new(host, self.tls()?, self.silence) {
                Ok(connection) => return Ok(connection),
                Err(failed) => failure = failed,
            }
        }
        Err(failure)
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with TLS")]
    fn tls(&self) -> Result<Tls, Failure> {
        Ok(tokio_postgres::NoTls)
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Result<Tls, Failure> {
        let mut connector = self.trust.connector().map_err(|e| Failure {
            detail: format!("TLS cannot be set up: {e}"),
            ..Failure::lasting("TLS cannot be set up".to_owned())
        })?;
        let host = self.trust.host;
        connector.set_callback(move |settings, _| {
            settings.set_verify_hostname(host);
            Ok(())
        });
        Ok(connector)
    }
}

#[cfg(feature = "tls")]
impl Trust {
    fn connector(&self) -> Result<Tls, openssl::error::ErrorStack> {
        use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
        let mut builder = SslConnector::builder(SslMethod::tls())?;
        if let Some(root) = &self.root {
            builder.set_ca_file(root)?;
        }
        builder.set_verify(if self.authority { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
        Ok(postgres_openssl::MakeTlsConnector::new(builder.build()))
    }
}

/// The same for each host by itself. What names hosts, addresses and ports in different numbers stays one: the crate
/// says what is wrong with it.
fn each_host(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    let fits = |some: usize| some == 0 || some == count;
    if count < 2 || !fits(hosts.len()) || !fits(addresses.len()) || !(fits(ports.len()) || ports.len() == 1) {
        return vec![config.clone()];
    }
    let one = |number: usize| {
        let mut one = without_host(config);
        match hosts.get(number) {
            Some(Host::Tcp(name)) => _ = one.host(name),
            Some(Host::Unix(path)) => _ = one.host_path(path),
            None => {}
        }
        if let Some(address) = addresses.get(number) {
            one.hostaddr(*address);
        }
        if let Some(port) = ports.get(number).or(ports.first()) {
            one.port(*port);
        }
        one
    };
    (0..count).map(one).collect()
}

/// Everything but hosts, addresses and ports, which the crate lets nobody take out again.
fn without_host(config: &Config) -> Config {
    let mut rest = Config::new();
    if let Some(user) = config.get_user() {
        rest.user(user);
    }
    if let Some(password) = config.get_password() {
        rest.password(password);
    }
    if let Some(name) = config.get_dbname() {
        rest.dbname(name);
    }
    if let Some(options) = config.get_options() {
        rest.options(options);
    }
    if let Some(name) = config.get_application_name() {
        rest.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        rest.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        rest.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        rest.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        rest.keepalives_retries(retries);
    }
    rest.keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .target_session_attrs(config.get_target_session_attrs())
        .load_balance_hosts(config.get_load_balance_hosts());
    rest
}

/// Takes what the crate does not know out of the URL's parameters: `sslmode=verify-…` and `sslrootcert`.
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
        // Authorities that are named are asked, also where only `require` is said.
        trust.authority |= trust.root.is_some();
    }
    (format!("{}?{}", &url[..mark], kept.join("&")), trust)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_does_not_read_is_refused_without_showing_it() {
        for url in
            ["mysql://u:secret@h/d", "postgres://u:secret@h:secret/d", "postgres://u@h/d?secret=secret", "secret"]
        {
            let error = Server::new(url, None).err().unwrap();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_dead_networks_need_is_added() {
        let server = Server::new("postgres://u:p@h/d", None).unwrap();
        assert_eq!(server.hosts[0].get_connect_timeout(), Some(&Duration::from_secs(5)));
        assert_eq!(server.hosts[0].get_application_name(), Some("exhaustd"));
        assert!(server.hosts[0].get_keepalives());
        assert_eq!(server.silence.as_secs(), 300);
        let own = Server::new("postgres://u:p@h/d?connect_timeout=9&application_name=me", None).unwrap();
        assert_eq!(own.hosts[0].get_connect_timeout(), Some(&Duration::from_secs(9)));
        assert_eq!(own.hosts[0].get_application_name(), Some("me"));
    }

    #[test]
    fn each_host_by_itself_is_the_same_but_for_the_host() {
        let url = |hosts: &str| {
            format!(
                "postgres://u:p@{hosts}/d?options=-c%20geqo%3Doff&application_name=me&sslmode=disable&sslnegotiation=direct\
                 &connect_timeout=9&tcp_user_timeout=8&keepalives_idle=7&keepalives_interval=6&keepalives_retries=5\
                 &target_session_attrs=read-only&channel_binding=disable&load_balance_hosts=random"
            )
        };
        let alone = |hosts: &str| Config::from_str(&url(hosts)).unwrap();
        let several = each_host(&alone("a:1,%2Frun:2,c:3"));
        assert_eq!(several, [alone("a:1"), alone("%2Frun:2"), alone("c:3")]);
        let one_port = Config::from_str("host=a,b hostaddr=127.0.0.1,127.0.0.2 port=7").unwrap();
        let expected = ["host=a hostaddr=127.0.0.1 port=7", "host=b hostaddr=127.0.0.2 port=7"];
        assert_eq!(each_host(&one_port), expected.map(|one| Config::from_str(one).unwrap()));
        let wrong = Config::from_str("host=a,b,c hostaddr=127.0.0.1,127.0.0.2").unwrap();
        assert_eq!(each_host(&wrong), [wrong]);
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
            let error = Server::new(&format!("postgres://h/d?{asks}"), None).err().unwrap();
            assert!(error.contains("TLS"), "{error}");
        }
        assert!(Server::new("postgres://h/d?sslmode=prefer", None).is_ok());
        assert!(Server::new("postgres://h/d?sslmode=allow", None).is_ok());
    }
}
