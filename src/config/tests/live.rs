//! What a running daemon takes over is what the declarations say, for every key.

use super::*;
use crate::config::keys;
use crate::document::{Fallback, Form, Key, Reload};

const START: &str = "[[job]]\nid = 'a'\nreport = 'course'\nmode = 'standalone'\nconfig = { batchId = 'b' }\n[api]\nlisten = \
                     '127.0.0.1:1'\n[[api.keys]]\nname = 'k'\nsha256 = 'abababababababababababababababababababababababababababababababab'\n";

/// A value of a key that is not its default.
fn other(section: &str, key: &Key) -> String {
    let text = match (section, key.name) {
        ("", "timezone") => "'Asia/Kolkata'",
        ("database", "url") => "'sqlite://other.db'",
        ("database", "pooler") => "'session'",
        ("database", "direct_url") => "'postgres://h/d'",
        ("source", "kind") => "'postgres'\nurl = 'postgres://h/d'",
        ("log", "format") => "'json'",
        ("store", "url") => "'file://other'",
        ("job", "schedule") => "'0 0 1 * * *'",
        ("api.keys", "not_after") => "2027-01-31",
        ("job", "priority") => "-3",
        ("job", "zip") => "'legacy'",
        ("job", "compress") => "'gzip'",
        ("job.options", "attempt") => "'latest'",
        ("api", "public_url") => "'http://localhost:5'",
        ("api", "trusted_proxies") => "['10.0.0.1']",
        ("api", "metrics_public") => "false",
        ("api", "link_hosts") => "['a.example']",
        ("api.keys", "role") => "'viewer'",
        ("secrets", "key") => "'0123456789abcdef'",
        ("source", "csv_dialect") => "'spark'",
        _ => match (key.form, key.fallback) {
            (Form::Boolean, Fallback::Is("true")) => "false",
            (Form::Boolean, _) => "true",
            (Form::Number, _) => "77",
            (Form::Share, _) => "0.5",
            (Form::Duration, _) => "'77m'",
            (Form::Size, _) => "'77MiB'",
            (Form::Texts, _) => "['other']",
            _ => "'other'",
        },
    };
    text.to_owned()
}

/// The text of a configuration in which one key is another.
fn changed(section: &str, key: &Key) -> String {
    let line = format!("{} = {}\n", key.name, other(section, key));
    match section {
        "" => format!("{line}{START}"),
        "job" => START.replacen("mode", &format!("{line}mode"), 1),
        "job.options" => START.replacen("[api]", &format!("[job.options]\n{line}[api]"), 1),
        "api" => START.replacen("[[api.keys]]", &format!("{line}[[api.keys]]"), 1),
        "api.keys" => format!("{START}{line}"),
        _ => format!("{START}[{section}]\n{line}"),
    }
}

#[test]
fn every_key_takes_effect_when_its_declaration_says() {
    fn each(section: &str, keys: &'static [Key], reload: Option<Reload>, seen: &mut usize) {
        for key in keys {
            // What is inside a section that needs a restart needs one.
            let reload = reload.filter(|reload| *reload == Reload::Restart).unwrap_or(key.reload);
            let dotted = if section.is_empty() { key.name.to_owned() } else { format!("{section}.{}", key.name) };
            if let Some(inside) = key.form.inside() {
                each(&dotted, inside, Some(reload), seen);
                continue;
            }
            // Those that the beginning has already, and the one that `kind` changes with.
            if ["job.id", "job.report", "job.mode", "job.config", "api.listen", "api.keys.name", "api.keys.sha256"]
                .contains(&dotted.as_str())
                || dotted == "job.require_encryption"
                // Only a report in SQL has them: `tests/it/sql_reports.rs`.
                || dotted.strip_prefix("job.").is_some_and(crate::config::sql_reports::is_only_sql)
            {
                continue;
            }
            let live = Live::new(good(START));
            let new = good(&changed(section, key));
            let changes = live.replace(&new);
            let is_live = reload == Reload::Live;
            assert_eq!(
                (changes.in_force, changes.need_restart.is_empty()),
                (is_live, is_live),
                "{dotted}: {changes:?}"
            );
            assert_eq!(*live.get() == new, is_live, "{dotted}");
            assert_eq!(*live.get() == good(START), !is_live, "{dotted}");
            *seen += 1;
        }
    }
    let mut seen = 0;
    each("", keys::TOP, None, &mut seen);
    assert!(seen > 40, "{seen}");
}

#[test]
fn another_way_to_write_the_same_needs_no_restart() {
    let live = Live::new(good(START));
    let same = format!(
        "timezone = \"UTC\"\n{START}[store]\nsigned_url_ttl = '1440m'\n[worker]\nthreads = 0\nmemory = 2147483648\n\
         [source]\nkind = 'files'\nmax_bad_rows = {{ at_least = 10 }}\n"
    );
    let changes = live.replace(&good(&same));
    assert_eq!(changes, Changes { in_force: false, need_restart: Vec::new() });
}
