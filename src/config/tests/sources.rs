//! `[source.<name>]` and `[source.tables]`: which table comes from where.

use super::faults::faults;
use super::variables::{refused, with};
use super::*;

const LAKE: &str = "[source.lake]\nkind = 'files'\nurl = '/lake'\ncsv_dialect = 'spark'\n";
const ENGINE: &str = "[source.lake]\nkind = 'sql'\ntransport = 'spark-connect'\nurl = 'sc://h'\nmode = 'stream'\n";
const SCRIPT: &str = "[source.lake]\nkind = 'sql'\ntransport = 'command'\nstage = '/x'\n";
const USERS: &str = "[source.users]\nkind = 'postgres'\nurl = 'postgres://u@h/d'\n";

/// The sources in use, each with its tables.
fn routes(config: &Config) -> Vec<(&str, Vec<&str>)> {
    let tables = |source: &NamedSource| source.tables.iter().map(|table| table.name()).collect();
    let used = config.sources.used.iter();
    used.map(|source| (source.name.as_str(), tables(source))).collect()
}

#[test]
fn each_table_comes_from_its_source() {
    let config = good(&format!(
        "{LAKE}{USERS}[source.tables]\nuser = {{ from = 'users', table = 'people', schema = 'p' }}\ncontent = {{ from = \
         'lake' }}\nuser_enrolments = {{ from = 'lake', csv_dialect = 'cqlsh', table = 'taking_part' }}\n"
    ));
    let rest = ["course_batch", "content_hierarchy", "user_activity_agg", "assessment_aggregator"].to_vec();
    let expected =
        [("source", rest), ("source.lake", vec!["content", "user_enrolments"]), ("source.users", vec!["user"])];
    assert_eq!(routes(&config), expected);
    assert_eq!(config.sources.unused, [""; 0]);
    let [own, lake, users] = &config.sources.used[..] else { panic!("three") };
    assert_eq!(own.config, files("conf/data"));
    let SourceConfig::Files(lake) = &lake.config else { panic!("files") };
    assert_eq!(lake.location, FilesLocation::Directory("/lake".into()));
    let dialects = [Table::Content, Table::UserEnrolments].map(|table| lake.tables.dialect(table));
    assert_eq!(dialects, [CsvDialect::Spark, CsvDialect::Cqlsh]);
    assert_eq!((lake.tables.name(Table::Content), lake.tables.name(Table::UserEnrolments)), ("content", "taking_part"));
    assert_eq!(lake.place_of(Table::UserEnrolments), "/lake/taking_part");
    let place = |table| users.config.place_of(table);
    assert_eq!(place(Table::User), "\"p\".\"people\"");
    assert_eq!(place(Table::Content), "\"public\".\"content\"");
}

#[test]
fn a_source_without_tables_is_named_and_source_itself_may_have_none() {
    let config = good(&format!("{LAKE}{USERS}"));
    assert_eq!(config.sources.unused, ["source.lake", "source.users"]);
    assert_eq!(config.sources.used.len(), 1);
    let all = Table::ALL.map(|table| format!("{} = {{ from = 'lake' }}\n", table.name())).concat();
    let config = good(&format!("{LAKE}[source.tables]\n{all}"));
    assert_eq!(routes(&config), [("source.lake", Table::ALL.map(Table::name).to_vec())]);
    assert_eq!(config.sources.unused, [""; 0]);
}

