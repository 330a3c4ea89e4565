//! `[api]`: where it listens, and who may call it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use super::checked::{Api, ApiKey};
use super::errors::Place;
use super::jobs::shown;
use super::raw::Value;
use super::section::Section;

/// The API, `None` where it does not listen. All of the section is checked either way.
pub(super) fn api(section: &Section<'_>, file: &Path) -> Option<Api> {
    let listen = listen(section);
    let keys = keys(&section.sections("keys", "api.keys"), file);
    let public_url = public_url(section);
    let metrics_public = section.boolean("metrics_public");
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

fn keys(sections: &[Section<'_>], file: &Path) -> Vec<ApiKey> {
    let mut names: HashMap<&str, &Place> = HashMap::new();
    let mut keys = Vec::new();
    for section in sections {
        let name = section.required("name");
        if let Some((name, place)) = name
            && let Some(first) = names.insert(name, place)
        {
            let what = format!("the key name `{name}` is taken already, at {}", shown(first, file));
            section.faults.add(place, what);
        }
        let sha256 = section.required("sha256").and_then(|(text, place)| {
            let read = parse_sha256(text);
            if read.is_none() {
                section.faults.add(place, "`sha256` must be the 64 hexadecimal digits of the key's SHA-256");
            }
            read
        });
        let key = ApiKey {
            name: name.map_or_else(String::new, |(name, _)| name.to_owned()),
            sha256: sha256.unwrap_or_default(),
            tags: globs(section, "tags").unwrap_or_else(|| vec!["*".to_owned()]),
            channels: globs(section, "channels").unwrap_or_default(),
            per_minute: section.number("per_minute", 1),
            open_requests: section.number("open_requests", 1),
        };
        keys.push(key);
    }
    keys
}

/// A list that is there and empty would either cover everything or nothing; which one is not to be guessed.
fn globs(section: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let globs = section.texts(key)?;
    if let (true, Some(node)) = (globs.is_empty(), section.node(key)) {
        section.faults.add(&node.place, format!("`{key}` is empty: name some, or leave it out for all"));
    }
    Some(globs.into_iter().map(|(glob, _)| glob.to_owned()).collect())
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    bytes?.try_into().ok()
}
