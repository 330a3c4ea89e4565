//! `[[job]]`: which jobs there are, how often they run, what changes their reports.

use std::collections::HashMap;
use std::path::Path;

use super::checked::{Compress, Job, Mode, NamedSource, Zip};
use super::cron::Cron;
use super::sql_reports::{self, Surroundings};
use crate::document::Fallback::{Is, Says};
use crate::document::Form::{Boolean, Duration, Json, Number, Table, Text, Texts};
use crate::document::{Key, Keys, Place, Section, Value, listed, live, near_miss};
use crate::outputs::{CsvOptions, ReportPath};
use crate::reports::job_config::JobConfig;
use crate::reports::{JobReport, OPTION_KEYS, Options, Report, SQL, registry};

/// `job_request.job_id` is `VARCHAR(50)`.
const LONGEST_ID: usize = 50;

/// The keys of `[[job]]`.
pub(super) const KEYS: &[Key] = &[
    live("id", Text, Says("needed"), "What rows have in `job_request.job_id`; 1 to 50 characters."),
    live(
        "report",
        Text,
        Says("needed"),
        "Which report makes it: `\"course\"`, `\"assessment\"`, or `\"sql\"` for one of your own.",
    ),
    live(
        "schedule",
        Text,
        Is("\"*/30 * * * * *\""),
        "When to look for rows, or, for a standalone job, when to make one. See [Schedules](#schedules).",
    ),
    live(
        "enabled",
        Boolean,
        Is("true"),
        "`false` switches the job off: submissions are refused, no row is made or taken. What is in work goes on, and rows that \
         wait stay. See [Switching a job off](#switching-a-job-off).",
    ),
    live(
        "priority",
        Number,
        Is("0"),
        "Of jobs that are due at the same moment those with a lower number are scanned first: -10 to 10.",
    ),
    live("aliases", Texts, Is("[]"), "Other ids for the same job. No two jobs share an id or alias."),
    live(
        "mode",
        Text,
        Is("\"request\""),
        "`\"request\"`: works on rows that clients write. `\"standalone\"`: writes its own, one for each slot of \
         its schedule.",
    ),
    live(
        "config",
        Json,
        Says("none"),
        "The jobConfig of a standalone job: which batches. Needed there, refused elsewhere.",
    ),
    live(
        "report_path",
        Text,
        Is("\"reports/\""),
        "Where its files go inside the store, unless the request says so. At most 300 bytes and 16 segments, no \
         `/` in front, no segment that is empty or begins with a dot.",
    ),
    live(
        "max_attempts",
        Number,
        Is("3"),
        "After this many attempts that failed in a way that may pass, the request is FAILED.",
    ),
    live(
        "max_runtime",
        Duration,
        Is("\"off\""),
        "A request on which one attempt works for longer than this is FAILED (`err_code` timeout), others go on. \
         [What counts](#the-time-that-a-request-may-take).",
    ),
    live("max_batches", Number, Is("1000"), "Most batches of one request."),
    live(
        "on_submit",
        Boolean,
        Is("true"),
        "Scan at once when somebody submits; the schedule is then the longest wait. On PostgreSQL our submit \
         sends `NOTIFY exhaust_job_request`; outside writers may send it too. On SQLite any change of the file is \
         seen.",
    ),
    live("own_channel_only", Boolean, Is("false"), "A batch counts only if its course's channel is the request's."),
    live(
        "require_encryption",
        Boolean,
        Is("false"),
        "Refuse requests without an encryption key: the API, `submit`, and the daemon for rows of others. Not for \
         standalone jobs, to whose requests nobody brings one.",
    ),
    live(
        "zip",
        Text,
        Is("\"aes\""),
        "How protected files are zipped: `\"aes\"` (AES-256), or `\"legacy\"` (ZipCrypto) for programs that \
         cannot read that. The latter is broken in minutes by who knows a few bytes of the report; `check` warns \
         of it.",
    ),
    live(
        "compress",
        Text,
        Is("\"none\""),
        "`\"gzip\"` compresses csv and json files; parquet and xlsx are compressed inside, and protected files by \
         their archive: it does nothing there.",
    ),
    live("options", Table(OPTION_KEYS), Says("`{}`"), "What changes the report, below."),
    sql_reports::ENGINE,
    sql_reports::QUERY,
    sql_reports::SPLIT,
    sql_reports::ORDER,
    sql_reports::COLUMNS,
    sql_reports::ALLOW_PERSONAL,
    sql_reports::ALL_ROWS,
    sql_reports::MAX_ROWS,
    sql_reports::MAX_BYTES,
    sql_reports::MAX_TIME,
];

