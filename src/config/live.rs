//! The configuration in force, which changes while the program runs.

use std::sync::{Arc, PoisonError, RwLock};

use super::checked::Config;
use super::input::Input;
use super::read;
use crate::document::Faults;

/// The configuration in force; clones share it. It is replaced as a whole: work in progress keeps the one it began with.
#[derive(Clone, Debug)]
pub struct Live(Arc<RwLock<Arc<Config>>>);

impl Live {
    /// Begins with this one.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(config))))
    }

    /// The configuration of this moment.
    #[must_use]
    pub fn get(&self) -> Arc<Config> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over the keys that are declared to take effect at once. What else is different stays as it was. An API that
    /// asks for keys never becomes one that does not: where the new file has none, nobody may call until the next start.
    pub fn replace(&self, new: &Config) -> Changes {
        let mut place = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = Arc::clone(&place);
        let (before, after) = (&old.written.0, &new.written.0);
        let keyed = old.api.as_ref().is_some_and(|api| api.keyed);
        let input = Input {
            document: before.keys.in_force(&before.document, &after.document),
            keys: before.keys.clone(),
            file: before.file.clone(),
            environment: before.environment.clone(),
            reports: before.reports.clone(),
            keyed,
        };
        let faults = Faults::default();
        let merged = read::config(Arc::new(input), &faults);
        // Both read by themselves: together they may not, and then nothing is taken over.
        let in_force = faults.is_empty() && merged != *old;
        if in_force {
            *place = Arc::new(merged);
        }
        let mut need_restart = before.keys.need_restart(&before.document, &after.document);
        if keyed && new.api.as_ref().is_some_and(|api| !api.keyed) {
            need_restart.push("[api] keys".to_owned());
        }
        Changes { in_force, need_restart }
    }
}

/// What became of a configuration that was read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Whether anything else is in force now.
    pub in_force: bool,
    /// What differs from what is in force, and will until the program is started anew.
    pub need_restart: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::checked::Worker;
    use crate::config::{Environment, check};

    fn config(text: &str) -> Config {
        let nothing: Environment = std::iter::empty::<(String, String)>().collect();
        check(text, std::path::Path::new("jobs.toml"), &nothing, crate::reports::registry()).unwrap()
    }

    const JOB: &str = "[[job]]\nid = \"a\"\nreport = \"course\"\n";

    #[test]
    fn jobs_and_limits_change_and_the_rest_needs_a_restart() {
        let live = Live::new(config(JOB));
        let before = live.get();
        let text = format!(
            "timezone = \"Asia/Kolkata\"\n{JOB}max_attempts = 7\n[database]\nurl = \"sqlite://other.db\"\n[source]\nurl \
             = \"other\"\n[store]\nsigned_url_ttl = \"1h\"\n[worker]\nclaim = 7\nthreads = 9\n[api]\nlisten = \
             \"127.0.0.1:1\"\n[secrets]\nkey = \"0123456789abcdef\"\n"
        );
        let changes = live.replace(&config(&text));
        assert!(changes.in_force);
        let named = ["timezone", "[database]", "[source]", "[store]", "[worker] threads", "[api] listen", "[secrets]"];
        assert_eq!(changes.need_restart, named);
        let after = live.get();
        assert_eq!((after.jobs[0].max_attempts, after.worker.claim), (7, 7));
        let undone = Config {
            jobs: before.jobs.clone(),
            worker: Worker { claim: before.worker.claim, ..after.worker.clone() },
            ..after.as_ref().clone()
        };
        assert_eq!(&undone, before.as_ref(), "nothing else is in force");
        assert_eq!(before.jobs[0].max_attempts, 3, "the old one stays as it is");
    }

    /// The one change that would open an API to everybody is not taken over.
    #[test]
    fn keys_change_and_an_api_with_keys_never_becomes_one_without() {
        let key =
            |name: &str, byte: &str| format!("[[api.keys]]\nname = \"{name}\"\nsha256 = \"{}\"\n", byte.repeat(32));
        let api = |keys: &str| config(&format!("[api]\nlisten = \"127.0.0.1:1\"\n{keys}"));
        let in_force = |live: &Live| {
            let api = live.get().api.clone().unwrap();
            (api.keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>(), api.keyed)
        };
        let live = Live::new(api(""));
        assert_eq!(in_force(&live), (vec![], false));
        let taken_over = Changes { in_force: true, need_restart: Vec::new() };
        assert_eq!(live.replace(&api(&[key("a", "aa"), key("b", "bb")].concat())), taken_over);
        assert_eq!(in_force(&live), (vec!["a".to_owned(), "b".to_owned()], true));
        assert_eq!(live.replace(&api(&key("b", "cc"))), taken_over);
        assert_eq!(in_force(&live), (vec!["b".to_owned()], true));
        assert_eq!(live.replace(&api("")), Changes { in_force: true, need_restart: vec!["[api] keys".to_owned()] });
        assert_eq!(in_force(&live), (vec![], true), "nobody may call");
        let moved = config(&format!("[api]\nlisten = \"127.0.0.1:2\"\n{}", key("d", "dd")));
        assert_eq!(live.replace(&moved).need_restart, ["[api] listen"]);
        assert_eq!(in_force(&live), (vec!["d".to_owned()], true));
    }

    #[test]
    fn link_hosts_change_and_the_rest_of_the_api_needs_a_restart() {
        let api = |lines: &str| config(&format!("{JOB}[api]\nlisten = \"127.0.0.1:1\"\n{lines}\n"));
        let live = Live::new(api(""));
        let hosts = |live: &Live| live.get().api.as_ref().map(|api| api.link_hosts.len());
        let changes = live.replace(&api("link_hosts = [\"a.example\", \"b.example:81\"]"));
        assert_eq!((changes, hosts(&live)), (Changes { in_force: true, need_restart: Vec::new() }, Some(2)));
        let changes = live.replace(&api("metrics_public = false"));
        assert_eq!((changes.in_force, changes.need_restart), (true, vec!["[api] metrics_public".to_owned()]));
        let changes = live.replace(&config(JOB));
        assert_eq!((changes.in_force, changes.need_restart), (false, vec!["[api] listen".to_owned()]));
    }

    #[test]
    fn the_same_text_changes_nothing() {
        let live = Live::new(config(JOB));
        let before = live.get();
        let changes = live.replace(&config(&format!("# a remark\n{JOB}")));
        assert_eq!(changes, Changes { in_force: false, need_restart: Vec::new() });
        assert!(Arc::ptr_eq(&before, &live.get()));
    }
}
