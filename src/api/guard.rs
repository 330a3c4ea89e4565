//! What holds for every call before it is routed, and for every answer: which calls are answered without keys, and the headers
//! that keep browsers from misusing an answer.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::envelope::{ApiError, ErrorKind};
use crate::config::is_loopback_host;

/// Headers that only a proxy adds. Where no key is needed every client behind one would be answered.
const OF_PROXIES: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];
/// Paths that are answered on reserved connections.
const RESERVED_PATHS: [&str; 3] = ["/health", "/livez", "/readyz"];

/// For answers that are no page: they load nothing, and no page may show them in a frame.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/// For the page to try the API out: its own files, calls of this server, and the images in its style sheet.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
                           connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Whether this is answered on a reserved connection.
pub(super) fn is_for_reserved_connections(uri: &Uri) -> bool {
    RESERVED_PATHS.contains(&uri.path())
}

/// Where no key is needed, only programs of this machine are answered: refuses calls through a proxy, and those that a page
/// of another site makes a browser on this machine send (by a name that resolves to loopback, or from its own origin).
///
/// # Errors
/// 403, with the header that is wrong.
pub(super) fn without_keys(uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(name) = OF_PROXIES.into_iter().find(|name| headers.contains_key(*name)) {
        return Err(refused(format!("no key is configured, so nothing is answered through a proxy ({name})")));
    }
    let named = headers.get_all(header::HOST).iter().map(|host| host.to_str().ok().and_then(host_of));
    let mut named = uri.authority().map(|authority| Some(authority.host())).into_iter().chain(named);
    if !named.all(|host| host.is_some_and(is_loopback_host)) {
        return Err(refused(
            "no key is configured, so this machine must be named as Host, such as localhost".to_owned(),
        ));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter().map(|origin| origin.to_str().ok().and_then(origin_host));
    if !origins.all(|host| host.is_some_and(is_loopback_host)) {
        return Err(refused("no key is configured, so pages of other sites are not answered (Origin)".to_owned()));
    }
    Ok(())
}

fn refused(why: String) -> ApiError {
    ApiError::new(ErrorKind::Forbidden, why)
}

/// The host of `host:port`.
fn host_of(text: &str) -> Option<&str> {
    // Only what an authority is made of; a user before the host is none of a Host header.
    let authority: Authority = text.parse().ok()?;
    let length = authority.host().len();
    if text.contains('@') { None } else { text.get(..length) }
}

/// The host of `scheme://host:port`; `null` has none.
fn origin_host(text: &str) -> Option<&str> {
    host_of(text.split_once("://")?.1)
}

/// The headers of every answer.
pub(super) fn protect(path_is_page: bool, headers: &mut HeaderMap) {
    let policy = if path_is_page { PAGE_POLICY } else { POLICY };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // For browsers that know no frame-ancestors.
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // Answers change, and hold links and data that open without a key.
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        without_keys(&uri.parse().unwrap(), &map).is_ok()
    }

    #[test]
    fn only_this_machine_is_answered_without_keys() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.:1",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(answered("/health", &[("host", host)]), "{host}");
            assert!(answered("/health", &[("host", "localhost"), ("origin", &format!("http://{host}"))]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:8080",
            "192.0.2.1",
            "0.0.0.0",
            "[::]",
            "localhost@evil.example",
            "evil.example@localhost",
            "",
            " ",
            "localhost/",
            "2130706433",
            "127.1",
            "null",
            "[::1",
        ] {
            assert!(!answered("/health", &[("host", host)]), "{host}");
            assert!(!answered("/health", &[("host", "localhost"), ("origin", &format!("http://{host}"))]), "{host}");
        }
        assert!(!answered("/health", &[("host", "localhost"), ("host", "evil.example")]));
        assert!(!answered("http://evil.example/health", &[("host", "localhost")]));
        assert!(answered("http://localhost/health", &[("host", "localhost")]));
        assert!(!answered("/health", &[("host", "localhost"), ("origin", "null")]));
        assert!(!answered("/health", &[("host", "localhost"), ("origin", "")]));
        assert!(answered("/health", &[]), "a client of HTTP/1.0 names no host; no browser is one");
        for name in ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"] {
            assert!(!answered("/health", &[("host", "localhost"), (name, "")]), "{name}");
        }
    }
}
