//! The repository's jobs.toml and docs/configuration.md say what the code does.

use super::super::{api, keys, sources, worker};
use super::*;
use crate::document::{Fallback, Form, Key};
use crate::sources::configured::KINDS;

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
    assert_eq!(config.sources.used[0].config, files(root.join("data").to_str().unwrap()));
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

/// The declared keys by the heading under which the page has them, with what stands before each meaning.
fn chapters() -> Vec<(String, Vec<(&'static Key, String)>)> {
    fn plain(keys: &'static [Key]) -> Vec<(&'static Key, String)> {
        keys.iter().map(|key| (key, String::new())).collect()
    }
    fn inside(keys: &'static [Key], section: &str, chapters: &mut Vec<(String, Vec<(&'static Key, String)>)>) {
        for key in keys {
            let Some(own) = key.form.inside().filter(|own| !own.is_empty()) else { continue };
            let (heading, written) = match (key.form, section) {
                (Form::Section(_), _) => ("##", format!("[{}]", key.name)),
                (Form::Sections(_), "") => ("##", format!("[[{}]]", key.name)),
                (Form::Sections(_), _) => ("###", format!("[[{}.{}]]", section.trim_matches(['[', ']']), key.name)),
                (Form::Short(..), _) => ("###", "per_tag and per_channel of [worker]".to_owned()),
                _ => ("###", format!("{} of {section}", key.name)),
            };
            let mut rows = plain(own);
            if key.name == "options" {
                let of_reports = registry().iter().flat_map(|report| report.option_keys());
                rows.extend(of_reports.chain(jobs::CSV_OPTIONS).map(|key| (key, String::new())));
            }
            chapters.push((format!("{heading} {written}"), rows));
            inside(own, &written, chapters);
        }
    }
    let mut chapters = vec![("## Top level".to_owned(), plain(keys::TOP))];
    inside(keys::TOP, "", &mut chapters);
    let mut tables = plain(sources::TABLE_KEYS);
    for kind in KINDS {
        chapters.push((format!("### Sources of kind {}", kind.name), plain(kind.keys)));
        tables.extend(kind.table_keys.iter().map(|key| (key, format!("Kind `{}`: ", kind.name))));
    }
    chapters.push(("### A table of [source.tables]".to_owned(), tables));
    chapters
}

/// The rows of a chapter's table.
fn rows(keys: &[(&'static Key, String)]) -> String {
    let row = |(key, before): &(&Key, String)| {
        let fallback = match key.fallback {
            Fallback::Is(value) => format!("`{value}`"),
            Fallback::Says(words) => words.to_owned(),
        };
        format!(
            "| `{}` |{} | {before}{} |\n",
            key.name,
            if fallback.is_empty() { fallback } else { format!(" {fallback}") },
            key.doc
        )
    };
    keys.iter().map(row).collect()
}

/// With `BLESS` set the page is written anew from the declarations.
#[test]
fn the_pages_tables_are_the_declarations() {
    let mut page = page();
    for (heading, keys) in chapters() {
        let start = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
        let table = "| key | default | meaning |\n| --- | --- | --- |\n";
        let start =
            start + page[start..].find(table).unwrap_or_else(|| panic!("no table under {heading:?}")) + table.len();
        let end = start
            + page[start..].split_inclusive('\n').take_while(|row| row.starts_with('|')).map(str::len).sum::<usize>();
        let expected = rows(&keys);
        if std::env::var_os("BLESS").is_some() {
            page.replace_range(start..end, &expected);
        } else {
            assert_eq!(page[start..end], expected, "{heading}: run this test with BLESS=1");
        }
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(repository("docs/configuration.md"), page).unwrap();
    }
}

/// What the page says of a running daemon.
#[test]
fn the_page_says_what_takes_effect_at_once() {
    let live = |keys: &'static [Key]| -> Vec<&str> {
        let live = keys.iter().filter(|key| key.reload == crate::document::Reload::Live);
        live.map(|key| key.name).collect()
    };
    assert_eq!(live(keys::TOP), ["job", "worker", "api"]);
    assert_eq!(live(api::KEYS), ["link_hosts", "keys"]);
    assert_eq!(live(worker::KEYS).len() + 1, worker::KEYS.len());
    let text = page().replace('\n', " ");
    assert!(
        text.contains(
            "Jobs, `[[api.keys]]`, `[api] link_hosts` and the keys of `[worker]`, `threads` aside, take effect"
        )
    );
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
    let mut sections = Vec::new();
    for key in keys::TOP {
        let own = key.form.inside().into_iter().flatten();
        sections.extend(own.clone().map(|own| (key.name, own)));
        let deeper = own.filter(|own| !["keys", "columns"].contains(&own.name) && !matches!(own.form, Form::Short(..)));
        sections.extend(deeper.flat_map(|own| own.form.inside().into_iter().flatten()).map(|own| (key.name, own)));
    }
    for (section, key) in sections.into_iter().filter(|(_, key)| !without.contains(&key.name)) {
        // They have no default, or are read by reports in SQL alone.
        if section == "job" && crate::config::sql_reports::is_only_sql(key.name) {
            continue;
        }
        let is_there = written.contains(&format!("{} = ", key.name)) || written.contains(&format!(".{}]", key.name));
        assert!(is_there, "{section}.{}", key.name);
    }
}
