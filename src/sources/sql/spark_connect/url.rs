//! `sc://host:port/;parameter=value`, as Spark's own clients read it.
//!
//! Source: `sql/connect/docs/client-connection-string.md` of Apache Spark.

/// The port where the URL names none.
const PORT: u16 = 15_002;

/// Where an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUrl {
    /// Host and port, for messages.
    pub authority: String,
    /// Whether the connection is encrypted.
    pub use_ssl: bool,
    /// As whom to work there.
    pub user: Option<String>,
}

impl EngineUrl {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it: it may have a token.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("sc://").ok_or("it does not begin with `sc://`")?;
        let (authority, parameters) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains([';', '@', '?', '#', ' ']) {
            return Err("it has no host: write for example `sc://spark:15002`".to_owned());
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse::<u16>().map_err(|_| "its port is no number up to 65535")?)
            }
            _ => (authority, PORT),
        };
        if host.is_empty() {
            return Err("it has no host: write for example `sc://spark:15002`".to_owned());
        }
        let mut read = Self { authority: format!("{host}:{port}"), use_ssl: false, user: None };
        for parameter in parameters.split(';').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("use_ssl", "true")) => read.use_ssl = true,
                Some(("use_ssl", "false")) => read.use_ssl = false,
                Some(("user_id", user)) if !user.is_empty() => read.user = Some(user.to_owned()),
                Some(("token", _)) => {
                    return Err("its `token` belongs into the environment, not into the URL".to_owned());
                }
                _ => {
                    return Err(
                        "it has a parameter other than `use_ssl=true`, `use_ssl=false` and `user_id`".to_owned()
                    );
                }
            }
        }
        Ok(read)
    }

    /// As HTTP/2 takes it.
    pub(super) fn http(&self) -> String {
        format!("{}://{}", if self.use_ssl { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_parameters() {
        let read = |url: &str| EngineUrl::parse(url).map(|url| (url.http(), url.user));
        assert_eq!(read("sc://spark"), Ok(("http://spark:15002".to_owned(), None)));
        assert_eq!(read("sc://[::1]:1/"), Ok(("http://[::1]:1".to_owned(), None)));
        let full = read("sc://spark:443/;use_ssl=true;user_id=exhaust");
        assert_eq!(full, Ok(("https://spark:443".to_owned(), Some("exhaust".to_owned()))));
        for url in ["spark:15002", "sc://", "sc://:1", "sc://h:x", "sc://h/;token=abc", "sc://h/;x=1", "sc://u@h"] {
            let error = read(url).unwrap_err();
            assert!(!error.contains("abc"), "{error}");
        }
    }
}
