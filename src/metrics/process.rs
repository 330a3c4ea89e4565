//! What Prometheus' own clients tell of a process, under the same names: processor time, memory, open files, its start.

use std::fmt::Write as _;
use std::fs;

/// The metrics as text; only those that this system tells. `started`: when the process was, in seconds since 1970.
pub(super) fn text(started: Option<i64>) -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            let sample = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            // Writing to a String does not fail.
            let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{sample} {value}");
        }
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    add("process_cpu_seconds", "counter", "Processor time, of the program and of the system for it", cpu_seconds());
    add("process_resident_memory_bytes", "gauge", "Resident memory", bytes(&status, "VmRSS:"));
    add("process_virtual_memory_bytes", "gauge", "Virtual memory", bytes(&status, "VmSize:"));
    add("process_threads", "gauge", "Threads", field(&status, "Threads:"));
    add("process_open_fds", "gauge", "Open files and connections", open_files());
    add("process_max_fds", "gauge", "How many may be open", field(&limits, "Max open files"));
    add("process_start_time_seconds", "gauge", "When it was started, in seconds since 1970", started.map(seconds));
    text
}

#[expect(clippy::cast_precision_loss, reason = "a time of this century")]
fn seconds(started: i64) -> f64 {
    started as f64
}

/// The number behind the name of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// A line in kB.
fn bytes(status: &str, name: &str) -> Option<f64> {
    Some(field(status, name)? * 1024.0)
}

#[cfg(target_os = "linux")]
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in brackets and may hold blanks; utime and stime are the 12th and 13th field behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = |field: Option<&str>| field?.parse::<f64>().ok();
    let all = ticks(fields.next())? + ticks(fields.next())?;
    #[expect(clippy::cast_precision_loss, reason = "it is 100 or so")]
    let a_second = rustix::param::clock_ticks_per_second() as f64;
    Some(all / a_second)
}

#[cfg(not(target_os = "linux"))]
const fn cpu_seconds() -> Option<f64> {
    None
}

fn open_files() -> Option<f64> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is this directory.
    u32::try_from(open.saturating_sub(1)).ok().map(f64::from)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_system_tells_all_of_them() {
        let text = text(Some(1_800_000_000));
        for name in [
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_virtual_memory_bytes",
            "process_threads",
            "process_open_fds",
            "process_max_fds",
            "process_start_time_seconds",
        ] {
            let value = field(&text, &format!("{name} "));
            assert!(value.is_some_and(|value| value >= 0.0 && value.is_finite()), "{name}\n{text}");
        }
        assert!(field(&text, "process_resident_memory_bytes ").unwrap() > 1e6, "{text}");
    }
}