#[test]
fn variables_reach_sources_by_their_names() {
    let text = format!("{LAKE}{USERS}[source.tables]\nuser = {{ from = 'users' }}\ncontent = {{ from = 'lake' }}\n");
    let config = with(
        &text,
        &[
            ("EXHAUST__SOURCE__USERS__PASSWORD", "hunter2"),
            ("EXHAUST__SOURCE__USERS__SCHEMA", "other"),
            ("EXHAUST__SOURCE__LAKE__URL", "/elsewhere"),
            ("EXHAUST__SOURCE__TABLES__USER_ENROLMENTS__FROM", "lake"),
        ],
    );
    let [_, lake, users] = &config.sources.used[..] else { panic!("three") };
    let SourceConfig::Postgres(users) = &users.config else { panic!("postgres") };
    assert_eq!(users.password, Some(Secret::new("hunter2".to_owned())));
    assert_eq!(users.relations.of(Table::User).schema, "other");
    assert_eq!(
        (lake.config.place(), lake.tables.as_slice()),
        ("/elsewhere".to_owned(), &[Table::Content, Table::UserEnrolments][..])
    );
    assert!(!format!("{config:?}").contains("hunter2"));
    // A variable may change the kind, of `[source]` too.
    let changed = with(
        "[source]\ncsv_dialect = 'spark'\n[source.tables]\nuser = { csv_dialect = 'cqlsh' }\n",
        &[
            ("EXHAUST__SOURCE__KIND", "postgres"),
            ("EXHAUST__SOURCE__URL", "postgres://h/d"),
            ("EXHAUST__SOURCE__PASSWORD", "x"),
        ],
    );
    assert!(matches!(changed.sources.used[0].config, SourceConfig::Postgres(_)));
}

#[test]
fn a_source_may_be_in_variables_alone() {
    let lake = [
        ("EXHAUST__SOURCE__LAKE_2__KIND", "files"),
        ("EXHAUST__SOURCE__LAKE_2__URL", "/lake"),
        ("EXHAUST__SOURCE__TABLES__USER__FROM", "lake_2"),
        ("EXHAUST__SOURCE__TABLES__USER__TABLE", "people"),
    ];
    for text in ["", "[source]\nurl = '/x'", "[source.lake_2]\nurl = '/x'"] {
        let config = with(text, &lake);
        let [_, found] = &config.sources.used[..] else { panic!("two") };
        assert_eq!(
            (found.name.as_str(), found.config.place_of(Table::User)),
            ("source.lake_2", "/lake/people".to_owned())
        );
    }
    for (variable, value, fault) in [
        ("EXHAUST__SOURCE__LAKE__URL", "/lake", "no key of the configuration has this name"),
        (
            "EXHAUST__SOURCE__LAKE__KIND",
            "file",
            "`kind` is one of `files`, `postgres`, `sql`, not `file`; did you mean `files`?",
        ),
        ("EXHAUST__SOURCE__ARCHIVE__KIND", "files", "no key of the configuration has this name"),
        ("EXHAUST__SOURCE__TABLES__KIND", "files", "no key of the configuration has this name"),
        ("EXHAUST__SOURCE__TABLES__X__KIND", "files", "no key of the configuration has this name"),
        ("EXHAUST__SOURCE__Lake__KIND", "files", "no key of the configuration has this name"),
    ] {
        let said = refused("", &[(variable, value)]);
        assert!(said.contains(variable) && said.contains(fault) && said.lines().count() < 3, "{variable}: {said}");
    }
}

