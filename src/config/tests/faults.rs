//! Each fault with its exact place and words.

use super::*;

/// What is shown for a file, without the file's name.
pub(super) fn faults(text: &str) -> Vec<String> {
    match check_with(text, &no_variables()) {
        Ok(config) => panic!("{text}\nreads: {config:?}"),
        Err(shown) => shown.lines().map(|line| line.replace("conf/jobs.toml:", "")).collect(),
    }
}

/// A job in three lines; `more` begins in the fourth.
fn job(more: &str) -> String {
    format!("[[job]]\nid = 'a'\nreport = 'course'\n{more}")
}

#[test]
fn ten_faults_are_shown_at_once() {
    let text = r#"timezone = "Kolkata"
colour = "red"
[[job]]
id = "a"
report = "cours"
schedule = "*/5 * * * *"
[[job]]
id = "b"
aliases = ["a"]
report = "course"
mode = "sometimes"
[store]
url = "s3://"
signed_url_ttl = "8d"
[worker]
claim = 0
lease = 2
"#;
    assert_eq!(
        faults(text),
        [
            "1:12: unknown time zone `Kolkata`; did you mean `Asia/Kolkata`?",
            "2:1: unknown key `colour` at the top level",
            "5:10: unknown report `cours`; there are `course`, `assessment`, `sql`; did you mean `course`?",
            "6:12: `schedule`: a schedule has six fields, seconds first; put `0` in front: `0 */5 * * * *`",
            "9:12: the job name `a` is taken already, at 4:6",
            "11:8: `mode` is one of `request`, `standalone`, not `sometimes`",
            "13:7: the URL names no bucket; write for example s3://bucket/prefix",
            "14:18: `signed_url_ttl` must be at most 7d, object stores sign no longer",
            "16:9: `claim` must be a whole number of at least 1",
            "17:9: `lease` must be a length of time such as \"30s\", this is a whole number",
        ]
    );
}

