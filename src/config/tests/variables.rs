//! The environment over the file.

use super::*;

pub(super) fn with(text: &str, variables: &[(&str, &str)]) -> Config {
    check_with(text, &variables.iter().copied().collect()).unwrap()
}

pub(super) fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    check_with(text, &variables.iter().copied().collect()).unwrap_err()
}

#[test]
fn it_wins() {
    let text = "timezone = 'UTC'\n[database]\nurl = 'sqlite://a.db'\n[worker]\nclaim = 1\nper_tag = 1";
    let config = with(
        text,
        &[
            ("EXHAUST__TIMEZONE", "Asia/Kolkata"),
            ("EXHAUST__DATABASE__URL", "postgres://u:p@h/d"),
            ("EXHAUST__DATABASE__MIGRATE", "false"),
            ("EXHAUST__WORKER__CLAIM", "7"),
            ("EXHAUST__WORKER__MEMORY", "1048576"),
            ("EXHAUST__WORKER__LEASE", "9s"),
            ("EXHAUST__STORE__LINK_KEY", "12345"),
            ("EXHAUST__SOURCE__MAX_BAD_ROWS__SHARE", "0.5"),
            ("HOME", "/root"),
            ("EXHAUST_CONFIG", "other"),
        ],
    );
    assert_eq!(config.timezone, chrono_tz::Asia::Kolkata);
    assert_eq!(config.database.url, DatabaseUrl::Postgres(Secret::new("postgres://u:p@h/d".to_owned())));
    assert!(!config.database.migrate);
    assert_eq!((config.worker.claim, config.worker.per_tag.requests, config.worker.memory), (7, Some(1), 1_048_576));
    assert_eq!(config.worker.lease, Duration::from_secs(9));
    assert_eq!(config.store.link_key, Some(Secret::new("12345".to_owned())));
    assert_eq!(config.sources.max_bad_rows, MaxBadRows { share: 0.5, at_least: 10 });
}

#[test]
fn lists_and_tables_are_written_as_in_toml() {
    let key = "ab".repeat(32);
    let keys = format!("[{{ name = 'k', sha256 = '{key}' }}]");
    let config = with(
        "[[job]]\nid = 'a'\nreport = 'course'",
        &[
            ("EXHAUST__API__LISTEN", "0.0.0.0:80"),
            ("EXHAUST__API__KEYS", &keys),
            ("EXHAUST__SOURCE__MAX_BAD_ROWS", "{ share = 1, at_least = 3 }"),
            ("EXHAUST__SOURCE__MAX_BAD_ROWS__AT_LEAST", "4"),
            ("EXHAUST__SOURCE__TABLES", "{ user = { csv_dialect = 'spark' } }"),
            ("EXHAUST__SOURCE__TABLES__CONTENT", "{ csv_dialect = 'spark' }"),
            ("EXHAUST__SOURCE__TABLES__COURSE_BATCH__CSV_DIALECT", "cqlsh"),
            ("EXHAUST__JOB__A__ALIASES", "['b']"),
        ],
    );
    assert_eq!(config.api.unwrap().keys[0].sha256, [0xab; 32]);
    assert_eq!(config.sources.max_bad_rows, MaxBadRows { share: 1.0, at_least: 4 });
    assert_eq!(config.jobs[0].aliases, ["b"]);
    let SourceConfig::Files(files) = &config.sources.used[0].config else { panic!("files are the default") };
    let tables = [Table::User, Table::Content, Table::CourseBatch, Table::UserEnrolments];
    let expected = [CsvDialect::Spark, CsvDialect::Spark, CsvDialect::Cqlsh, CsvDialect::Rfc4180];
    assert_eq!(tables.map(|table| files.tables.dialect(table)), expected);
}