#[test]
fn one_fault_each() {
    for (text, fault) in [
        (
            format!("{LAKE}[source.tables]\nuser = {{ from = 'lakee' }}"),
            "6:17: unknown source `lakee`; there are `lake`; did you mean `lake`?",
        ),
        (
            "[source.tables]\nuser = { from = 'lake' }".to_owned(),
            "2:17: unknown source `lake`; there is none beside [source]",
        ),
        (
            "[source.lake]\nurl = 'x'".to_owned(),
            "1:9: unknown key `lake` in [source]; a further source of this name needs `kind`",
        ),
        (
            "[source.max_bad_row]\nshare = 1".to_owned(),
            "1:9: unknown key `max_bad_row` in [source]; a further source of this name needs `kind`; did you mean \
             `max_bad_rows`?",
        ),
        (
            "[source.Lake]\nkind = 'files'".to_owned(),
            "1:9: `Lake` is no name of a source: it has the letters a to z, digits and `_`",
        ),
        (
            "[source.archive]\nkind = 'files'".to_owned(),
            "1:9: no source can be called `archive`: a later version has a key of this name",
        ),
        (
            "[source.lake]\nkind = 'file'".to_owned(),
            "2:8: `kind` is one of `files`, `postgres`, `sql`, not `file`; did you mean `files`?",
        ),
        (format!("{LAKE}schema = 'x'"), "5:1: `schema` is only for sources of `kind = \"postgres\"`"),
        (format!("{USERS}urk = 'x'"), "4:1: unknown key `urk` in [source.users]; did you mean `url`?"),
        (
            format!("{USERS}password = 'hunter2'"),
            "4:12: `password` comes from the environment alone: set EXHAUST__SOURCE__USERS__PASSWORD",
        ),
        (
            format!("{LAKE}[source.tables]\nuser = {{ from = 'lake', table = '../x' }}"),
            "6:33: `../x` is no name of a file or directory of a source",
        ),
        (
            "[source.tables]\nuser = { table = '_x' }".to_owned(),
            "2:18: `_x` is no name of a file or directory of a source",
        ),
        (
            format!("{USERS}[source.tables]\nuser = {{ from = 'users', csv_dialect = 'spark' }}"),
            "5:26: `csv_dialect` is only for sources of `kind = \"files\"`",
        ),
        (
            "[source.lake]\nkind = 'sql'\ntransport = 'spark-connect'\nmode = 'stream'".to_owned(),
            "2:8: `kind = \"sql\"` needs `url`",
        ),
        (
            "[source.lake]\nkind = 'sql'\ntransport = 'spark-connect'\nurl = 'sc://h'".to_owned(),
            "2:8: `mode = \"stage\"` needs `stage`, where the engine puts tables; or set `mode = \"stream\"`",
        ),
        (
            "[source.lake]\nkind = 'sql'\ntransport = 'spark-connect'\nurl = 'sc://spark'\nstage = '/stage'".to_owned(),
            "5:9: `stage` is a directory, and the engine may be on another machine: if every worker of the engine has it, say so \
             with `stage_as = \"file://…\"`; else stage in an object store",
        ),
        (
            format!("{ENGINE}token = 'hunter2'"),
            "6:9: `token` comes from the environment alone: set EXHAUST__SOURCE__LAKE__TOKEN",
        ),
        (
            "[source.lake]\nkind = 'sql'\ntransport = 'spark-connect'\nurl = 'spark:15002'\nmode = 'stream'".to_owned(),
            "4:7: `url`: it does not begin with `sc://`",
        ),
        (
            format!("{ENGINE}[source.tables]\nuser = {{ from = 'lake', table = 'x', relation = 'y' }}"),
            "7:49: `table` and `relation` exclude each other",
        ),
        ("[source.pg]\nkind = 'postgres'".to_owned(), "2:8: `kind = \"postgres\"` needs `url = \"postgres://…\"`"),
    ] {
        assert_eq!(faults(&text), [fault], "{text}");
    }
}

#[test]
fn one_fault_each_of_commands() {
    for (text, fault) in [
        (format!("{ENGINE}input = 'plan'"), "6:9: `input` is for `transport = \"command\"`"),
        (
            format!("{SCRIPT}command = ['p']"),
            "4:9: `stage` is a directory, and the engine may be on another machine: if every worker of the engine has it, say so \
             with `stage_as = \"file://…\"`; else stage in an object store",
        ),
        (
            format!("{SCRIPT}input = 'plan'\ncommand = ['p']\nretry_codes = ['0']"),
            "7:16: an exit code in `retry_codes` is a number from 1 to 255",
        ),
        (
            format!("{SCRIPT}input = 'plan'\ncommand = ['p']\ncatalog = 'c'"),
            "7:11: `catalog` is for statements: with `input = \"plan\"` the command knows its tables",
        ),
        (format!("{SCRIPT}input = 'plan'"), "2:8: `kind = \"sql\"` needs `command`"),
        (format!("{SCRIPT}input = 'plan'\ncommand = []"), "6:11: `command` names no program"),
        (
            format!("{SCRIPT}input = 'plan'\ncommand = ['p']\nurl = 'sc://h'"),
            "7:7: `url` is for `transport = \"spark-connect\"`",
        ),
        (
            "[source.lake]\nkind = 'sql'\ntransport = 'command'\nmode = 'stream'\ninput = 'plan'\ncommand = ['p']"
                .to_owned(),
            "4:8: `transport = \"command\"` needs `mode = \"stage\"`",
        ),
    ] {
        assert_eq!(faults(&text), [fault], "{text}");
    }
}
