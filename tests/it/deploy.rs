//! What operators deploy with says what the program does: the unit, the Dockerfile, and docs/deployment.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use exhaust::config::checked::{DatabaseUrl, StorePlace};
use exhaust::config::{self, Config, Environment};
use exhaust::sources::configured::SourceConfig;
use exhaust::sources::files::FilesLocation;

const CONFIG: &str = "/etc/exhaustd/jobs.toml";

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What a key of the unit is set to.
fn unit(key: &str) -> String {
    let unit = text("deploy/exhaustd.service");
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().unwrap_or_else(|| panic!("the unit lost {key}=")).to_owned();
    assert_eq!(values.next(), None, "{key}= twice");
    value
}

/// The instructions of the Dockerfile's last stage, whose image is run: name and rest, continued lines put together.
fn image() -> Vec<(String, String)> {
    let file = text("deploy/Dockerfile");
    let lines: Vec<&str> = file.lines().filter(|line| !line.starts_with('#')).collect();
    let whole = lines.join("\n").replace("\\\n", " ");
    let instructions: Vec<_> =
        whole.lines().filter_map(|line| line.split_once(' ')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    let last = instructions.iter().rposition(|(name, _)| name == "FROM").unwrap();
    instructions[last..].to_vec()
}

fn instruction(name: &str) -> String {
    let image = image();
    let (_, rest) = image.iter().rfind(|(found, _)| found == name).unwrap_or_else(|| panic!("no {name}"));
    rest.clone()
}

/// The words of an instruction in its JSON form.
fn words(name: &str) -> Vec<String> {
    serde_json::from_str(&instruction(name)).unwrap()
}

/// A configuration as the program reads it, without any variables.
fn read(toml: &str) -> Config {
    let nothing: Environment = std::iter::empty::<(String, String)>().collect();
    config::check(toml, Path::new(CONFIG), &nothing, exhaust::reports::registry()).unwrap()
}

/// The jobs.toml of docs/deployment.md.
fn deployed() -> Config {
    let page = text("docs/deployment.md");
    let (_, after) = page.split_once("<!-- deployed -->\n```toml\n").unwrap();
    read(after.split_once("```").unwrap().0)
}

fn seconds(text: &str) -> Duration {
    let number = text.trim().trim_end_matches('s');
    Duration::from_secs(number.parse().unwrap_or_else(|_| panic!("{text} is no number of seconds")))
}

/// Runs the program with these words in a directory that holds nothing: it must understand them, and miss its
/// configuration. Answers the exit code.
fn misses_its_configuration(words: &[&str]) -> i32 {
    let nothing = tempfile::tempdir().unwrap();
    let words: Vec<_> = words.iter().map(|word| if *word == CONFIG { "jobs.toml" } else { word }).collect();
    let output =
        Command::new(env!("CARGO_BIN_EXE_exhaustd")).current_dir(nothing.path()).args(&words).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("there is no such file"), "{words:?}: {told}");
    output.status.code().unwrap()
}

#[test]
fn the_unit_starts_the_program_and_does_not_try_again_what_is_configured_wrong() {
    let start = unit("ExecStart");
    let words: Vec<&str> = start.split_whitespace().collect();
    assert!(words[0].ends_with("/exhaustd") && words.contains(&CONFIG), "{start}");
    let code = misses_its_configuration(&words[1..]);
    assert!(unit("RestartPreventExitStatus").split_whitespace().any(|listed| listed == code.to_string()));
}

#[test]
fn nobody_kills_before_stop_timeout_is_over() {
    let default = read("").worker.stop_timeout;
    assert!(seconds(&unit("TimeoutStopSec")) > default);
    let page = text("docs/deployment.md");
    for before in ["--stop-timeout ", "`terminationGracePeriodSeconds` must exceed `[worker] stop_timeout`: "] {
        let told = page.split(before).nth(1).unwrap_or_else(|| panic!("the page lost {before}"));
        assert!(seconds(told.split_whitespace().next().unwrap()) > default, "{before}");
    }
}

#[test]
fn nothing_runs_as_root() {
    assert!(!["", "root", "0"].contains(&unit("User").as_str()));
    // Kubernetes' runAsNonRoot knows only numbers.
    let user = instruction("USER");
    let number: u32 = user.split(':').next().unwrap().parse().unwrap();
    assert_ne!(number, 0);
}