#[test]
fn jobs_by_their_ids() {
    let text = "[[job]]\nid = 'course-report'\nreport = 'course'\n[[job]]\nid = 'b'\nreport = 'assessment'";
    let config = with(
        text,
        &[
            ("EXHAUST__JOB__COURSE_REPORT__SCHEDULE", "0 0 1 * * *"),
            ("EXHAUST__JOB__COURSE_REPORT__MAX_ATTEMPTS", "9"),
            ("EXHAUST__JOB__B__OPTIONS__ATTEMPT", "latest"),
        ],
    );
    assert_eq!((config.jobs[0].schedule.as_str(), config.jobs[0].max_attempts), ("0 0 1 * * *", 9));
    assert_eq!(
        (config.jobs[1].schedule.as_str(), config.jobs[1].options.assessment.attempt),
        ("*/30 * * * * *", Attempt::Latest)
    );
}

#[test]
fn two_jobs_of_one_name_in_variables() {
    let text = "[[job]]\nid = 'a-b'\nreport = 'course'\n[[job]]\nid = 'a.b'\nreport = 'course'";
    assert_eq!(
        refused(text, &[("EXHAUST__JOB__A_B__ZIP", "aes")]),
        "EXHAUST__JOB__A_B__ZIP: several jobs have this name in variables: `a-b`, `a.b`; set it in the file"
    );
}

#[test]
fn names_that_mean_nothing_are_refused() {
    let text = "[[job]]\nid = 'a'\nreport = 'course'";
    for (variable, meant) in [
        ("EXHAUST__DATABSE__URL", Some("EXHAUST__DATABASE__URL")),
        ("EXHAUST__database__url", Some("EXHAUST__DATABASE__URL")),
        ("EXHAUST__JOB__A__SHEDULE", Some("EXHAUST__JOB__A__SCHEDULE")),
        ("EXHAUST__DATABASE", None),
        ("EXHAUST__JOB__A__ID", None),
        ("EXHAUST__", None),
    ] {
        let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        let expected = format!("{variable}: no key of the configuration has this name{meant}");
        assert_eq!(refused(text, &[(variable, "hunter2")]), expected);
    }
}

#[test]
fn what_a_variable_holds_is_judged_like_a_value_of_the_file() {
    let text = "timezone = 'Mars/Base'";
    assert_eq!(
        refused(
            text,
            &[
                ("EXHAUST__WORKER__CLAIM", "0"),
                ("EXHAUST__WORKER__PER_TAG", "x"),
                ("EXHAUST__DATABASE__MIGRATE", "yes"),
                ("EXHAUST__STORE__URL", "s3://b?p"),
                ("EXHAUST__API__KEYS", "[{"),
            ]
        ),
        "conf/jobs.toml:1:12: unknown time zone `Mars/Base`\n\
         EXHAUST__API__KEYS: not TOML: unclosed array, expected `]`\n\
         EXHAUST__API__KEYS: not TOML: unclosed inline table, expected `}`\n\
         EXHAUST__DATABASE__MIGRATE: `migrate` must be true or false\n\
         EXHAUST__STORE__URL: the URL must not hold `?` or `#`: region and endpoint come from the environment, such as AWS_REGION\n\
         EXHAUST__WORKER__CLAIM: `claim` must be a whole number of at least 1\n\
         EXHAUST__WORKER__PER_TAG: `per_tag` must be a whole number of at least 1"
    );
}

#[test]
fn database_url_counts_where_nothing_else_does() {
    let database = |text: &str, variables: &[(&str, &str)]| with(text, variables).database.url;
    let fallback = ("DATABASE_URL", "sqlite:///fallback.db");
    let sqlite = |path: &str| DatabaseUrl::Sqlite(PathBuf::from(path));
    assert_eq!(database("", &[fallback]), sqlite("/fallback.db"));
    assert_eq!(database("[database]\nmigrate = true", &[fallback]), sqlite("/fallback.db"));
    assert_eq!(database("[database]\nurl = 'sqlite:///file.db'", &[fallback]), sqlite("/file.db"));
    assert_eq!(database("", &[fallback, ("EXHAUST__DATABASE__URL", "sqlite:///e.db")]), sqlite("/e.db"));
    assert_eq!(database("", &[("DATABASE_URL", "")]), sqlite("conf/var/exhaust.db"));
    assert_eq!(
        refused("", &[("DATABASE_URL", "mysql://u:hunter2@h/d")]),
        "DATABASE_URL: unknown URL scheme `mysql`; known here: `sqlite`, `postgres`, `postgresql`"
    );
}

