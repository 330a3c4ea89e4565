//! The alert rules and the dashboard of `deploy/`: their names are metrics of this program, the rules fire when they should, and
//! with a real Prometheus soon enough.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exhaust::metrics::Metrics;
use serde_json::Value;

use crate::daemon::wait_for;
use crate::databases::TestDatabase;
use crate::http::{Client, Server};
use crate::site::{JOBS, Site, fixture, told};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every name of a series in a process that has met everything.
fn series() -> BTreeSet<String> {
    let metrics = Metrics::default();
    metrics.know_jobs(["a"]);
    metrics.know_calls(["submit"]);
    metrics.know_source("source");
    metrics.know_store_call("put");
    metrics.probed("database", true);
    metrics.answered("submit", 200, Duration::ZERO);
    metrics.set_degraded("a", false);
    metrics.set_channels(BTreeMap::from([("c".to_owned(), (1, Duration::ZERO))]));
    let text = metrics.text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_are_there() {
    let known = series();
    for file in ["deploy/alerts.yml", "deploy/grafana.json"] {
        let text = fs::read_to_string(root(file)).unwrap();
        let expressions: Vec<String> = if file.ends_with("yml") {
            text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned).collect()
        } else {
            let dashboard: Value = serde_json::from_str(&text).unwrap();
            let targets =
                dashboard["panels"].as_array().unwrap().iter().flat_map(|it| it["targets"].as_array().unwrap());
            targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
        };
        assert!(expressions.len() > 5, "{file}");
        for expression in expressions {
            let names = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let mut ours =
                names.filter(|name| ["exhaustd_", "process_"].iter().any(|it| name.starts_with(it))).peekable();
            assert!(ours.peek().is_some() || expression.starts_with("up"), "{file}: {expression}");
            for name in ours {
                assert!(known.contains(name), "{file}: {expression}: no metric {name}");
            }
        }
    }
}

/// promtool, or `None` where there is none.
fn promtool(arguments: &[&str], directory: &Path) -> Option<()> {
    match Command::new("promtool").args(arguments).current_dir(directory).output() {
        Ok(output) => assert!(output.status.success(), "promtool {arguments:?}: {}", told(&output)),
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "no promtool: {error}");
            eprintln!("skipped: promtool {arguments:?}: {error} (Debian's package prometheus has it)");
            return None;
        }
    }
    Some(())
}

#[test]
fn rules_fire_when_they_should() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(root("deploy/alerts.yml"), directory.path().join("alerts.yml")).unwrap();
    fs::copy(root("tests/it/alerts/rules.test.yml"), directory.path().join("rules.test.yml")).unwrap();
    let _ = promtool(&["check", "rules", "alerts.yml"], directory.path());
    let _ = promtool(&["test", "rules", "rules.test.yml"], directory.path());
}

/// A Prometheus that scrapes one daemon, with the rules; ended when it is dropped.
struct Prometheus {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::copy(root("deploy/alerts.yml"), directory.path().join("alerts.yml")).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 2s, evaluation_interval: 2s }}\nrule_files: [alerts.yml]\nscrape_configs:\n  - job_name: \
             exhaustd\n    static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
        fs::write(directory.path().join("prometheus.yml"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(directory.path())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address, _directory: directory }
    }

    /// Whether this alert fires, with this text in its labels.
    fn fires(&self, alert: &str, label: &str) -> bool {
        if std::net::TcpStream::connect(&self.address).is_err() {
            return false;
        }
        let answer = Client::at(&self.address).call("GET", "/api/v1/alerts", &[], b"");
        if answer.status != 200 {
            return false;
        }
        let alerts = answer.json()["data"]["alerts"].as_array().cloned().unwrap_or_default();
        alerts.iter().any(|one| {
            one["labels"]["alertname"] == alert && one["state"] == "firing" && one["labels"].to_string().contains(label)
        })
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For `scripts/test-all`: with its waits it takes minutes.
#[test]
fn an_alert_fires_within_30_s_of_each_failure() {
    if std::env::var("EXHAUST_TEST_ALERTS").is_err() {
        eprintln!("skipped: alerts of a real Prometheus: EXHAUST_TEST_ALERTS is not set (scripts/test-all sets it)");
        return;
    }
    let Some(database) = TestDatabase::postgres() else { return };
    let site = Site::new(&database, &fixture("odd"), &format!("{JOBS}\n[api]\nlisten = \"127.0.0.1:0\"\n"), "");
    assert!(site.run(&["migrate"]).status.success());
    let goes_on = site.path("goes-on");
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap '' XFSZ; exec "$0" run"#, env!("CARGO_BIN_EXE_exhaustd")]).current_dir(site.path(""));
    // A minute after the start: the other failures come first.
    command.env("EXHAUST_TEST_POINT", format!("ticked#200:until={}", goes_on.display()));
    let server = Server::spawn(command);
    let prometheus = Prometheus::start(&server.address);
    let fires = |what: &str, label: &str, since: Instant| {
        wait_for(what, || prometheus.fires("ExhaustdNotReady", label).then_some(()));
        println!("{what}: the alert fired after {:?}", since.elapsed());
        assert!(since.elapsed() < Duration::from_secs(30), "{what}");
    };
    let ends = |what: &str, label: &str| {
        wait_for(what, || (!prometheus.fires("ExhaustdNotReady", label)).then_some(()));
    };
    wait_for("the first scrape", || {
        let answer = std::net::TcpStream::connect(&prometheus.address)
            .is_ok()
            .then(|| Client::at(&prometheus.address).call("GET", "/api/v1/query?query=exhaustd_ready", &[], b""));
        answer.filter(|answer| String::from_utf8_lossy(&answer.body).contains("\"1\"")).map(drop)
    });

    let limit = |limit: &str| {
        let pid = server.pid().to_string();
        assert!(Command::new("prlimit").args([limit, "--pid", &pid]).status().unwrap().success());
    };
    limit("--fsize=0:unlimited");
    fires("a full disk", "store", Instant::now());
    limit("--fsize=unlimited:unlimited");
    ends("the full disk to end", "store");

    let name = database.query_text("SELECT current_database()").remove(0).remove(0).unwrap();
    let cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'exhaustd'";
    database.execute(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    database.query_text(cut);
    fires("a read-only database", "database", Instant::now());
    database.execute(&format!("BEGIN READ WRITE; ALTER DATABASE {name} RESET ALL; COMMIT"));
    database.query_text(cut);
    ends("the read-only database to end", "database");

    wait_for("the loop to stop", || {
        let ok = server.get("/readyz").json()["dependencies"]["scheduler"]["ok"] == true;
        (!ok).then_some(())
    });
    // It is seen 7 s after the last tick.
    fires("a stopped scheduler", "scheduler", Instant::now().checked_sub(Duration::from_secs(7)).unwrap());
    fs::write(&goes_on, "").unwrap();
    ends("the stopped scheduler to go on", "scheduler");
}
