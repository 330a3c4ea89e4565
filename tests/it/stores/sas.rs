//! A SAS token as credentials: it stores, and signs no links.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

use super::*;

/// The same container by a service SAS that may do all that a daemon does.
/// <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>, version 2020-12-06.
fn by_sas(remote: &Remote) -> Remote {
    let end = (SystemClock.now() + TimeDelta::hours(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    let text = format!("rcwl\n\n{end}\n/blob/devstoreaccount1/exhaust\n\n\n\n2020-12-06\nc\n\n\n\n\n\n\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64_STANDARD.decode(KEY).unwrap()).unwrap();
    mac.update(text.as_bytes());
    let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let token = format!("sv=2020-12-06&sr=c&sp=rcwl&se={}&sig={}", encoded(&end), encoded(&signature));
    let mut remote = remote.with("AZURE_STORAGE_SAS_TOKEN", &token);
    remote.environment.retain(|(name, _)| *name != "AZURE_STORAGE_ACCOUNT_KEY");
    remote
}

#[test]
fn a_sas_token_stores_and_is_refused_where_links_are_needed() {
    let database = TestDatabase::sqlite();
    for remote in remotes("by-sas").iter().filter(|remote| remote.url.starts_with("az")) {
        let by_sas = by_sas(remote);
        let site = site(&database, Some(&by_sas), "");
        let command = |arguments: &[&str]| {
            let mut command = site.command(arguments);
            command.envs(by_sas.environment.iter().map(|(name, value)| (name, value)));
            let output = command.output().unwrap();
            let told = told(&output);
            assert!(!told.contains("sig="), "{told}");
            (output.status.code(), told)
        };
        let why = "a SAS token cannot sign download links: set AZURE_STORAGE_ACCOUNT_KEY or a client secret";
        let (code, checked) = command(&["check"]);
        assert_eq!(code, Some(0), "{checked}");
        assert!(checked.contains(&format!("warning: store: {why}")) && checked.contains("writable"), "{checked}");
        let (code, log) = command(&["run", "--once"]);
        assert_eq!(code, Some(0), "{log}");
        assert!(files(&site, Some(remote)).iter().all(|file| file.len() > 100));
        let submit =
            ["submit", "course-report", "--batch", "0130000000000000001", "--tag", "t", "--request-id", "late"];
        assert_eq!(command(&[&submit[..], &["--wait"]].concat()).0, Some(2));
        assert!(!site.rows().contains_key("late"), "refused before it is submitted");
        assert_eq!(command(&submit).0, Some(0));

        let text = std::fs::read_to_string(site.path("jobs.toml")).unwrap();
        std::fs::write(site.path("jobs.toml"), text + "\n[api]\nlisten = \"127.0.0.1:0\"\n").unwrap();
        let (code, checked) = command(&["check"]);
        assert_eq!(code, Some(3), "{checked}");
        assert!(checked.contains(&format!("NOT USABLE: cannot sign links to {}: {why}", remote.url)), "{checked}");
        for refused in ["run", "serve"] {
            let (code, told) = command(&[refused]);
            assert_eq!(code, Some(2), "{told}");
            assert!(told.contains(why), "{told}");
        }
    }
}
