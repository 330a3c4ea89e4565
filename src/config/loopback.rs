//! Names and addresses of this machine itself.

use std::net::IpAddr;

/// Whether a host is this machine by its loopback name or a loopback address, IPv6 in brackets or not.
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether the host of a URL, perhaps with a port, is such a one.
pub(super) fn names_loopback(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    is_loopback_host(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_this_machine_or_does_not() {
        for url in [
            "http://localhost:8080",
            "https://127.0.0.1/x",
            "http://[::1]:1",
            "http://[::1]",
            "http://LOCALHOST.",
            "http://127.1.2.3:1/a:b",
        ] {
            assert!(names_loopback(url), "{url}");
        }
        for url in
            ["https://reports.example.org", "http://localhost.example", "http://localhost:x", "localhost", "http://"]
        {
            assert!(!names_loopback(url), "{url}");
        }
    }
}