#[test]
fn one_fault_each_in_jobs() {
    let long = "x".repeat(51);
    for (more, fault) in [
        ("shedule = ''", "4:1: unknown key `shedule` in [[job]]; did you mean `schedule`?"),
        ("bom = true", "4:1: unknown key `bom` in [[job]]; it belongs in `options` of [[job]]"),
        (
            "schedule = '* * *'",
            "4:12: `schedule`: a schedule has six fields (second minute hour day month weekday), this has 3",
        ),
        ("schedule = '0 0 25 * * *'", "4:12: `schedule`: the hour `25` does not read, it takes 0-23 and `* , - /`"),
        (
            "schedule = '0 0 0 30 2 *'",
            "4:12: `schedule`: no day is ever in this schedule: no month of `2` has a day `30`",
        ),
        ("schedule = 5", "4:12: `schedule` must be text, this is a whole number"),
        ("aliases = 'b'", "4:11: `aliases` must be a list of texts, this is text"),
        ("aliases = ['b', 5]", "4:17: `aliases` must be a list of texts, this is a whole number"),
        ("aliases = ['']", "4:12: a text in `aliases` is empty"),
        ("aliases = ['a']", "4:12: the job name `a` is taken already, at 2:6"),
        (&format!("aliases = ['{long}']"), &format!("4:12: a job's name has at most 50 characters, `{long}` has 51")),
        (
            "mode = 'standalon'\nconfig = {}",
            "4:8: `mode` is one of `request`, `standalone`, not `standalon`; did you mean `standalone`?",
        ),
        ("mode = 'standalone'", "4:8: `mode = \"standalone\"` needs `config`, the jobConfig of its requests"),
        ("mode = 'standalone'\nconfig = 'TPD'", "5:10: `config` must be a table, this is text"),
        ("mode = 'standalone'\nconfig = { a = nan }", "5:16: JSON has no such number"),
        (
            "mode = 'standalone'\nconfig = { batchfilters = ['TPD'] }",
            "5:10: `config` is no jobConfig: unknown key 'batchfilters' in jobConfig; did you mean 'batchFilters'?",
        ),
        (
            "mode = 'request'\nconfig = {}",
            "5:10: `config` is only for `mode = \"standalone\"`: requests bring their own jobConfig",
        ),
        ("config = {}", "4:10: `config` is only for `mode = \"standalone\"`: requests bring their own jobConfig"),
        ("report_path = '/x'", "4:15: `report_path` must not begin with a slash: it is a path inside the store"),
        ("report_path = '/'", "4:15: `report_path` must not begin with a slash: it is a path inside the store"),
        ("report_path = 'a/../b'", "4:15: `report_path` must not contain a segment '..'"),
        ("report_path = './'", "4:15: `report_path` must not contain a segment '.'"),
        ("report_path = 'a//b'", "4:15: `report_path` has an empty segment"),
        ("report_path = 'a//'", "4:15: `report_path` has an empty segment"),
        ("report_path = \"a\\tb\"", "4:15: `report_path` contains a control character"),
        ("report_path = ''", "4:15: `report_path` is empty"),
        ("max_attempts = 0", "4:16: `max_attempts` must be a whole number of at least 1"),
        ("max_attempts = 4294967296", "4:16: `max_attempts` is too large"),
        ("max_batches = 1.5", "4:15: `max_batches` must be a whole number, this is a number with a fraction"),
        ("on_submit = 'yes'", "4:13: `on_submit` must be true or false, this is text"),
        ("on_submit = 'true'", "4:13: `on_submit` must be true or false, this is text"),
        (
            "mode = 'standalone'\nconfig = { batchId = 'b' }\nrequire_encryption = true",
            "6:22: `require_encryption` is not for `mode = \"standalone\"`: nobody brings a key for its files",
        ),
        ("zip = 'ase'", "4:7: `zip` is one of `aes`, `legacy`, not `ase`; did you mean `aes`?"),
        ("compress = 'zstd'", "4:12: `compress` is one of `none`, `gzip`, not `zstd`"),
        ("options = 5", "4:11: `options` of [[job]] must be a table, this is a whole number"),
        (
            "options = { atempt = 'best' }",
            "4:13: unknown key `atempt` in `options` of [[job]]; did you mean `attempt`?",
        ),
        ("options = { attempt = 'worst' }", "4:23: `attempt` is one of `best`, `latest`, not `worst`"),
        (
            "options = { assessment_content_types = [] }",
            "4:40: `assessment_content_types` is empty: no attempt would ever count",
        ),
    ] {
        assert_eq!(faults(&job(more)), [fault], "{more}");
    }
}

#[test]
fn jobs_need_an_id_and_a_report() {
    assert_eq!(faults("\n[[job]]"), ["2:1: [[job]] needs `id`", "2:1: [[job]] needs `report`"]);
    assert_eq!(faults("[[job]]\nid = ''\nreport = ''"), ["2:6: `id` is empty", "3:10: `report` is empty"]);
    assert_eq!(faults("[job]\nid = 'a'"), ["1:1: there may be several, write [[job]]"]);
    assert_eq!(faults("job = 5"), ["1:7: `job` must be tables, each under [[job]], this is a whole number"]);
    assert_eq!(faults("job = [5]"), ["1:8: [[job]] must be a table, this is a whole number"]);
    assert_eq!(
        faults(&(job("") + "\n[[job]]\nid = 'a'\nreport = 'course'")),
        ["6:6: the job name `a` is taken already, at 2:6"]
    );
}

#[test]
fn fifty_characters_are_not_too_many() {
    let id = "ü".repeat(50);
    assert_eq!(good(&format!("[[job]]\nid = '{id}'\nreport = 'course'")).jobs[0].id, id);
}