#[test]
fn the_page_s_jobs_toml_is_at_home_in_unit_and_image() {
    let config = deployed();
    let DatabaseUrl::Sqlite(database) = &config.database.url else { panic!("the page shows SQLite") };
    let StorePlace::Directory(reports) = &config.store.place else { panic!("the page shows a directory") };
    let written = [database.as_path(), reports.as_path()];
    assert_eq!(unit("ProtectSystem"), "strict");
    let state = Path::new("/var/lib").join(unit("StateDirectory"));
    let volume = PathBuf::from(instruction("VOLUME"));
    for path in written {
        assert!(path.starts_with(&state) && path.starts_with(&volume), "{} cannot be written to", path.display());
    }
    let [source] = &config.sources.used[..] else { panic!("the page shows one source") };
    let SourceConfig::Files(files) = &source.config else { panic!("the page shows files") };
    let FilesLocation::Directory(directory) = &files.location else { panic!("the page shows a directory") };
    // ProtectHome, PrivateTmp
    for hidden in ["/home", "/root", "/run/user", "/tmp", "/var/tmp"] {
        assert!(!directory.starts_with(hidden), "the unit does not see {}", directory.display());
    }
    // In the image every command finds its configuration by where it is started.
    assert_eq!(Path::new(&instruction("WORKDIR")).join("jobs.toml"), Path::new(CONFIG));
    let page = text("docs/deployment.md");
    for place in [CONFIG, state.to_str().unwrap(), &unit("EnvironmentFile").replace('-', "")] {
        assert!(page.contains(place), "the page does not name {place}");
    }
}

#[test]
fn the_image_runs_the_program() {
    let entry = words("ENTRYPOINT");
    assert_eq!(entry, ["exhaustd"]);
    let copied = instruction("COPY");
    assert!(copied.starts_with("--from=build ") && copied.ends_with("/usr/local/bin/exhaustd"), "{copied}");
    let command = words("CMD");
    misses_its_configuration(&command.iter().map(String::as_str).collect::<Vec<_>>());
    let health = instruction("HEALTHCHECK");
    let (_, health) = health.split_once(" CMD exhaustd ").unwrap();
    misses_its_configuration(&health.split(" ||").next().unwrap().split_whitespace().collect::<Vec<_>>());
}

#[test]
fn the_image_is_built_with_this_compiler_from_all_that_the_build_reads() {
    let toolchain: toml::Table = text("rust-toolchain.toml").parse().unwrap();
    let channel = toolchain["toolchain"]["channel"].as_str().unwrap();
    let builder = text("deploy/Dockerfile");
    let builder = builder.lines().find_map(|line| line.strip_prefix("FROM rust:")).unwrap();
    let version = builder.split('-').next().unwrap();
    assert_eq!(version, channel, "the builder's full version");
    // glibc: the program must not need a newer one than it finds. bookworm is Debian 12.
    assert_eq!(builder.split(" AS ").next().unwrap(), format!("{channel}-slim-bookworm"));
    let base = image()[0].1.strip_prefix("debian:12.").and_then(|base| base.strip_suffix("-slim")).unwrap().to_owned();
    assert!(base.parse::<u8>().is_ok(), "the base's full version: {base}");

    let ignore = text(".dockerignore");
    let sent: BTreeSet<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let mut needed: BTreeSet<String> = ["Cargo.toml", "Cargo.lock", ".cargo", "src"].map(str::to_owned).into();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                // include_str!("../../../migrations/…"): the first name after all the dots. Tests are not built there.
                let source = fs::read_to_string(&path).unwrap_or_default();
                let source = source.split("#[cfg(test)]").next().unwrap();
                for included in source.split("include_").skip(1).filter_map(|rest| rest.split("(\"../").nth(1)) {
                    let name = included.trim_start_matches("../").split(['/', '"']).next().unwrap();
                    if Path::new(env!("CARGO_MANIFEST_DIR")).join(name).exists() {
                        needed.insert(name.to_owned());
                    }
                }
            }
        }
    }
    if Path::new(env!("CARGO_MANIFEST_DIR")).join("build.rs").exists() {
        needed.insert("build.rs".to_owned());
    }
    assert!(needed.contains("migrations"), "nothing was found that is included: {needed:?}");
    for name in needed {
        assert!(sent.contains(name.as_str()), ".dockerignore keeps {name} from the build");
    }
}
