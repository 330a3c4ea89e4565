//! `[worker]`: how much is done at a time, and how long things may take.

use super::checked::{TenantLimit, Worker};
use super::environment::Environment;
use crate::document::Fallback::{Is, Says};
use crate::document::Form::{Duration, Number, Short, Size};
use crate::document::{Key, Section, Value, live, restart};

/// The keys of the section.
pub(super) const KEYS: &[Key] = &[
    live(
        "claim",
        Number,
        Is("500"),
        "Most rows claimed by one scan. Where several daemons run a job, one claim takes its \
         [share](state-machine.md#shares-of-several-daemons) at most.",
    ),
    live(
        "lease",
        Duration,
        Is("\"2m\""),
        "How long a claim is believed without being renewed. A daemon that is silent for longer has crashed.",
    ),
    restart("threads", Number, Is("0"), "Threads for making reports. 0: as many as the machine has cores."),
    live(
        "memory",
        Size,
        Is("\"2GiB\""),
        "For loaded data, of all scans together; beyond it a group of requests is worked in parts (each reads the tables \
         anew), a batch that is more by itself in ranges of its learners (64 KiB at least), and a load waits while others \
         have it all. About 500 bytes an enrolment, and whatever names and ids have beyond what is common. An eighth is for \
         what sources hold while they read (pages of Parquet files; 128 MiB at least, which are beside it); the catalogue of \
         batches and contents may be half of it. See [security.md](security.md), Bounds on source files.",
    ),
    live(
        "split_above",
        Number,
        Is("200"),
        "A request of more batches than this is worked on by all daemons that run its job, in parts, where each daemon \
         then reads less. A number above each job's `max_batches`: never. See [scale.md](scale.md#one-request-on-several-daemons).",
    ),
    live(
        "max_request_data",
        Size,
        Is("\"64KiB\""),
        "Bytes of a request's filters. A submission with more (its jobConfig as compact JSON, with output_format beside it) \
         is refused with 400, a row with more in `request_data` is FAILED, and lists and status show of such a row \
         `{\"jobId\"}` alone. What else is bounded: [security.md](security.md#bounds-on-requests-lists-and-searches).",
    ),
    live(
        "max_crashes",
        Number,
        Is("5"),
        "After this many crashes of the daemon while it worked on one request and on nothing else, that request is FAILED \
         ([reliability.md](reliability.md)).",
    ),
    live(
        "adopt_after",
        Duration,
        Is("\"off\""),
        "Take over rows that another system left in PROCESSING for longer than this: rows without a claim of ours, by \
         `dt_job_submitted`.",
    ),
    live(
        "stop_timeout",
        Duration,
        Is("\"30s\""),
        "How long a stop may take: for half of it work in progress may finish, then what is left is handed back. `\"0s\"`: \
         handed back at once.",
    ),
    live(
        "per_tag",
        Short("requests", PER_TENANT),
        Says("no limit"),
        "Most of one tag in work at a time, so that one client's thousands do not make another wait for all of them: a \
         number of requests, or a table, [below](#per_tag-and-per_channel-of-worker).",
    ),
    live(
        "per_channel",
        Short("requests", PER_TENANT),
        Says("no limit"),
        "The same for `requested_channel`. Rows without one are not limited.",
    ),
    live(
        "retention",
        Duration,
        Is("\"off\""),
        "How old finished rows may grow before they are removed with their files, [below](#retention).",
    ),
];

const PER_TENANT: &[Key] = &[
    live(
        "requests",
        Number,
        Says("no limit"),
        "Most requests in work at a time, over all daemons. Small numbers are fair, large ones share more loaded data.",
    ),
    live(
        "bytes",
        Size,
        Says("no limit"),
        "Most bytes of loaded data for requests that are worked on together, counted as for `memory`.",
    ),
];

/// Reads the section.
pub(super) fn worker(section: &Section<'_>, environment: &Environment) -> Worker {
    let threads = section.number("threads", 0).filter(|&threads: &usize| threads > 0);
    let duration = |key, zero| section.duration(key, zero).map(|(duration, _)| duration).unwrap_or_default();
    Worker {
        claim: section.number("claim", 1).unwrap_or_default(),
        lease: duration("lease", false),
        threads: threads.unwrap_or_else(|| environment.cores()),
        memory: section.size("memory").unwrap_or_default(),
        split_above: section.number("split_above", 1).unwrap_or_default(),
        max_request_data: section.size("max_request_data").unwrap_or_default(),
        max_crashes: section.number("max_crashes", 1).unwrap_or_default(),
        adopt_after: section.duration_or_off("adopt_after"),
        stop_timeout: duration("stop_timeout", true),
        per_tag: tenant_limit(section, "per_tag"),
        per_channel: tenant_limit(section, "per_channel"),
        retention: section.duration_or_off("retention"),
    }
}

/// A number of requests, or a table.
fn tenant_limit(worker: &Section<'_>, key: &str) -> TenantLimit {
    let Some(node) = worker.node(key) else { return TenantLimit::default() };
    match node.value {
        Value::Table(_) => {
            let section = worker.section(key);
            TenantLimit { requests: section.number("requests", 1), bytes: section.size("bytes") }
        }
        Value::Integer(_) | Value::Loose(_) => TenantLimit { requests: worker.number(key, 1), bytes: None },
        _ => {
            worker.wrong_type(key, "a whole number or a table such as { requests = 100, bytes = \"1GiB\" }", node);
            TenantLimit::default()
        }
    }
}