#[test]
fn one_fault_each_elsewhere() {
    let on = |more: &str| format!("[api]\nlisten = '127.0.0.1:1'\n{more}");
    for (text, fault) in [
        ("[wroker]", "1:2: unknown key `wroker` at the top level; did you mean `worker`?"),
        ("listen = 'off'", "1:1: unknown key `listen` at the top level; it belongs in [api]"),
        ("worker = 5", "1:10: [worker] must be a table, this is a whole number"),
        ("timezone = 5", "1:12: `timezone` must be text, this is a whole number"),
        ("timezone = 'asia/kolkata'", "1:12: unknown time zone `asia/kolkata`; did you mean `Asia/Kolkata`?"),
        (
            "[database]\nurl = 'oracle://u:hunter2@h'",
            "2:7: unknown URL scheme `oracle`; known here: `sqlite`, `postgres`, `postgresql`",
        ),
        ("[database]\nurl = ''", "2:7: `url` is empty"),
        ("[database]\nmigrate = 1", "2:11: `migrate` must be true or false, this is a whole number"),
        (
            "[source]\nkind = 'file'",
            "2:8: `kind` is one of `files`, `postgres`, `sql`, not `file`; did you mean `files`?",
        ),
        ("[source]\nkind = 'postgres'", "2:8: `kind = \"postgres\"` needs `url = \"postgres://…\"`"),
        (
            "[source]\nkind = 'postgres'\nurl = 'data'",
            "3:7: no URL, it has no `://`; write for example `postgres://user@host/database`",
        ),
        ("[source]\nurl = 'postgres://h/d'", "2:7: a postgres:// source needs `kind = \"postgres\"`"),
        (
            "[source]\ncsv_dialect = 'sprak'",
            "2:15: `csv_dialect` is one of `rfc4180`, `spark`, `cqlsh`, not `sprak`; did you mean `spark`?",
        ),
        ("[source]\nmax_bad_rows = 5", "2:16: `max_bad_rows` of [source] must be a table, this is a whole number"),
        ("[source]\nmax_bad_rows = { share = 1.1 }", "2:26: `share` must be a number from 0 to 1"),
        ("[source]\nmax_bad_rows = { share = nan }", "2:26: `share` must be a number from 0 to 1"),
        ("[source]\nmax_bad_rows = { at_least = -1 }", "2:29: `at_least` must be a whole number of at least 0"),
        (
            "[store]\nurl = 'fil://x'",
            "2:7: unknown URL scheme `fil`; known here: `file`, `s3`, `az`, `gs`; did you mean `file`?",
        ),
        ("[store]\nsigned_url_ttl = '0s'", "2:18: `signed_url_ttl` must be longer than nothing"),
        ("[store]\nsigned_url_ttl = '999ms'", "2:18: `signed_url_ttl` must be at least 1s"),
        ("[store]\nsigned_url_ttl = '169h'", "2:18: `signed_url_ttl` must be at most 7d, object stores sign no longer"),
        ("[store]\nlink_key = ''", "2:12: `link_key` is empty"),
        ("[worker]\nclaim = -5", "2:9: `claim` must be a whole number of at least 1"),
        ("[worker]\nclaim = 99999999999999999999", "2:9: `claim` must be a whole number of at least 1"),
        (
            "[worker]\nlease = '2'",
            "2:9: `lease` is a whole number and a unit, ms, s, m, h or d, as in \"30s\"; `2` is not",
        ),
        ("[worker]\nlease = '0m'", "2:9: `lease` must be longer than nothing"),
        (
            "[worker]\nmemory = '2G'",
            "2:10: `memory` is a whole number of bytes or one with a unit, as in \"2GiB\" or \"500MB\"; `2G` is not",
        ),
        ("[worker]\nmemory = 0", "2:10: `memory` must be a whole number of at least 1"),
        (
            "[worker]\nretention = true",
            "2:13: `retention` must be a length of time such as \"30s\", this is true or false",
        ),
        (
            "[worker]\nadopt_after = 'on'",
            "2:15: `adopt_after` is a whole number and a unit, ms, s, m, h or d, as in \"30s\"; `on` is not",
        ),
        ("[secrets]\nkey = 5", "2:7: `key` must be text, this is a whole number"),
        ("[secrets]\nkey = 'fifteen letters'", "2:7: `key` must have at least 16 characters"),
        (
            "[api]\nlisten = 'localhost:80'",
            "2:10: `listen` is an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\", or \"off\"",
        ),
        (
            "[api]\nlisten = '0.0.0.0:80'",
            "2:10: `0.0.0.0:80` can be reached by others, and nobody would need a key: add [[api.keys]], or listen on 127.0.0.1:80",
        ),
        (
            "[api]\nlisten = '0.0.0.0:80'\nkeys = []",
            "2:10: `0.0.0.0:80` can be reached by others, and nobody would need a key: add [[api.keys]], or listen on 127.0.0.1:80",
        ),
        (&on("public_url = 'x.example'"), "3:14: `public_url` must begin with http:// or https://"),
        (&on("public_url = 'https://'"), "3:14: `public_url` names no host"),
        (
            &on("public_url = 'https://u:hunter2@x'"),
            "3:14: `public_url` must not hold a user or a password: it is a part of every link",
        ),
        (&on("public_url = 'https://x/?a'"), "3:14: `public_url` must not hold `?` or `#`: links go on after it"),
    ] {
        assert_eq!(faults(text), [fault], "{text}");
    }
}

