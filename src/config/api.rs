//! `[api]`: where it listens, and who may call it.

use std::net::SocketAddr;
use std::path::Path;

use super::api_keys::keys;
use super::checked::Api;
use super::errors::Place;
use super::raw::Value;
use super::section::Section;
use crate::outputs::LinkHost;

/// The API, `None` where it does not listen. All of the section is checked either way.
pub(super) fn api(section: &Section<'_>, file: &Path) -> Option<Api> {
    let listen = listen(section);
    let keys = keys(&section.sections("keys", "api.keys"), file);
    let public_url = public_url(section);
    let metrics_public = section.boolean("metrics_public");
    let link_hosts = link_hosts(section);
    let (listen, place) = listen?;
    let is_loopback = listen.ip().to_canonical().is_loopback();
    let no_keys = section.node("keys").is_none_or(|node| matches!(&node.value, Value::List(keys) if keys.is_empty()));
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
    Some(Api {
        listen,
        public_url: public_url.unwrap_or_else(|| format!("http://{listen}")),
        metrics_public: metrics_public.unwrap_or(is_loopback),
        keyed: !keys.is_empty(),
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