#[test]
fn names_inside_text_are_replaced() {
    let text = "[[job]]\nid = '${A}-x'\nreport = 'course'\nmode = 'standalone'\nconfig = { batchFilter = ['${A}', '$${A}'] }\n\
                [database]\nurl = 'postgres://u:${PW}@h/d'";
    let config = with(text, &[("A", "a"), ("PW", "hunter2")]);
    assert_eq!(config.jobs[0].id, "a-x");
    assert_eq!(config.jobs[0].mode, Mode::Standalone(serde_json::json!({"batchFilter": ["a", "${A}"]})));
    assert_eq!(config.database.url, DatabaseUrl::Postgres(Secret::new("postgres://u:hunter2@h/d".to_owned())));
    assert_eq!(
        refused(text, &[("A", "a")]),
        "conf/jobs.toml:7:7: the variable `PW` is not set",
        "and nothing about a URL that is not there"
    );
}

/// A Kubernetes Secret that was made with `echo` ends with a line end.
#[test]
fn line_ends_at_the_end_are_not_part_of_a_value() {
    let text = "[[job]]\nid = 'a'\nreport = 'course'\n[secrets]\nkey = '${KEY}'\n[store]\nurl = 's3://b'";
    let config = with(
        text,
        &[
            ("EXHAUST__WORKER__CLAIM", "7\n"),
            ("EXHAUST__JOB__A__SCHEDULE", "0 0 1 * * *\r\n"),
            ("EXHAUST__JOB__A__ALIASES", "['b',\n'c']\n"),
            ("DATABASE_URL", "sqlite:///a.db\n\n"),
            ("KEY", "0123456789abcdef\n"),
            ("AWS_ACCESS_KEY_ID", "AKIA\n"),
        ],
    );
    let same = with(
        text,
        &[
            ("EXHAUST__WORKER__CLAIM", "7"),
            ("EXHAUST__JOB__A__SCHEDULE", "0 0 1 * * *"),
            ("EXHAUST__JOB__A__ALIASES", "['b', 'c']"),
            ("DATABASE_URL", "sqlite:///a.db"),
            ("KEY", "0123456789abcdef"),
            ("AWS_ACCESS_KEY_ID", "AKIA"),
        ],
    );
    assert_eq!(config, same);
}

#[test]
fn a_line_end_in_the_middle_is_refused_by_the_variable_s_name() {
    let text = "[[job]]\nid = 'a'\nreport = 'course'\n[source]\nurl = 's3://b'\n[store]\nurl = 's3://b'\n[secrets]\nkey = \
                '${KEY}'";
    let bad = [
        ("EXHAUST__WORKER__LEASE", "9s\n1"),
        ("DATABASE_URL", "sqlite://hunter2\n.db"),
        ("KEY", "hunter2\rhunter2hunter2"),
        ("AWS_ACCESS_KEY_ID", "hunter2\nhunter2"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2\u{0}"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "of no concern\nhere"),
        ("PS1", "nor\nthis"),
    ];
    let told = refused(text, &bad);
    for line in [
        "conf/jobs.toml:9:7: the variable `KEY` has a line end in the middle",
        "AWS_ACCESS_KEY_ID: the value has a line end in the middle",
        "AWS_SECRET_ACCESS_KEY: the value has a control character (U+0000)",
        "DATABASE_URL: the value has a line end in the middle",
        "EXHAUST__WORKER__LEASE: the value has a line end in the middle",
    ] {
        assert_eq!(told.lines().filter(|one| *one == line).count(), 1, "{line}\n{told}");
    }
    assert!(!told.contains("hunter2") && !told.contains("AZURE") && !told.contains("PS1"), "{told}");
    assert_eq!(with("", &bad[5..]), with("", &[]));
}