#[test]
fn one_fault_each_of_keys() {
    let sha = "ab".repeat(32);
    let key = |more: &str| format!("[api]\n[[api.keys]]\nname = 'k'\nsha256 = '{sha}'\n{more}");
    let not_after = "5:13: `not_after` must be a date (the key's last day, in UTC) or a time with its offset, such as \
                     2027-01-31 or 2027-01-31T18:00:00+05:30";
    for (text, fault) in [
        ("[api.keys]\nname = 'k'", "1:1: there may be several, write [[api.keys]]"),
        ("[[api.keys]]\nname = 'k'", "1:1: [[api.keys]] needs `sha256`"),
        (
            "[[api.keys]]\nname = 'k'\nsha256 = 'abc'",
            "3:10: `sha256` must be the 64 hexadecimal digits of the key's SHA-256",
        ),
        (&format!("[[api.keys]]\nsha256 = '{sha}'"), "1:1: [[api.keys]] needs `name`"),
        (&key("tags = []"), "5:8: `tags` is empty: name some, or leave it out for all"),
        (&key("role = 'king'"), "5:8: `role` is one of `client`, `viewer`, `operator`, `admin`, not `king`"),
        (
            &key("role = 'admin'\ntags = ['a']"),
            "6:8: a key with `role = \"admin\"` is for all tenants: leave `tags` out, or make it an operator",
        ),
        (
            &key("role = 'admin'\nchannels = ['a']"),
            "6:12: a key with `role = \"admin\"` is for all tenants: leave `channels` out, or make it an operator",
        ),
        (&key("channels = []"), "5:12: `channels` is empty: name some, or leave it out for all"),
        (&key("per_minute = 0"), "5:14: `per_minute` must be a whole number of at least 1"),
        (
            &key(&format!("[[api.keys]]\nname = 'k'\nsha256 = '{}'", "cd".repeat(32))),
            "6:8: the key name `k` is taken already, at 3:8",
        ),
        (
            &key(&format!("[[api.keys]]\nname = 'l'\nsha256 = '{}'", "AB".repeat(32))),
            "7:10: this `sha256` is taken already, at 4:10: a key has one name",
        ),
        (&key("not_after = 'soon'"), not_after),
        (&key("not_after = 2027-01-31T18:00:00"), not_after),
        (&key("not_after = 7"), "5:13: `not_after` must be a date or a time, this is a whole number"),
    ] {
        assert_eq!(faults(text), [fault], "{text}");
    }
}

