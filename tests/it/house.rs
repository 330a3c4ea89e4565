//! The house's own rules: who may know whom, how long things are, and that lists agree.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

mod circles;
mod code;
mod examples;
mod repetition;
mod sizes;
mod visibility;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// Which rooms each room may name.
const MAY_KNOW: [(&str, &[&str]); 16] = [
    ("allocator", &[]),
    ("columnar", &[]),
    ("objects", &[]),
    ("document", &["objects"]),
    ("tables", &["columnar"]),
    // Options of reports are declared and read in the reports' files.
    ("reports", &["columnar", "document", "tables"]),
    ("requests", &[]),
    ("outputs", &["columnar", "objects", "tables"]),
    // A kind of source has its keys and its reader in its own folder.
    ("config", &["document", "objects", "outputs", "reports", "sources", "tables"]),
    ("sources", &["columnar", "document", "objects", "tables"]),
    ("sample_data", &["tables"]),
    ("intake", &["config", "outputs", "reports", "requests"]),
    ("metrics", &["requests"]),
    ("worker", &["config", "intake", "metrics", "objects", "outputs", "reports", "requests", "sources", "tables"]),
    ("api", &["config", "intake", "metrics", "outputs", "reports", "requests", "sources"]),
    (
        "cli",
        &[
            "api",
            "config",
            "intake",
            "metrics",
            "outputs",
            "reports",
            "requests",
            "sample_data",
            "sources",
            "tables",
            "worker",
        ],
    ),
];

#[test]
fn rooms_know_only_what_the_arrows_allow() {
    let rooms: BTreeSet<&str> = MAY_KNOW.iter().map(|(room, _)| *room).collect();
    for (room, may_know) in MAY_KNOW {
        let mut files = Vec::new();
        match root("src").join(format!("{room}.rs")) {
            file if file.exists() => files.push(file),
            _ => sources(&root("src").join(room), &mut files),
        }
        assert!(!files.is_empty(), "{room} has no files");
        // A room's own tests may use what they like.
        for file in files.iter().filter(|file| !file.to_string_lossy().contains("test")) {
            let text = fs::read_to_string(file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for named in code.flat_map(|line| line.split("crate::").skip(1)) {
                let name: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let allowed = name == room || may_know.contains(&name.as_str()) || !rooms.contains(name.as_str());
                assert!(allowed, "{}: {room} must not know {name}", file.display());
            }
        }
    }
    let modules: BTreeSet<String> = fs::read_to_string(root("src/lib.rs"))
        .unwrap()
        .lines()
        .filter_map(|line| Some(line.strip_prefix("pub mod ")?.trim_end_matches(';').to_owned()))
        .collect();
    assert_eq!(modules.iter().map(String::as_str).collect::<BTreeSet<_>>(), rooms, "a room without rules");
}

#[test]
fn only_one_room_knows_diesel_the_scheduler_or_object_store() {
    for (name, room) in [
        ("diesel::", "src/requests"),
        ("object_store::", "src/objects"),
        ("use tokio_cron_scheduler", "src/worker/schedule.rs"),
    ] {
        let mut files = Vec::new();
        sources(&root("src"), &mut files);
        for file in files.iter().filter(|file| !file.starts_with(root(room))) {
            assert!(!fs::read_to_string(file).unwrap().contains(name), "{} names {name}", file.display());
        }
    }
}

/// Registry, docs and jobs.toml name the same reports.
#[test]
fn registry_docs_and_jobs_toml_agree() {
    let docs = fs::read_to_string(root("docs/reports.md")).unwrap();
    let jobs = fs::read_to_string(root("jobs.toml")).unwrap();
    for name in exhaust::reports::registry().iter().map(|report| report.name()) {
        assert!(docs.contains(&format!("`{name}`")), "docs/reports.md does not name {name}");
        assert!(jobs.contains(&format!("report = \"{name}\"")), "jobs.toml has no job for {name}");
    }
}

/// Everything that people read beside the code.
fn documents() -> Vec<PathBuf> {
    let mut documents = vec![root("README.md"), root("ARCHITECTURE.md"), root("CHANGELOG.md"), root("SECURITY.md")];
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root(folder)).unwrap().map(|entry| entry.unwrap().path());
        documents.extend(entries.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    documents
}

/// Source files that decisions and glossary name are there.
#[test]
fn files_that_decisions_name_are_there() {
    for document in documents() {
        let shown = document.to_string_lossy().into_owned();
        if !shown.contains("docs/decisions") && !shown.ends_with("glossary.md") {
            continue;
        }
        let text = fs::read_to_string(&document).unwrap();
        for path in text.split('`').filter(|path| path.starts_with("src/")) {
            assert!(root(path).exists(), "{shown}: {path} is not there");
        }
    }
}

/// Links between documents lead somewhere.
#[test]
fn links_in_documents_lead_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("http") && !link.starts_with('#') {
                let target = document.parent().unwrap().join(link.split('#').next().unwrap());
                assert!(target.exists(), "{}: {link} is not there", document.display());
            }
        }
    }
}
