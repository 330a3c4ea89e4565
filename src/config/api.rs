//! `[api]`: where it listens, and who may call it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use ipnet::IpNet;

use super::api_keys;
use super::checked::Api;
use super::loopback::names_loopback;
use crate::document::Fallback::{Is, Says};
use crate::document::Form::{Boolean, Sections, Text, Texts};
use crate::document::{Key, Place, Section, Value, live, restart};
use crate::outputs::LinkHost;

/// The keys of the section.
pub(super) const KEYS: &[Key] = &[
    restart(
        "listen",
        Text,
        Is("\"off\""),
        "IP address and port of the HTTP API, such as `\"127.0.0.1:8080\"`. On any other address than loopback it \
         needs keys.",
    ),
    restart(
        "public_url",
        Text,
        Says("`http://` and `listen`"),
        "What download links begin with; behind a proxy, its address.",
    ),
    restart(
        "metrics_public",
        Boolean,
        Says("`true` on loopback, else `false`"),
        "Whether `/metrics` needs no key. With `trusted_proxies`, or `public_url` on another host, `false` on \
         loopback too.",
    ),
    restart(
        "trusted_proxies",
        Texts,
        Is("[]"),
        "Addresses and networks of proxies before the API (`[\"10.0.0.5\", \"10.1.0.0/16\"]`): for calls from \
         there the client's address is the rightmost one in `X-Forwarded-For` that is none of these. Needs keys. \
         See [Behind a proxy](deployment.md#behind-a-proxy).",
    ),
    live(
        "link_hosts",
        Texts,
        Is("[]"),
        "Hosts that absolute URLs in rows of other systems may lead to: `\"files.example.org\"`, or with a port \
         `\"files.example.org:8443\"`, as the URLs write them. Others are [withheld](api.md#links). Takes effect \
         when the file is saved.",
    ),
    live("keys", Sections(api_keys::KEYS), Says("none"), "Who may call it, each under its own `[[api.keys]]`."),
];

/// The API, `None` where it does not listen. All of the section is checked either way.
/// `keyed`: it asks for keys whether there are any or not.
pub(super) fn api(section: &Section<'_>, file: &Path, keyed: bool) -> Option<Api> {
    let listen = listen(section);
    let keys = api_keys::keys(&section.sections("keys"), file);
    let public_url = public_url(section);
    let metrics_public = section.boolean("metrics_public");
    let link_hosts = link_hosts(section);
    let trusted_proxies = trusted_proxies(section);
    let (listen, place) = listen?;
    let is_loopback = listen.ip().to_canonical().is_loopback();
    let no_keys =
        !keyed && section.node("keys").is_none_or(|node| matches!(&node.value, Value::List(keys) if keys.is_empty()));
    if !is_loopback && no_keys {
        section.faults.add(
            place,
            format!(
                "`{listen}` can be reached by others, and nobody would need a key: add [[api.keys]], or listen on \
                 127.0.0.1:{}",
                listen.port()
            ),
        );
    }
    if is_loopback && no_keys {
        refuse_strangers(section, public_url.as_deref());
    }
    // Behind a proxy on this machine loopback is no sign that nobody else calls.
    let is_for_this_machine =
        is_loopback && trusted_proxies.is_empty() && public_url.as_deref().is_none_or(names_loopback);
    Some(Api {
        listen,
        public_url: public_url.unwrap_or_else(|| format!("http://{listen}")),
        metrics_public: metrics_public.unwrap_or(is_for_this_machine),
        trusted_proxies,
        keyed: keyed || !keys.is_empty(),
        link_hosts,
        keys,
    })
}

fn listen<'a>(section: &Section<'a>) -> Option<(SocketAddr, &'a Place)> {
    let (text, place) = section.filled("listen").filter(|(text, _)| *text != "off")?;
    let Ok(address) = text.parse() else {
        let what = "`listen` is an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\", or \"off\"";
        section.faults.add(place, what);
        return None;
    };
    Some((address, place))
}

/// Where no key is needed only this machine is meant to call: what makes others come is refused.
fn refuse_strangers(section: &Section<'_>, public_url: Option<&str>) {
    let why = "and nobody would need a key: add [[api.keys]], or leave it out";
    if let Some(node) =
        section.node("trusted_proxies").filter(|node| !matches!(&node.value, Value::List(all) if all.is_empty()))
    {
        section.faults.add(&node.place, format!("behind `trusted_proxies` others can reach the API, {why}"));
    }
    if let (Some(url), Some(node)) = (public_url, section.node("public_url"))
        && !names_loopback(url)
    {
        section.faults.add(&node.place, format!("under `public_url` others are to reach the API, {why}"));
    }
}

/// Networks (`10.0.0.0/8`) or single addresses.
fn trusted_proxies(section: &Section<'_>) -> Vec<IpNet> {
    let read = |(text, place): (&str, &Place)| {
        let net = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let what = match net {
            Err(_) => "`trusted_proxies` are addresses and networks, such as \"10.0.0.5\" or \"10.0.0.0/8\"".to_owned(),
            Ok(net) if net.prefix_len() == 0 => {
                "`trusted_proxies` must not be everybody: then each client could name any address as its own".to_owned()
            }
            Ok(net) if net.trunc() != net => {
                format!("`{net}` has bits behind its prefix; did you mean {}?", net.trunc())
            }
            Ok(net) => return Some(net),
        };
        section.faults.add(place, what);
        None
    };
    section.texts("trusted_proxies").unwrap_or_default().into_iter().filter_map(read).collect()
}

/// Without a slash at its end: links go on with `/files/…`.
fn public_url(section: &Section<'_>) -> Option<String> {
    let (url, place) = section.filled("public_url")?;
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let what = match host {
        None => "must begin with http:// or https://",
        Some(rest) if rest.trim_end_matches('/').is_empty() => "names no host",
        Some(rest) if rest.contains('@') => "must not hold a user or a password: it is a part of every link",
        Some(rest) if rest.contains(['?', '#']) => "must not hold `?` or `#`: links go on after it",
        Some(rest) if rest.contains(|c: char| c.is_whitespace() || c.is_control()) => "must not hold blanks",
        Some(_) => return Some(url.trim_end_matches('/').to_owned()),
    };
    section.faults.add(place, format!("`public_url` {what}"));
    None
}

fn link_hosts(section: &Section<'_>) -> Vec<LinkHost> {
    let read = |(text, place): (&str, &Place)| {
        LinkHost::parse(text).map_err(|what| section.faults.add(place, format!("`link_hosts` {what}"))).ok()
    };
    section.texts("link_hosts").unwrap_or_default().into_iter().filter_map(read).collect()
}
