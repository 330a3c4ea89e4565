//! `per_tag` and `per_channel`: a number, or a table.

use super::faults::faults;
use super::variables::{refused, with};
use super::*;

#[test]
fn one_fault_each() {
    for (text, fault) in [
        ("[worker]\nper_tag = 0", "2:11: `per_tag` must be a whole number of at least 1"),
        (
            "[worker]\nper_tag = '1GiB'",
            "2:11: `per_tag` must be a whole number or a table such as { requests = 100, bytes = \"1GiB\" }, this is text",
        ),
        ("[worker]\nper_tag = { requests = 0 }", "2:24: `requests` must be a whole number of at least 1"),
        ("[worker.per_channel]\nbytes = 0", "2:9: `bytes` must be a whole number of at least 1"),
        (
            "[worker]\nper_channel = { request = 5 }",
            "2:17: unknown key `request` in `per_channel` of [worker]; did you mean `requests`?",
        ),
        (
            "[worker]\nper_tag = { memory = 5 }",
            "2:13: unknown key `memory` in `per_tag` of [worker]; it belongs in [worker]",
        ),
        ("[worker]\nbytes = 5", "2:1: unknown key `bytes` in [worker]; it belongs in `per_tag` of [worker]"),
    ] {
        assert_eq!(faults(text), [fault], "{text}");
    }
}

#[test]
fn both_keys_of_a_limit_are_judged() {
    let size = "is a whole number of bytes or one with a unit, as in \"2GiB\" or \"500MB\"";
    assert_eq!(
        faults("[worker]\nper_tag = { requests = -1, bytes = '1G' }\nper_channel = { bites = 1, bytes = true }"),
        [
            "2:24: `requests` must be a whole number of at least 1".to_owned(),
            format!("2:36: `bytes` {size}; `1G` is not"),
            "3:17: unknown key `bites` in `per_channel` of [worker]; did you mean `bytes`?".to_owned(),
            "3:36: `bytes` must be a size such as \"2GiB\", this is true or false".to_owned(),
        ]
    );
}

#[test]
fn a_limit_is_a_number_or_a_table_in_variables_too() {
    let limit = |requests, bytes| TenantLimit { requests, bytes };
    let number = ("EXHAUST__WORKER__PER_TAG", "3");
    let table = ("EXHAUST__WORKER__PER_TAG", "{ bytes = '2kB' }");
    let requests = ("EXHAUST__WORKER__PER_TAG__REQUESTS", "4");
    let bytes = ("EXHAUST__WORKER__PER_TAG__BYTES", "1kB");
    for (file, variables, read) in [
        ("", vec![number], limit(Some(3), None)),
        ("", vec![table], limit(None, Some(2000))),
        ("", vec![table, requests], limit(Some(4), Some(2000))),
        ("", vec![number, bytes], limit(Some(3), Some(1000))),
        // A variable that sets one key leaves the other as it is, whichever way the file has it.
        ("per_tag = 9", vec![bytes], limit(Some(9), Some(1000))),
        ("per_tag = { requests = 9, bytes = 5 }", vec![bytes], limit(Some(9), Some(1000))),
        ("per_tag = { requests = 9, bytes = 5 }", vec![number], limit(Some(3), None)),
    ] {
        let config = with(&format!("[worker]\n{file}"), &variables);
        assert_eq!(config.worker.per_tag, read, "{file} {variables:?}");
    }
    assert_eq!(
        refused("[worker]\nper_tag = 'x'\nper_channel = 0", &[bytes, ("EXHAUST__WORKER__PER_CHANNEL__BYTES", "x")]),
        "conf/jobs.toml:2:11: `per_tag` must be a whole number or a table such as { requests = 100, bytes = \"1GiB\" }, this \
         is text\n\
         conf/jobs.toml:3:15: `requests` must be a whole number of at least 1\n\
         EXHAUST__WORKER__PER_CHANNEL__BYTES: `bytes` is a whole number of bytes or one with a unit, as in \"2GiB\" or \
         \"500MB\"; `x` is not"
    );
    assert_eq!(
        refused("", &[("EXHAUST__WORKER__PER_TAG__BYTE", "1")]),
        "EXHAUST__WORKER__PER_TAG__BYTE: no key of the configuration has this name; did you mean \
         `EXHAUST__WORKER__PER_TAG__BYTES`?"
    );
}