/// Hashes of keys that everybody can find. As computed by `sha256sum` of nothing, of a line end, and of the page's example.
#[test]
fn hashes_of_known_keys_are_refused() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md")).unwrap();
    let examples = page.split("sha256 = \"").skip(1).filter_map(|after| after.split('"').next());
    let examples: Vec<&str> = examples.filter(|hash| hash.len() == 64).collect();
    assert_eq!(examples.len(), 1, "{examples:?}");
    for (hash, why) in [
        ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "is the hash of an empty key"),
        ("E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", "is the hash of an empty key"),
        ("01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b", "is the hash of an empty line"),
        (examples[0], "is the example of the documentation"),
    ] {
        let shown = faults(&format!("[[api.keys]]\nname = 'k'\nsha256 = '{hash}'"));
        assert!(shown.len() == 1 && shown[0].starts_with(&format!("3:10: `sha256` {why}")), "{shown:?}");
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_in_a_build_without() {
    assert_eq!(
        faults("[database]\nurl = 'postgres://u:hunter2@h/d?sslmode=require'"),
        ["2:7: the URL asks for TLS, and this build of exhaustd is without: build it with `--features tls`, use a \
             released binary, or leave out `sslmode`"]
    );
}

#[test]
fn one_fault_each_of_single_tables() {
    for (text, fault) in [
        (
            "[source.tables]\nuser = { csv_dialect = 'csqlsh' }",
            "2:24: `csv_dialect` is one of `rfc4180`, `spark`, `cqlsh`, not `csqlsh`; did you mean `cqlsh`?",
        ),
        ("[source.tables]\nusers = {}", "2:1: unknown key `users` in [source.tables]; did you mean `user`?"),
        (
            "[source.tables.user]\ncsv_dialekt = 'spark'",
            "2:1: unknown key `csv_dialekt` in `user` of [source.tables]; did you mean `csv_dialect`?",
        ),
        ("[source.tables]\nuser = 'spark'", "2:8: `user` of [source.tables] must be a table, this is text"),
    ] {
        assert_eq!(faults(text), [fault], "{text}");
    }
}

#[test]
fn every_known_key_is_read() {
    // A date fits no key, so that each known one must give one fault, and at its own line.
    let date = "1979-05-27";
    // But for a key's last day, which is one. The keys of reports in SQL are read by those alone.
    let is_tried = |key: &String| {
        key != "api.keys.not_after" && !key.strip_prefix("job.").is_some_and(crate::config::sql_reports::is_only_sql)
    };
    for key in known_keys().into_iter().filter(is_tried) {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", &key));
        let text = match section {
            "" => format!("{name} = {date}"),
            "job" if name == "id" => format!("[[job]]\nreport = 'course'\n{name} = {date}"),
            "job" if name == "report" => format!("[[job]]\nid = 'a'\n{name} = {date}"),
            "job" if name == "config" => job(&format!("mode = 'standalone'\nconfig = {date}")),
            "job" => job(&format!("{name} = {date}")),
            "job.options" => job(&format!("[job.options]\n{name} = {date}")),
            "api.keys" => {
                let other =
                    if name == "name" { format!("sha256 = '{}'", "ab".repeat(32)) } else { "name = 'k'".into() };
                let sha =
                    if name == "name" || name == "sha256" { "" } else { &format!("sha256 = '{}'\n", "ab".repeat(32)) };
                format!("[[api.keys]]\n{other}\n{sha}{name} = {date}")
            }
            // Those of the other kinds.
            "source" if name == "transport" => {
                format!("[source]\nkind = 'sql'\nurl = 'sc://h'\nmode = 'stream'\n{name} = {date}")
            }
            "source" if ["command", "input", "retry_codes"].contains(&name) => {
                let other = match name {
                    "input" => "command = ['p']",
                    "command" => "input = 'plan'",
                    _ => "input = 'plan'\ncommand = ['p']",
                };
                format!("[source]\nkind = 'sql'\ntransport = 'command'\nstage = '/x'\n{other}\n{name} = {date}")
            }
            "source" if name.starts_with("stage") => format!(
                "[source]\nkind = 'sql'\ntransport = 'spark-connect'\nurl = 'sc://h'\n{}{name} = {date}",
                if name == "stage" { "" } else { "stage = '/x'\n" }
            ),
            "source" if ["token", "catalog", "mode"].contains(&name) => {
                let mode = if name == "mode" { "" } else { "mode = 'stream'\n" };
                format!("[source]\nkind = 'sql'\ntransport = 'spark-connect'\nurl = 'sc://h'\n{mode}{name} = {date}")
            }
            table if table.starts_with("source.tables.") && name == "relation" => {
                format!(
                    "[source]\nkind = 'sql'\ntransport = 'spark-connect'\nurl = 'sc://h'\nmode = 'stream'\n[{section}]\n{name} = {date}"
                )
            }
            "source" if !["url", "csv_dialect", "kind", "max_bad_rows", "tables"].contains(&name) => {
                format!("[source]\nkind = 'postgres'\nurl = 'postgres://h/d'\n{name} = {date}")
            }
            table if table.starts_with("source.tables.") && ["table", "schema"].contains(&name) => {
                format!("[source]\nkind = 'postgres'\nurl = 'postgres://h/d'\n[{section}]\n{name} = {date}")
            }
            _ => format!("[{section}]\n{name} = {date}"),
        };
        let shown = faults(&text);
        let expected = format!("{}:{}: ", text.lines().count(), name.len() + 4);
        assert!(
            shown.len() == 1 && shown[0].starts_with(&expected) && shown[0].ends_with("this is a date"),
            "{key}: {shown:?}"
        );
    }
}

#[test]
fn syntax_errors_are_all_listed() {
    assert_eq!(
        faults("timezone = UTC\n[worker]\nclaim 5\nlease = \"2m\nclaim = 1\nclaim = 2\nunknown = 1\n"),
        [
            "1:12: not TOML: string values must be quoted, expected literal string",
            "3:7: not TOML: key with no value, expected `=`",
            "4:12: not TOML: invalid basic string, expected `\"`",
            "6:1: not TOML: duplicate key",
        ]
    );
    assert_eq!(faults("timezone = 'UTC'\ntimezone = 'UTC'"), ["2:1: not TOML: duplicate key"]);
}

#[test]
fn a_missing_file_says_so() {
    let path = Path::new("/nowhere/at/all/jobs.toml");
    let errors = load(path, &no_variables(), registry()).unwrap_err();
    assert_eq!(errors.to_string(), "/nowhere/at/all/jobs.toml: there is no such file; name another with --config FILE");
    assert_eq!(errors.file(), path);
    assert_eq!(errors.faults()[0].place, Place::File);
}

#[test]
fn a_file_that_is_not_utf_8_says_where() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.toml");
    std::fs::write(&path, b"# \xc3\xa9\nid = '\xff'").unwrap();
    let errors = load(&path, &no_variables(), registry()).unwrap_err();
    assert_eq!(errors.faults()[0].place, Place::At { line: 2, column: 7 });
    assert_eq!(errors.faults()[0].what, "the file is not UTF-8 from here on");
}

#[test]
fn passwords_never_appear() {
    let text = "[database]\nurl = 'hunter2'\n[source]\nkind = 'postgres'\nurl = 'postgre://u:hunter2@h/d'\n\
                [store]\nurl = 'http://u:hunter2@h'\nlink_key = ['hunter2']\n[secrets]\nkey = ['hunter2']\n\
                [api]\nlisten = 'hunter2'\npublic_url = 'ftp://u:hunter2@h'";
    let shown = faults(text);
    assert_eq!(shown.len(), 7, "{shown:?}");
    assert!(!shown.join("\n").contains("hunter2"), "{shown:?}");
}
