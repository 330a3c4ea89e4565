//! Which texts of a row's `download_urls` lead its readers anywhere. Others write rows too, so a text counts only where
//! it is the key of a file that was made for this very row, or a URL on a host that the operator names.

use super::super::key::{ObjectKey, PathError};

/// The key of a file that was made for the row that names it. Only such keys are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnKey(ObjectKey);

/// What a text of `download_urls` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file of this row.
    File(OwnKey),
    /// A URL on a host that the operator allows.
    Url,
}

/// Why a text of `download_urls` leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// Neither a key nor a URL.
    #[error("it is no key: it {0}")]
    NoKey(PathError),
    /// A key with a segment that begins with a dot.
    #[error("it has a segment that begins with a dot")]
    Hidden,
    /// A key that was not made for this row.
    #[error("its file was not made for this request")]
    NotOwn,
    /// A URL on a host that is not in `[api] link_hosts`, or one that programs read in different ways.
    #[error("it is a URL, and its host is not in link_hosts")]
    Host,
}

impl OwnKey {
    /// Reads a key from the row of this tag and request id.
    pub fn parse(text: &str, tag: &str, request_id: &str) -> Result<Self, Withheld> {
        let key = ObjectKey::parse(text).map_err(Withheld::NoKey)?;
        if key.is_hidden() {
            return Err(Withheld::Hidden);
        }
        if key.is_of(tag, request_id) { Ok(Self(key)) } else { Err(Withheld::NotOwn) }
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &ObjectKey {
        &self.0
    }
}

impl Target {
    /// Reads a text from `download_urls` of the row of this tag and request id.
    pub fn parse(text: &str, tag: &str, request_id: &str, hosts: &[LinkHost]) -> Result<Self, Withheld> {
        match authority(text) {
            None => OwnKey::parse(text, tag, request_id).map(Self::File),
            Some(authority) if is_plain(text) && hosts.iter().any(|host| host.is(authority)) => Ok(Self::Url),
            Some(_) => Err(Withheld::Host),
        }
    }
}

/// What stands between `http://` or `https://` and the path; `None`: it is no such URL.
fn authority(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let is_http = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    is_http.then(|| rest.split(['/', '?', '#']).next().unwrap_or_default())
}

/// Whether a URL has only characters that all programs read alike: browsers drop tabs and take a backslash for a slash.
fn is_plain(url: &str) -> bool {
    url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// One entry of `[api] link_hosts`: a host, or a host and a port, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkHost(String);

impl LinkHost {
    /// Reads an entry.
    ///
    /// # Errors
    /// What is wrong with it, to be said after the name of the list.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('/') || text.contains('@') {
            return Err("holds hosts, such as \"files.example.org\" or \"files.example.org:8443\", and no URLs");
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        if port.is_some_and(|port| port.starts_with(['+', '0']) || port.parse::<u16>().is_err()) {
            return Err("has an entry whose port is no number from 1 to 65535");
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_address = |inner: &str| inner.parse::<std::net::Ipv6Addr>().is_ok();
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if bracketed.map_or(!host.is_empty() && host.chars().all(is_name), is_address) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("has an entry that is no host: ASCII letters, digits, `.`, `-` and `_`, or an IPv6 address in brackets")
        }
    }

    /// The same letters and digits, the port too: a URL without one is not on `host:443`.
    fn is(&self, authority: &str) -> bool {
        authority.eq_ignore_ascii_case(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "r/t/1/0123456789abcdef/reports-b.csv";

    fn hosts(entries: &[&str]) -> Vec<LinkHost> {
        entries.iter().map(|entry| LinkHost::parse(entry).unwrap()).collect()
    }

    #[test]
    fn only_a_row_s_own_files_are_its_links() {
        let read = |text: &str| Target::parse(text, "t", "1", &[]);
        assert!(matches!(read(OWN), Ok(Target::File(own)) if own.key().as_str() == OWN));
        for (text, why) in [
            ("r/t/2/0123456789abcdef/reports-b.csv", Withheld::NotOwn),
            ("r/T/1/0123456789abcdef/reports-b.csv", Withheld::NotOwn),
            ("r/t/1/0123456789abcdef/secret.csv", Withheld::NotOwn),
            ("jobs.toml", Withheld::NotOwn),
            ("javascript:alert(1)", Withheld::NotOwn),
            ("file:///etc/passwd", Withheld::NoKey(PathError::EmptySegment)),
            ("../jobs.toml", Withheld::NoKey(PathError::DotSegment(".."))),
            (".link-key", Withheld::Hidden),
            (".incoming/t/1/0123456789abcdef/reports-b.csv", Withheld::Hidden),
            ("https://example.org/x", Withheld::Host),
            ("HTTPS://example.org/x", Withheld::Host),
            ("", Withheld::NoKey(PathError::EmptySegment)),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_url_is_a_link_only_on_an_allowed_host() {
        let hosts = hosts(&["files.example.org", "Other.example:8443", "[2001:db8::1]:1", "10.0.0.7"]);
        let read = |text: &str| Target::parse(text, "t", "1", &hosts);
        for url in [
            "https://files.example.org/a/b.csv?sig=x%2F#f",
            "http://FILES.example.org",
            "HTTPS://files.example.org/",
            "https://other.example:8443/x",
            "https://[2001:DB8::1]:1/x",
            "https://10.0.0.7?x",
        ] {
            assert_eq!(read(url), Ok(Target::Url), "{url}");
        }
        for url in [
            "https://files.example.org:443/x",
            "https://other.example/x",
            "https://files.example.org.evil.org/x",
            "https://evil.org/files.example.org",
            "https://files.example.org@evil.org/x",
            "https://evil.org\\@files.example.org/x",
            "https://files.example.org\\.evil.org/x",
            "https://files.example.org/a\tb",
            "https:///files.example.org/x",
            "https://files.example.org%2eevil.org/x",
            "https://f%69les.example.org/x",
            " https://files.example.org/x",
            "https://files.example.org /x",
            "https://files.example.org/ä",
            "https://10.0.0.07/x",
        ] {
            assert!(read(url).is_err(), "{url}");
        }
    }

    #[test]
    fn an_entry_is_a_host_or_a_host_and_a_port() {
        for bad in [
            "",
            "https://x.org",
            "x.org/",
            "u@x.org",
            "x.org:",
            "x.org:0",
            "x.org:+1",
            "x.org:65536",
            "x.org:http",
            "*.x.org",
            "x org",
            "x.org\n",
            "ä.org",
            "[::1",
            "::1",
            "[::g]",
            ":80",
            "a:b:1",
        ] {
            assert!(LinkHost::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(hosts(&["X.org:80", "[::1]", "_a-b.c"]).len(), 3);
    }
}
