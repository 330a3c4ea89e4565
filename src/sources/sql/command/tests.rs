use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::tables::keys::keys;
use crate::tables::schema::{Column, Kind, Table};

fn scan() -> Scan {
    let columns = vec![Column::key("userid"), Column::optional("district", Kind::Text)];
    Scan::of_keys(Table::User, columns, "userid", keys(["u'1\n"]))
}

fn ran(directory: &Path, text: &str, given_up: &GivenUp) -> Result<(), EngineError> {
    let stage = Stage::new(FilesLocation::Directory(directory.to_owned()), &format!("file://{}", directory.display()));
    let command = ["sh", "-c", text].map(str::to_owned).to_vec();
    Script::new(Program { command, retry_codes: vec![7] }).write(&scan(), Keyless::Taken, &stage, given_up)
}

fn wanted() -> GivenUp {
    Arc::new(|| false)
}

#[test]
fn the_program_gets_the_plan_and_the_keys() {
    let directory = tempfile::tempdir().unwrap();
    ran(directory.path(), r#"cat > "$EXHAUST_STAGE/user/plan""#, &wanted()).unwrap();
    let plan = fs::read_to_string(directory.path().join("user/plan")).unwrap();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/engines.md")).unwrap();
    let documented = page.split("```json\n").nth(1).unwrap();
    let documented: serde_json::Value = serde_json::from_str(documented.split("```").next().unwrap()).unwrap();
    assert_eq!(plan, documented);
    let keys = fs::read_to_string(directory.path().join("keys/user.jsonl")).unwrap();
    assert_eq!(keys, "{\"key\":\"u'1\\n\"}\n");
}

#[test]
fn how_it_ends_says_whether_it_may_pass() {
    let directory = tempfile::tempdir().unwrap();
    let failed = |text: &str| ran(directory.path(), text, &wanted()).unwrap_err();
    let lasting = failed("head -c 5000 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 3");
    assert!(!lasting.may_pass && lasting.message.ends_with("exit code 3"), "{lasting:?}");
    assert!(lasting.detail.ends_with("the end") && !lasting.message.contains("xx"), "{lasting:?}");
    assert!((1900..2200).contains(&lasting.detail.len()), "{}", lasting.detail.len());
    assert!(failed("exit 75").may_pass && failed("exit 7").may_pass);
    assert!(failed("kill -9 $$").may_pass);
    let stage = Stage::new(FilesLocation::Directory(directory.path().to_owned()), "file:///s");
    let nowhere = Script::new(Program { command: vec!["/nowhere/at-all".to_owned()], retry_codes: Vec::new() });
    let error = nowhere.write(&scan(), Keyless::Taken, &stage, &wanted()).unwrap_err();
    assert!(!error.may_pass && error.message.ends_with("cannot be run"), "{error:?}");
}

/// Processes hold a pipe that is closed when the last one of them has ended.
#[test]
fn what_is_given_up_ends_with_all_that_it_has_started() {
    for text in ["sleep 1000 & echo > \"$EXHAUST_STAGE/began\"; wait", "sleep 1000 & exit 0"] {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (reader, began) = (pipe.clone(), directory.path().join("began"));
        let closed = std::thread::spawn(move || fs::read(reader).unwrap());
        let given_up = Arc::new(AtomicBool::new(false));
        let looked_at = Arc::clone(&given_up);
        let is_given_up: GivenUp = Arc::new(move || looked_at.fetch_or(began.exists(), Ordering::Relaxed));
        let result = ran(directory.path(), &format!("exec > '{}'; {text}", pipe.display()), &is_given_up);
        assert_eq!(result.is_err(), given_up.load(Ordering::Relaxed), "{text}: {result:?}");
        assert_eq!(closed.join().unwrap(), b"");
    }
}
