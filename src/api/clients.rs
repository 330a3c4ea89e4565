//! Where calls come from: the client's address, behind trusted proxies, and how often one address may call without a valid
//! key.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// The header in which proxies name their clients.
pub(super) const FORWARDED_FOR: &str = "x-forwarded-for";
/// Calls of one address without a valid key that are answered 401 in one [`WINDOW`]; more are answered 429.
const REFUSALS: u32 = 60;
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered at a time.
const REMEMBERED: usize = 4096;

/// Where a call comes from; an extension of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientAddress(pub(super) IpAddr);

impl ClientAddress {
    /// The address in the extensions of a request. The server puts it there; without it the address is 0.0.0.0.
    pub(super) fn of(extensions: &Extensions) -> IpAddr {
        extensions.get::<Self>().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.0)
    }
}

/// The addresses of one client: an IPv4 address, or the /64 network of IPv6 that a provider gives to one customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddressGroup(IpAddr);

impl AddressGroup {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

impl std::fmt::Display for AddressGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = if self.0.is_ipv6() { "/64" } else { "" };
        write!(f, "{}{bits}", self.0)
    }
}

/// Whether connections from there are a proxy's that is trusted.
pub(super) fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address.to_canonical()))
}

/// The address of the client: the peer's, or the one that trusted proxies give. They append to the right of
/// `X-Forwarded-For`, so the rightmost address that is no trusted proxy's is the client's; what stands left of it was sent
/// by the client and is ignored. An entry that is no address ends the search at the last proxy that was read.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(trusted, client) {
        return client;
    }
    let values: Vec<&[u8]> = headers.get_all(FORWARDED_FOR).iter().map(axum::http::HeaderValue::as_bytes).collect();
    let entries = values.iter().rev().flat_map(|value| value.rsplit(|byte| *byte == b','));
    for entry in entries {
        let Some(address) = std::str::from_utf8(entry).ok().and_then(|entry| parse(entry.trim())) else { break };
        client = address;
        if !is_trusted(trusted, client) {
            break;
        }
    }
    client
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn parse(entry: &str) -> Option<IpAddr> {
    let bracketed = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bracketed.parse().ok().or_else(|| Some(entry.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// How many calls without a valid key each address has made.
#[derive(Debug, Default)]
pub(super) struct UnauthorizedCalls(Mutex<HashMap<AddressGroup, (Instant, u32)>>);

impl UnauthorizedCalls {
    /// Counts one call.
    ///
    /// # Errors
    /// There were too many: how long to wait.
    pub(super) fn count(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let group = AddressGroup::of(address);
        if all.len() >= REMEMBERED && !all.contains_key(&group) {
            all.retain(|_, (began, _)| now.saturating_duration_since(*began) < WINDOW);
            // Many addresses at once: the oldest is forgotten.
            if all.len() >= REMEMBERED
                && let Some(oldest) = all.iter().min_by_key(|(_, (began, _))| *began).map(|(group, _)| *group)
            {
                all.remove(&oldest);
            }
        }
        let (began, count) = all.entry(group).or_insert((now, 0));
        if now.saturating_duration_since(*began) >= WINDOW {
            (*began, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        if *count <= REFUSALS {
            return Ok(());
        }
        Err(WINDOW.saturating_sub(now.saturating_duration_since(*began)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn forwarded(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        let trusted = nets(&["10.0.0.0/8", "2001:db8:1::/48"]);
        for (peer, values, client) in [
            ("10.0.0.1", vec!["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", vec!["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", vec!["198.51.100.9", "192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", vec!["192.0.2.1, 10.9.9.9", "10.1.1.1"], "192.0.2.1"),
            ("10.0.0.1", vec!["10.9.9.9, 10.1.1.1"], "10.9.9.9"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec![""], "10.0.0.1"),
            ("10.0.0.1", vec!["192.0.2.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["192.0.2.1, junk, 10.1.1.1"], "10.1.1.1"),
            ("10.0.0.1", vec!["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", vec!["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", vec!["[2001:db8::7]"], "2001:db8::7"),
            ("::ffff:10.0.0.1", vec!["::ffff:192.0.2.1"], "192.0.2.1"),
            ("2001:db8:1::5", vec!["2001:db8::7"], "2001:db8::7"),
            // No other peer is trusted.
            ("192.0.2.7", vec!["198.51.100.9"], "192.0.2.7"),
            ("2001:db8:2::5", vec!["198.51.100.9"], "2001:db8:2::5"),
        ] {
            let found = address(peer.parse().unwrap(), &forwarded(&values), &trusted);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {values:?}");
        }
        assert_eq!(
            address("10.0.0.1".parse().unwrap(), &forwarded(&["192.0.2.1"]), &[]),
            "10.0.0.1".parse::<IpAddr>().unwrap()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Whatever a client puts into the header: the proxy appends the client's address, and that is the one.
        #[test]
        fn no_client_can_spoof_its_address(
            claimed in prop::collection::vec("[ -~]{0,30}|10\\.[0-9]\\.[0-9]\\.[0-9]|192\\.0\\.2\\.[0-9]", 0..5),
            client in any::<[u8; 4]>(), one_line in any::<bool>(),
        ) {
            let trusted = nets(&["10.0.0.0/8"]);
            let client = IpAddr::from(client);
            prop_assume!(!is_trusted(&trusted, client));
            let mut values = claimed;
            match values.last_mut() {
                Some(last) if one_line => *last = format!("{last}, {client}"),
                _ => values.push(client.to_string()),
            }
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            prop_assert_eq!(address(IpAddr::from([10, 0, 0, 1]), &forwarded(&values), &trusted), client);
            // The header of a client that is no proxy is ignored.
            prop_assert_eq!(address(client, &forwarded(&values), &trusted), client);
        }
    }

    #[test]
    fn an_address_is_told_to_wait_and_the_table_is_bounded() {
        let unauthorized_calls = UnauthorizedCalls::default();
        let now = Instant::now();
        let one = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..REFUSALS {
            assert_eq!(unauthorized_calls.count(one, now), Ok(()));
        }
        assert_eq!(unauthorized_calls.count(one, now + Duration::from_secs(10)), Err(Duration::from_secs(50)));
        assert_eq!(unauthorized_calls.count(IpAddr::from([192, 0, 2, 2]), now), Ok(()));
        assert_eq!(unauthorized_calls.count(one, now + WINDOW), Ok(()));
        // One customer has 2^64 addresses of IPv6, and one count.
        let six = |last| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        for n in 0..=u16::try_from(REFUSALS).unwrap() {
            assert_eq!(unauthorized_calls.count(six(n), now).is_ok(), u32::from(n) < REFUSALS, "{n}");
        }
        for n in 0..u32::try_from(REMEMBERED).unwrap() + 500 {
            let _ = unauthorized_calls.count(IpAddr::from(n.to_be_bytes()), now);
        }
        assert!(unauthorized_calls.0.lock().unwrap().len() <= REMEMBERED);
    }
}
