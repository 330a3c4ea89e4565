//! The repository's jobs.toml and docs/configuration.md say what the code does.

use super::*;
use crate::config::keys::{SECTIONS, written};

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn page() -> String {
    std::fs::read_to_string(repository("docs/configuration.md")).unwrap()
}

/// The code block after a mark of the page.
fn block(mark: &str) -> String {
    let page = page();
    let (_, after) = page.split_once(&format!("<!-- {mark} -->\n```")).unwrap();
    let (block, _) = after.split_once("```").unwrap();
    block.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn the_repositorys_file() {
    let config = load(&repository("jobs.toml"), &no_variables(), registry()).unwrap();
    assert_eq!(config.timezone, chrono_tz::Asia::Kolkata);
    let jobs: Vec<_> = config.jobs.iter().map(|job| (job.names().collect::<Vec<_>>(), job.report.name())).collect();
    assert_eq!(
        jobs,
        [(vec!["course-report"], "course"), (vec!["assessment-report", "assessment-score-report"], "assessment")]
    );
    assert!(config.jobs.iter().all(|job| job.schedule.as_str() == "*/30 * * * * *" && job.mode == Mode::Request));
    assert_eq!(config.jobs[1].options, Options::default());
    let root = repository("");
    assert_eq!(config.database.url, DatabaseUrl::Sqlite(root.join("var/exhaust.db")));
    let files = SourcePlace::Files { directory: root.join("data"), csv_dialect: CsvDialect::Rfc4180 };
    assert_eq!(config.source.place, files);
    assert_eq!(config.store.place, StorePlace::Directory(root.join("var/reports")));
    assert_eq!(config.store.signed_url_ttl, Duration::from_hours(24));
    assert_eq!((config.worker.claim, config.worker.lease), (500, Duration::from_mins(2)));
    assert_eq!(config.worker.memory, 2_147_483_648);
    assert_eq!(config.api.as_ref().unwrap().listen.to_string(), "127.0.0.1:8080");
}

#[test]
fn the_repositorys_standalone_job_reads_once_it_is_no_comment() {
    let text = std::fs::read_to_string(repository("jobs.toml")).unwrap();
    let (before, after) = text.split_once("# [[job]]").unwrap();
    let (commented, after) = after.split_once("\n\n").unwrap();
    let config = good(&format!("{before}[[job]]{}\n\n{after}", commented.replace("\n# ", "\n")));
    let job = &config.jobs[2];
    assert_eq!((job.id.as_str(), job.schedule.as_str()), ("nightly-course-report", "0 0 2 * * *"));
    assert_eq!(job.mode, Mode::Standalone(serde_json::json!({"batchFilters": ["TPD"]})));
}

#[test]
fn the_page_names_every_key_in_its_section_and_no_other() {
    let page = page();
    for (section, keys) in SECTIONS {
        let heading = match *section {
            "" => "\n## Top level\n".to_owned(),
            "worker.per_tag" | "worker.per_channel" => "\n### per_tag and per_channel of [worker]\n".to_owned(),
            "job.options" | "source.max_bad_rows" => format!("\n### {}\n", written(section).replace('`', "")),
            "api.keys" => "\n### [[api.keys]]\n".to_owned(),
            "source.tables" => "\n### [source.tables]\n".to_owned(),
            table if table.starts_with("source.tables.") => "\n### A table of [source.tables]\n".to_owned(),
            _ => format!("\n## {}\n", written(section)),
        };
        let (_, after) = page.split_once(&heading).unwrap_or_else(|| panic!("no heading {heading:?}"));
        let chapter = after.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
        let mut named: Vec<&str> = chapter
            .lines()
            .filter(|line| line.starts_with("| `"))
            .flat_map(|row| row.split('|').nth(1).unwrap().split(',').map(|key| key.trim().trim_matches('`')))
            .collect();
        let mut known = keys.to_vec();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known, "{section}");
    }
}

#[test]
fn the_pages_examples_read() {
    let page = page();
    let environment = [("DB_PASSWORD", "x")].into_iter().collect();
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .map(|after| after.split("```").next().unwrap())
        .filter(|example| !example.contains("shedule"))
        .collect();
    assert!(examples.len() >= 6);
    for example in examples {
        // The key of the example is refused as it stands: everybody knows it.
        let example = &example.replace("9f86d081884c7d65", "0123456789abcdef");
        check_with(example, &environment).unwrap_or_else(|faults| panic!("{example}\n{faults}"));
    }
}

#[test]
fn the_pages_faults_are_the_ones_that_are_shown() {
    let faults = check(&block("wrong"), Path::new("jobs.toml"), &no_variables(), registry()).unwrap_err();
    assert_eq!(format!("{faults}\n"), block("faults"));
}

#[test]
fn the_pages_defaults_are_the_defaults() {
    assert_eq!(good(&block("defaults")), good(""));
    let least = "[[job]]\nid = 'course-report'\nreport = 'course'";
    assert_eq!(good(&block("job defaults")), good(least));
}

#[test]
fn the_pages_defaults_are_all_that_are_not_nothing() {
    let written = block("defaults") + &block("job defaults");
    let without = [
        "config",
        "direct_url",
        "link_key",
        "per_tag",
        "per_channel",
        "public_url",
        "metrics_public",
        "keys",
        "key",
        "tables",
        "trusted_proxies",
    ];
    let are_left_out = |section: &str| matches!(section, "" | "api.keys" | "worker.per_tag" | "worker.per_channel");
    let is_of_tables = |section: &str| section.starts_with("source.tables");
    for (section, keys) in SECTIONS.iter().filter(|(section, _)| !are_left_out(section) && !is_of_tables(section)) {
        for key in keys.iter().filter(|key| !without.contains(key)) {
            let is_there = written.contains(&format!("{key} = ")) || written.contains(&format!(".{key}]"));
            assert!(is_there, "{section}.{key}");
        }
    }
}
