//! A client that a stranger wrote from the contract alone (`client.py`), against the running program.

use std::path::Path;
use std::process::Command;

use super::{BATCH, site};
use crate::databases::each;
use crate::http::Server;
use crate::site::told;

#[test]
fn a_client_written_from_the_contract_gets_its_files() {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "python3 is not installed");
        eprintln!("skipped: the client in Python: python3 is not installed (scripts/test installs it as root)");
        return;
    }
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/api/client.py");
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "run");
        let config = format!(r#"{{"batchFilters": {{"ids": ["{BATCH}", "0130000000000000002"]}}}}"#);
        let output = Command::new("python3")
            .arg(&client)
            .arg(format!("http://{}", server.address))
            .args([site.path("reports").to_str().unwrap(), "course-report", &config])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
        let printed = told(&output);
        let last = printed.lines().rfind(|line| line.starts_with("ok: ")).unwrap_or_else(|| panic!("{printed}"));
        let checks: u32 = last.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(checks >= 50, "{last}");
    });
}