/// The keys of `options` that change how CSV is written. Those of reports are beside the reports.
pub(super) const CSV_OPTIONS: &[Key] = &[
    live(
        "formula_guard",
        Boolean,
        Is("true"),
        "CSV: put `'` before text that a spreadsheet would run as a formula. See [CSV](reports.md#csv).",
    ),
    live("crlf", Boolean, Is("false"), "CSV: lines end with CR LF."),
    live(
        "bom",
        Boolean,
        Is("false"),
        "CSV: begin with a byte order mark, for spreadsheets that guess the encoding wrong.",
    ),
];

/// Adds to the keys of `options` those of each report, and those of CSV.
pub(super) fn add_keys(keys: &mut Keys) {
    let Some(options) = keys.inside_mut("job").and_then(|job| job.inside_mut("options")) else { return };
    for report in registry() {
        options.also(report.option_keys());
    }
    options.also(CSV_OPTIONS);
}

/// Ids and aliases seen so far.
type Taken<'a> = HashMap<&'a str, &'a Place>;

/// The jobs that read, in the file's order.
pub(super) fn jobs(
    sections: &[Section<'_>],
    file: &Path,
    reports: &[&'static dyn Report],
    sources: &[NamedSource],
) -> Vec<Job> {
    let mut taken = Taken::new();
    let surroundings = Surroundings { directory: file.parent().unwrap_or(Path::new("")), sources };
    sections.iter().filter_map(|section| job(section, file, (reports, surroundings), &mut taken)).collect()
}

fn job<'a>(
    section: &Section<'a>,
    file: &Path,
    (reports, surroundings): (&[&'static dyn Report], Surroundings<'_>),
    taken: &mut Taken<'a>,
) -> Option<Job> {
    let id = section.required("id").and_then(|name| take(section, name, file, taken));
    let aliases = section.texts("aliases").unwrap_or_default();
    let aliases = aliases.into_iter().filter_map(|name| take(section, name, file, taken)).collect();
    let report = report(section, reports, surroundings);
    let schedule = schedule(section);
    let mode = mode(section);
    let is_protected = report.as_ref().is_some_and(|(_, is_protected)| *is_protected);
    let require_encryption = require_encryption(section, &mode, is_protected);
    let options = section.section("options");
    let job = Job {
        id: id.unwrap_or_default(),
        aliases,
        mode,
        enabled: section.boolean("enabled").unwrap_or(true),
        priority: priority(section),
        report_path: report_path(section).unwrap_or_default().to_owned(),
        max_attempts: section.number("max_attempts", 1).unwrap_or_default(),
        max_runtime: section.duration_or_off("max_runtime"),
        max_batches: section.number("max_batches", 1).unwrap_or_default(),
        on_submit: section.boolean("on_submit").unwrap_or_default(),
        own_channel_only: section.boolean("own_channel_only").unwrap_or_default(),
        require_encryption,
        zip: section.one_of("zip", &[("aes", Zip::Aes), ("legacy", Zip::Legacy)]).unwrap_or(Zip::Aes),
        compress: section
            .one_of("compress", &[("none", Compress::None), ("gzip", Compress::Gzip)])
            .unwrap_or(Compress::None),
        csv: csv_options(&options),
        options: Options::read(&options),
        // There is no job without these two. They come last: every other key has been looked at by now.
        report: report?.0,
        schedule: schedule?,
    };
    Some(job)
}

fn priority(section: &Section<'_>) -> i8 {
    let priority: i8 = section.number("priority", -10).unwrap_or_default();
    if priority > 10
        && let Some(node) = section.node("priority")
    {
        section.faults.add(&node.place, "`priority` must be a whole number of at most 10");
    }
    priority
}

/// An id or alias that no job has yet.
fn take<'a>(section: &Section<'a>, name: (&'a str, &'a Place), file: &Path, taken: &mut Taken<'a>) -> Option<String> {
    let (name, place) = name;
    let characters = name.chars().count();
    if characters > LONGEST_ID {
        let what = format!("a job's name has at most {LONGEST_ID} characters, `{name}` has {characters}");
        section.faults.add(place, what);
        return None;
    }
    if let Some(first) = taken.get(name) {
        section.faults.add(place, format!("the job name `{name}` is taken already, at {}", shown(first, file)));
        return None;
    }
    taken.insert(name, place);
    Some(name.to_owned())
}

/// A place inside a message.
pub(super) fn shown(place: &Place, file: &Path) -> String {
    match place {
        Place::File => file.display().to_string(),
        Place::At { line, column } => format!("{}:{line}:{column}", file.display()),
        Place::Variable(name) => name.clone(),
    }
}

/// The report, and whether its files must be protected whatever `require_encryption` says.
fn report(
    section: &Section<'_>,
    reports: &[&'static dyn Report],
    surroundings: Surroundings<'_>,
) -> Option<(JobReport, bool)> {
    let (name, place) = section.required("report")?;
    if name == SQL {
        return sql_reports::read(section, surroundings);
    }
    sql_reports::refuse_keys(section);
    let found = reports.iter().copied().find(|report| report.name() == name);
    if found.is_none() {
        let names = || reports.iter().map(|report| report.name()).chain([SQL]);
        let what = format!("unknown report `{name}`; there are {}", listed(names()));
        section.faults.add_meant(place, what, near_miss(name, names()));
    }
    Some((JobReport::BuiltIn(found?), false))
}

fn schedule(section: &Section<'_>) -> Option<Cron> {
    let (text, place) = section.text("schedule")?;
    Cron::parse(text).map_err(|fault| section.faults.add(place, format!("`schedule`: {fault}"))).ok()
}

/// `is_protected`: the report has personal columns.
fn require_encryption(section: &Section<'_>, mode: &Mode, is_protected: bool) -> bool {
    if let (true, Mode::Standalone(_), Some(node)) = (is_protected, mode, section.node("columns")) {
        let what = "personal columns need a key, which nobody brings for `mode = \"standalone\"`: see `allow_personal`";
        section.faults.add(&node.place, what);
    }
    let required = section.boolean("require_encryption").unwrap_or_default();
    if let (true, Mode::Standalone(_), Some(node)) = (required, mode, section.node("require_encryption")) {
        let what = "`require_encryption` is not for `mode = \"standalone\"`: nobody brings a key for its files";
        section.faults.add(&node.place, what);
    }
    required || is_protected
}

fn mode(section: &Section<'_>) -> Mode {
    let standalone = section.one_of("mode", &[("request", false), ("standalone", true)]);
    let config = section.node("config");
    match (standalone, config) {
        (Some(true), Some(node)) => {
            if !matches!(node.value, Value::Table(_) | Value::Faulty) {
                let what = format!("`config` must be a table, this is {}", node.value.kind());
                section.faults.add(&node.place, what);
            }
            let config = node.to_json(section.faults);
            if matches!(node.value, Value::Table(_))
                && !has_null(&config)
                && let Err(error) = JobConfig::from_value(&config)
            {
                section.faults.add(&node.place, format!("`config` is no jobConfig: {error}"));
            }
            return Mode::Standalone(config);
        }
        (Some(true), None) => {
            let place = section.node("mode").map_or(&section.place, |mode| &mode.place);
            section.faults.add(place, "`mode = \"standalone\"` needs `config`, the jobConfig of its requests");
        }
        (Some(false), Some(node)) => not_standalone(section, &node.place),
        _ => {}
    }
    Mode::Request
}

/// TOML has no null: it stands where a value could not be made JSON, which is a fault already.
fn has_null(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(items) => items.iter().any(has_null),
        serde_json::Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

fn not_standalone(section: &Section<'_>, place: &Place) {
    section.faults.add(place, "`config` is only for `mode = \"standalone\"`: requests bring their own jobConfig");
}

/// Checked like a request's, since a request may leave it out.
fn report_path<'a>(section: &Section<'a>) -> Option<&'a str> {
    let (path, place) = section.filled("report_path")?;
    match ReportPath::parse(path) {
        Ok(_) => Some(path),
        Err(error) => {
            section.faults.add(place, format!("`report_path` {error}"));
            None
        }
    }
}

fn csv_options(section: &Section<'_>) -> CsvOptions {
    let default = CsvOptions::default();
    CsvOptions {
        formula_guard: section.boolean("formula_guard").unwrap_or(default.formula_guard),
        crlf: section.boolean("crlf").unwrap_or(default.crlf),
        bom: section.boolean("bom").unwrap_or(default.bom),
    }
}
