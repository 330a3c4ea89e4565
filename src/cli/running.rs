//! `exhaustd check --live` and `--ready`: asks the process that runs here, as a health check of a container does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::print::outln;
use super::{CommandError, block_on, daemons, open_to_read};
use crate::config::Config;
use crate::requests::Daemon;

/// How long the process may take to answer. Less than health checks of containers wait by default.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks this path (`livez`, `readyz`) of the API that jobs.toml says. Without an API, a daemon of this host must have written its
/// heartbeat.
///
/// # Errors
/// It does not answer, or not with 200.
pub(super) fn ask(config: &Config, path: &str) -> Result<(), CommandError> {
    let Some(api) = &config.api else { return heartbeat(config) };
    let url = format!("http://{}/{path}", reachable(api.listen));
    let (status, body) = block_on(get(&url))?;
    if status == 200 {
        outln!("{url}: {status}");
        return Ok(());
    }
    Err(CommandError::Unreachable(format!("{url}: {status}{}", named(&body))))
}

async fn get(url: &str) -> Result<(u16, Value), CommandError> {
    let failed = |error: reqwest::Error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        CommandError::Unreachable(format!("{url} does not answer: {}{cause}", error.without_url()))
    };
    // Plain HTTP, but the client is made with TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().map_err(failed)?;
    let answer = client.get(url).send().await.map_err(failed)?;
    let status = answer.status().as_u16();
    let text = answer.text().await.map_err(failed)?;
    Ok((status, serde_json::from_str(&text).unwrap_or_default()))
}

/// What an answer says that is not usable; the messages are for callers with a key.
fn named(body: &Value) -> String {
    let dependencies = body["dependencies"].as_object().into_iter().flatten();
    let not_usable: Vec<&str> =
        dependencies.filter(|(_, one)| one["ok"] == false).map(|(name, _)| name.as_str()).collect();
    match body["message"].as_str() {
        Some(message) => format!(", {message}"),
        None if not_usable.is_empty() => String::new(),
        None => format!(", not usable: {}", not_usable.join(", ")),
    }
}

/// The address at which a listener on all addresses is reached from here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listen.port())
}

fn heartbeat(config: &Config) -> Result<(), CommandError> {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    let found = open_to_read(config)?.daemons()?;
    let is_here = |daemon: &&Daemon| daemon.alive && daemon.heartbeat.name == host;
    let Some(Daemon { heartbeat, .. }) = found.iter().find(is_here) else {
        let known = daemons::KnownDaemons::Daemons(found);
        let why = known.none_alive().unwrap_or_else(|| "those that work are on other hosts".to_owned());
        return Err(CommandError::Unreachable(format!("no daemon of {host} is alive: {why}")));
    };
    outln!("the daemon of {host} is alive (pid {})", heartbeat.pid);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_usable_is_named() {
        let body = |text: &str| named(&serde_json::from_str(text).unwrap());
        let report =
            r#"{"dependencies": {"database": {"ok": true}, "scheduler": {"ok": false}, "store": {"ok": false}}}"#;
        assert_eq!(body(report), ", not usable: scheduler, store");
        assert_eq!(body(r#"{"live": false, "message": "hangs"}"#), ", hangs");
        assert_eq!(named(&Value::Null), "");
        for (listen, here) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:2", "[::1]:2"), ("10.0.0.1:3", "10.0.0.1:3")] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), here);
        }
    }
}
