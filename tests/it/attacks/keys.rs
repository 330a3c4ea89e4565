//! Idempotency, limits and keys of the API.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod limits;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use fastrand::Rng;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use crate::api::{BATCH, SUBMIT, rows, site, submission};
use crate::databases::{TestDatabase, each};
use crate::http::{Answer, Server};
use crate::site::{Site, told};

const SECRET: &str = "EXHAUST__SECRETS__KEY";

/// A section of `[[api.keys]]` for the key `{name}-key`.
fn key(name: &str, more: &str) -> String {
    let sha256 = hex(&Sha256::digest(format!("{name}-key")));
    format!("[[api.keys]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\n{more}\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A call with the key of this name.
fn call(server: &Server, name: &str, path: &str, body: &Value) -> Answer {
    let (key, body) = (format!("{name}-key"), body.to_string());
    let headers = [("x-api-key", key.as_str()), ("content-type", "application/json")];
    let method = if path == "/job/list" || path.contains("/read/") { "GET" } else { "POST" };
    server.call(method, path, &headers, if method == "GET" { b"" } else { body.as_bytes() })
}

/// Everything that the table holds.
fn table(database: &TestDatabase) -> Vec<Vec<Option<String>>> {
    database.query_text("SELECT * FROM job_request ORDER BY tag, request_id")
}

fn rewrite(site: &Site<'_>, change: impl Fn(&str) -> String) {
    let text = change(&fs::read_to_string(site.path("jobs.toml")).unwrap());
    fs::write(site.path("jobs.new"), text).unwrap();
    fs::rename(site.path("jobs.new"), site.path("jobs.toml")).unwrap();
}

/// What `check` says.
fn told_of(site: &Site<'_>) -> String {
    told(&site.run(&["check"]))
}

/// Without a restart, and without a signal.
#[test]
fn a_change_of_keys_takes_effect_in_a_running_api() {
    let database = TestDatabase::sqlite();
    let (a, b) = (key("a", ""), key("b", "not_after = 2999-12-31"));
    let site = site(&database, &[a.as_str(), &b].concat());
    let mut server = Server::start(&site, "serve");
    let told = |server: &Server, name: &str| {
        let answer = call(server, name, "/job/list", &Value::Null);
        (answer.status, if answer.status == 200 { String::new() } else { answer.errmsg() })
    };
    let is = |status: u16, message: &str| (status, message.to_owned());
    let unknown = is(401, "the key is not known");
    assert_eq!(["a", "b", "c"].map(|name| told(&server, name)), [is(200, ""), is(200, ""), unknown.clone()]);
    // One is removed, one ends, one is new.
    rewrite(&site, |text| {
        text.replace(&a, &key("c", "tags = [\"c-*\"]")).replace("2999-12-31", "2020-02-29T12:00:00+05:30")
    });
    server.wait_for("was read again: in force");
    let expired = is(401, "the key has expired");
    assert_eq!(["a", "b", "c"].map(|name| told(&server, name)), [unknown.clone(), expired, is(200, "")]);
    let checked = told_of(&site);
    assert!(checked.contains("warning: key b: not_after is over since 2020-02-29T06:30:00Z"), "{checked}");
    let refused = call(&server, "c", SUBMIT, &submission("a-1", BATCH));
    assert_eq!((refused.status, refused.errmsg().as_str()), (403, "the key does not cover this tag"));
    // Without any key nobody may call; an API that is started with such a file is open.
    rewrite(&site, |text| {
        let (before, after) = (text.find("[[api.keys]]").unwrap(), text.find("[database]").unwrap());
        format!("{}{}", &text[..before], &text[after..])
    });
    server.wait_for("was read again: in force");
    assert_eq!((told(&server, "c"), server.get("/job/list").status), (unknown, 401));
    let (_, log) = server.stop();
    assert!(log.contains("a change of [api] keys needs a restart"), "{log}");
}

#[test]
fn known_hashes_and_hashes_twice_do_not_start() {
    let database = TestDatabase::sqlite();
    let empty = hex(&Sha256::digest(""));
    let twice = key("one", "");
    for (keys, why) in [
        (format!("[[api.keys]]\nname = \"k\"\nsha256 = \"{empty}\""), "is the hash of an empty key"),
        (
            format!("[[api.keys]]\nname = \"k\"\nsha256 = \"{}\"", hex(&Sha256::digest("test"))),
            "is the example of the documentation",
        ),
        (format!("{twice}{}", twice.replace("one", "two")), "is taken already"),
    ] {
        let site = site(&database, &keys);
        let text = fs::read_to_string(site.path("jobs.toml")).unwrap();
        let line = text.lines().count() - text.lines().rev().position(|line| line.starts_with("sha256")).unwrap();
        let place = format!("{line}:10");
        for command in ["check", "serve", "run"] {
            let output = site.run(&[command]);
            let said = told(&output);
            assert_eq!(output.status.code(), Some(2), "{command}: {said}");
            assert!(said.contains(&format!("jobs.toml:{place}: ")) && said.contains(why), "{command}: {said}");
        }
    }
}

/// A request that hostile clients go for.
struct Target {
    tag: &'static str,
    batch: String,
    id: String,
    status: &'static str,
    kind: &'static str,
}

const TARGET_KEY: &str = "the right password";

fn of_target(target: &Target, encryption: Option<&str>) -> Value {
    let mut body = submission(target.tag, &target.batch);
    if let Some(key) = encryption {
        body["request"]["encryptionKey"] = json!(key);
    }
    body
}

/// Rows in each state: plain, protected, made with a key of certain channels, of a key that may have no more open.
fn targets(server: &Server, database: &TestDatabase) -> Vec<Target> {
    let mut targets = Vec::new();
    for kind in ["plain", "protected", "narrow", "full"] {
        for status in ["SUBMITTED", "PROCESSING", "COMPLETED", "FAILED"] {
            // One open request is all that the key `full` may have.
            if kind == "full" && !["SUBMITTED", "FAILED"].contains(&status) {
                continue;
            }
            let tag = if kind == "full" { "full" } else { "t" };
            let mut target = Target { tag, batch: format!("{kind} {status}"), id: String::new(), status, kind };
            let body = of_target(&target, (kind == "protected").then_some(TARGET_KEY));
            let answer = call(server, if kind == "narrow" { kind } else { "wide" }, SUBMIT, &body);
            assert_eq!(answer.status, 200, "{}", answer.errmsg());
            answer.json()["result"]["request_id"].as_str().unwrap().clone_into(&mut target.id);
            let row = format!("WHERE tag = '{tag}' AND request_id = '{}'", target.id);
            let wiped = if ["COMPLETED", "FAILED"].contains(&status) { ", encryption_key_sealed = NULL" } else { "" };
            database.execute(&format!(
                "UPDATE job_request SET status = '{status}', err_message = 'as it was'{wiped} {row}"
            ));
            targets.push(target);
        }
    }
    targets
}

/// A hostile call, and what it is answered. `None`: this one has no such call for this target.
fn attack(server: &Server, rng: &mut Rng, target: &Target) -> Option<(Answer, u16)> {
    let Target { tag, id, status, kind, .. } = target;
    let submit = |name: &str, body: &Value| call(server, name, SUBMIT, body);
    let operate = |name: &str, what: &str| {
        let prefix = ["", "/data/v3"][id.len() % 2];
        call(server, name, &format!("{prefix}/job/request/{what}/{tag}/{id}"), &json!({}))
    };
    let random = |rng: &mut Rng| (0..rng.usize(8..=50)).map(|_| rng.alphanumeric()).collect::<String>();
    Some(match rng.u8(..9) {
        0 if *kind != "full" => {
            let other = [Some(random(rng)), None][usize::from(*kind == "protected" && rng.bool())].clone();
            let name = if *kind == "narrow" { kind } else { "wide" };
            (submit(name, &of_target(target, other.as_deref())), 409)
        }
        1 => {
            let encryption = rng.bool().then(|| random(rng));
            (submit("elsewhere", &of_target(target, encryption.as_deref())), 403)
        }
        2 if *kind != "full" => {
            let mut body = of_target(target, (*kind == "protected").then_some(TARGET_KEY));
            body["request"]["requestedChannel"] = json!(format!("foreign-{}", rng.u32(..)));
            (submit("narrow", &body), 403)
        }
        3 if *kind == "narrow" => (operate("stranger", ["cancel", "retry"][rng.usize(..2)]), 404),
        4 => (operate("elsewhere", ["cancel", "retry"][rng.usize(..2)]), 403),
        5 if *status != "SUBMITTED" => (operate("wide", "cancel"), 409),
        6 if *status != "FAILED" || *kind == "protected" => (operate("wide", "retry"), 409),
        7 if *kind == "full" => {
            let mut body = of_target(target, None);
            body["request"]["requestedBy"] = json!(random(rng));
            (submit("full", &body), 429)
        }
        8 if *kind == "full" && *status == "FAILED" => {
            (if rng.bool() { submit("full", &of_target(target, None)) } else { operate("full", "retry") }, 429)
        }
        _ => return None,
    })
}

/// Not a byte of the table: no row is made, none is resubmitted, no error is cleared.
#[test]
fn what_is_refused_changes_nothing() {
    const ATTEMPTS: u32 = 1000;
    each(|database| {
        let keys = [
            key("wide", ""),
            key("narrow", "tags = [\"t\"]\nchannels = [\"mine\"]"),
            key("stranger", "tags = [\"t\"]\nchannels = [\"mine\", \"more\"]"),
            key("elsewhere", "tags = [\"e-*\"]"),
            key("full", "tags = [\"full\"]\nopen_requests = 1"),
        ];
        let site = site(database, &keys.concat());
        let mut command = site.command(&["serve"]);
        command.env(SECRET, "sixteen characters and more");
        let server = Server::spawn(command);
        let targets = targets(&server, database);
        let before = table(database);
        assert_eq!(before.len(), targets.len());
        let mut rng = Rng::with_seed(7);
        let (mut attempts, mut answers) = (0, std::collections::BTreeMap::<(u16, &str), u32>::new());
        while attempts < ATTEMPTS {
            let target = &targets[rng.usize(..targets.len())];
            let Some((answer, expected)) = attack(&server, &mut rng, target) else { continue };
            assert_eq!(answer.status, expected, "{} {}: {}", target.kind, target.status, answer.errmsg());
            *answers.entry((expected, target.kind)).or_default() += 1;
            attempts += 1;
            // A change would stay: nothing works on these rows.
            if attempts % 50 == 0 {
                assert_eq!(table(database), before, "after {attempts} attempts");
            }
        }
        assert!(answers.len() >= 9, "{answers:?}");
    });
}

/// The same request in other words is found, by any process; another one is made.
#[test]
fn the_same_submission_in_other_words_is_one_row() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let id = |job_config: &str| {
            let body = format!(r#"{{"request": {{"tag": "t", "jobId": "course-report", "jobConfig": {job_config}}}}}"#);
            let answer = server.call("POST", SUBMIT, &[("content-type", "application/json")], body.as_bytes());
            assert_eq!(answer.status, 200, "{}", answer.errmsg());
            answer.json()["result"]["request_id"].as_str().unwrap().to_owned()
        };
        let search = |filters: &str, more: &str| {
            format!(r#"{{"contentFilters": {{"request": {{"filters": {filters}{more}}}}}}}"#)
        };
        let one = id(&search(r#"{"a": [1, 2.50], "b": "x"}"#, ""));
        for same in [
            search(r#"{"b": "x", "a": [25e-1, 1.0, 1]}"#, r#", "sort_by": {}"#),
            search(r#"{"a": [1, 2.5], "b": "x"}"#, "").replace("contentFilters", "searchFilter"),
            search(r#"{"a": [1, 2.5], "b": "x"}"#, "").replacen(
                '{',
                r#"{"includeExpired": false, "reportPath": "reports/", "#,
                1,
            ),
        ] {
            assert_eq!(id(&same), one, "{same}");
        }
        let others = [
            search(r#"{"a": ["1", 2.5], "b": "x"}"#, ""),
            search(r#"{"a": [1, 2.5000000000000000000001], "b": "x"}"#, ""),
            search(r#"{"a": 1}"#, r#", "limit": 1, "sort_by": {"a": "asc", "b": "asc"}"#),
            search(r#"{"a": 1}"#, r#", "limit": 1, "sort_by": {"b": "asc", "a": "asc"}"#),
        ];
        let ids: std::collections::BTreeSet<String> = others.iter().map(|other| id(other)).chain([one]).collect();
        assert_eq!((ids.len(), rows(database)), (5, 5));
    });
}

/// A jobConfig in one of its many spellings, and what it means, so that the two can be compared without the program.
fn said(rng: &mut Rng) -> (String, String) {
    const NUMBERS: [&[&str]; 6] = [
        &["1", "1.0", "1e0", "10E-1"],
        &["0.1", "0.10", "1e-1"],
        &["0.1000000000000000055511151231257827"],
        &["9007199254740993", "9007199254740993.0"],
        &["9007199254740992", "9.007199254740992e15"],
        &["1e400", "10e399"],
    ];
    let pick = |rng: &mut Rng, from: &[&str]| from[rng.usize(..from.len())].to_owned();
    // A set of batches, in any order and with repetitions.
    let ids: std::collections::BTreeSet<u8> = (0..2).map(|_| rng.u8(..3)).collect();
    let mut listed: Vec<u8> = ids.iter().copied().chain((0..rng.usize(..3)).map(|_| *ids.first().unwrap())).collect();
    rng.shuffle(&mut listed);
    let listed: Vec<String> = listed.iter().map(|id| format!("\"{id}\"")).collect();
    let (number, kind) = (rng.usize(..NUMBERS.len()), rng.usize(..3));
    let spelled = pick(rng, NUMBERS[number]);
    // The number itself, the number as text, or one of two.
    let value = match kind {
        0 => spelled.clone(),
        1 => format!("\"{}\"", NUMBERS[number][0]),
        _ => [format!("[{spelled}, \"x\", {spelled}]"), format!("[\"x\", {}]", NUMBERS[number][0])][rng.usize(..2)]
            .clone(),
    };
    let sort = rng.usize(..3);
    let sort_by =
        [r#""sort_by": {"a": "asc", "b": "asc"}"#, r#""sort_by": {"b": "asc", "a": "asc"}"#, r#""sort_by": {}"#][sort];
    let expired = rng.usize(..3);
    let path = rng.usize(..3);
    let mut fields = vec![
        format!("\"batchFilter\": [{}]", listed.join(",")),
        format!(
            "\"{}\": {{\"request\": {{\"filters\": {{\"a\": {value}}}, \"limit\": 3, {sort_by}}}}}",
            ["contentFilters", "searchFilter"][rng.usize(..2)]
        ),
    ];
    fields.extend(
        [None, Some(r#""includeExpired": false"#), Some(r#""includeExpired": true"#)][expired].map(str::to_owned),
    );
    fields.extend(
        [None, Some(r#""reportPath": "reports/""#), Some(r#""reportPath": "other/""#)][path].map(str::to_owned),
    );
    rng.shuffle(&mut fields);
    let meaning = format!("{ids:?} {number} {kind} {sort} {} {}", expired == 2, path == 2);
    (format!("{{{}}}", fields.join(", ")), meaning)
}

/// A thousand submissions from four clients at once, in many words for few meanings: one row for each meaning.
#[test]
fn each_meaning_has_one_row_however_it_is_said() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let answered: Vec<(String, String, String)> = thread::scope(|scope| {
            let client = |seed: u64| {
                let client = server.client();
                scope.spawn(move || {
                    let mut rng = Rng::with_seed(seed);
                    let submit = |_| {
                        let (config, meaning) = said(&mut rng);
                        let body = format!(
                            r#"{{"request": {{"tag": "t", "jobId": "course-report", "jobConfig": {config}}}}}"#
                        );
                        let headers = [("content-type", "application/json")];
                        let answer = client.call("POST", SUBMIT, &headers, body.as_bytes());
                        assert_eq!(answer.status, 200, "{config}: {}", answer.errmsg());
                        (meaning, answer.json()["result"]["request_id"].as_str().unwrap().to_owned(), config)
                    };
                    (0..250).map(submit).collect::<Vec<_>>()
                })
            };
            // Two and two say the same at the same time.
            let clients: Vec<_> = [1, 1, 2, 2].map(client).into_iter().collect();
            clients.into_iter().flat_map(|one| one.join().unwrap()).collect()
        });
        let (mut ids, mut meanings) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
        for (meaning, id, config) in &answered {
            let (one, said) = ids.entry(meaning).or_insert((id, config));
            assert_eq!(*one, id, "{meaning}\n{said}\n{config}");
            let other = meanings.entry(id).or_insert(meaning);
            assert_eq!(*other, meaning, "{config}");
        }
        assert_eq!((answered.len(), rows(database)), (1000, ids.len()));
        assert!(ids.len() > 100, "{}", ids.len());
    });
}

/// An id of before the change is found for its day, if its row means the same: the old form rounded numbers.
#[test]
fn an_id_of_before_is_found_where_its_row_means_the_same() {
    each(|database| {
        let site = site(database, "");
        let server = Server::start(&site, "serve");
        let today = || server.get("/job/list").json()["ts"].as_str().unwrap()[..10].to_owned();
        // RFC 8785, by hand.
        let former = |tag: &str, config: &str, day: &str| {
            let text = format!(r#"["{tag}","course-report",{config},"csv",null,null,"{day}"]"#);
            hex(&Sha1::digest(text))
        };
        let submit = |tag: &str, config: &str| {
            let body = format!(r#"{{"request": {{"tag": "{tag}", "jobId": "course-report", "jobConfig": {config}}}}}"#);
            let answer = server.call("POST", SUBMIT, &[("content-type", "application/json")], body.as_bytes());
            (answer.status, answer.json()["result"]["request_id"].as_str().unwrap_or_default().to_owned())
        };
        let filter = |number: &str| format!(r#"{{"contentFilters":{{"request":{{"filters":{{"a":{number}}}}}}}}}"#);
        let (same, rounded) = (filter("0.1"), filter("0.1000000000000000055511151231257827"));
        loop {
            let day = today();
            for (tag, stored) in [("same", &same), ("other", &rounded)] {
                let id = former(tag, &same, &day);
                site.insert(
                    tag,
                    &id,
                    "course-report",
                    &format!(r#"{{"jobConfig": {stored}, "output_format": "csv"}}"#),
                );
                database.execute(&format!(
                    "UPDATE job_request SET requested_by = NULL, requested_channel = NULL, status = 'FAILED'
                    WHERE tag = '{tag}'"
                ));
                let answered = submit(tag, &same);
                if today() == day {
                    assert_eq!((answered.0, answered.1 == id), (200, tag == "same"), "{tag}");
                }
            }
            if today() == day {
                break;
            }
            database.execute("DELETE FROM job_request");
        }
        let statuses: Vec<String> = site.rows().into_values().map(|row| row.status).collect();
        assert_eq!(statuses.iter().filter(|status| *status == "SUBMITTED").count(), 2, "one resubmitted, one new");
        assert_eq!(rows(database), 3);
    });
}

/// A database and keys are their owner's alone, reports their group's too; a stricter umask counts, a laxer one does not.
#[test]
fn files_are_private() {
    for (umask, private, report, directory) in [("000", 0o600, 0o640, 0o750), ("077", 0o600, 0o600, 0o700)] {
        let database = TestDatabase::sqlite();
        let site = site(&database, "");
        let mut command = std::process::Command::new("sh");
        command.current_dir(site.path("")).arg("-c").arg(format!("umask {umask}; exec \"$0\" run"));
        command.arg(env!("CARGO_BIN_EXE_exhaustd")).env_remove("DATABASE_URL").env_remove("RUST_LOG");
        let server = Server::spawn(command);
        let answer = server.post(SUBMIT, &submission("t", BATCH));
        let id = answer.json()["result"]["request_id"].as_str().unwrap().to_owned();
        assert_eq!(server.ended("t", &id, &[])["status"], "COMPLETED");
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = database.url().strip_prefix("sqlite://").unwrap().to_owned();
        for name in [file.clone(), format!("{file}-wal"), format!("{file}-shm")] {
            assert_eq!(mode(name.as_ref()), private, "umask {umask}: {name}");
        }
        let reports = site.path("reports");
        assert_eq!(mode(&reports.join(".link-key")), private, "umask {umask}");
        let mut path = reports.join(&site.rows()[&id].urls[0]);
        assert_eq!(mode(&path), report, "umask {umask}");
        while path.pop() && path.starts_with(&reports) {
            assert_eq!(mode(&path), directory, "umask {umask}: {}", path.display());
        }
        assert_eq!(mode(&reports.join(".incoming")), directory, "umask {umask}");
        drop(server);
        // Wider rights than these are the operator's, and are said.
        assert!(!told(&site.run(&["check"])).contains("chmod"));
        for name in [std::path::PathBuf::from(&file), reports.join(".link-key")] {
            fs::set_permissions(&name, fs::Permissions::from_mode(0o644)).unwrap();
            let checked = told(&site.run(&["check"]));
            let shown = name.strip_prefix(site.path("")).unwrap_or(&name);
            let warning = format!("warning: {} can be read by others (mode 0644)", shown.display());
            assert!(checked.contains(&warning), "{checked}");
            assert_eq!(mode(&name), 0o644, "left as it is");
        }
    }
}
