//! Named places at which tests stop, slow down or crash the program, in debug builds only: a release build has none.
//!
//! `EXHAUST_TEST_POINT=PLACE[=SUBJECT][#N]:ACTION`: from the N-th time on (the first, unless said) that PLACE is reached
//! (with SUBJECT, where given), `pause` says so on stderr and stays there, `abort` ends the process as a crash
//! does, `delay=MILLISECONDS` waits, `until=FILE` says so and waits until there is such a file. Several are joined by `;`.
//!
//! | place | subject | when |
//! | --- | --- | --- |
//! | `ticked` | | the daemon's loop took a tick of its scheduler |
//! | `claimed` | token | rows or a part are claimed |
//! | `staged` | table | the engine has written it, its files are not looked at yet |
//! | `loading` | job id | before each load |
//! | `key_range` | batch id | before each range is loaded |
//! | `generating` | batch id | before the file is begun |
//! | `written` | batch id | the file is rendered and not finished |
//! | `placed` | batch id | the file is there, the checkpoint does not know it yet |
//! | `stored` | batch id | the file is stored |
//! | `writing-back` | request key | before the row or part is written back |
//! | `ending-parts` | request key | all parts are made, the row does not say so yet |

#[cfg(debug_assertions)]
pub(crate) use debug::hit;

/// Nothing, in a release build.
#[cfg(not(debug_assertions))]
pub(crate) const fn hit(_place: &str, _subject: &str) {}

#[cfg(debug_assertions)]
mod debug {
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[derive(Debug, PartialEq, Eq)]
    enum Action {
        Pause,
        Abort,
        Delay(Duration),
        Until(PathBuf),
    }

    #[derive(Debug)]
    struct Point {
        place: String,
        subject: Option<String>,
        from: u64,
        action: Action,
        reached: AtomicU64,
    }

    fn parse(text: &str) -> Option<Point> {
        let (place, action) = text.rsplit_once(':')?;
        let (place, from) = place.split_once('#').map_or(Some((place, 1)), |(p, n)| Some((p, n.parse().ok()?)))?;
        let (place, subject) = place.split_once('=').map_or((place, None), |(p, s)| (p, Some(s.to_owned())));
        let action = match action.split_once('=') {
            None if action == "pause" => Action::Pause,
            None if action == "abort" => Action::Abort,
            Some(("until", file)) => Action::Until(PathBuf::from(file)),
            Some(("delay", millis)) => Action::Delay(Duration::from_millis(millis.parse().ok()?)),
            _ => return None,
        };
        Some(Point { place: place.to_owned(), subject, from, action, reached: AtomicU64::new(0) })
    }

    /// A place is reached.
    pub(crate) fn hit(place: &str, subject: &str) {
        static POINTS: OnceLock<Vec<Point>> = OnceLock::new();
        let points = POINTS.get_or_init(|| {
            let text = std::env::var("EXHAUST_TEST_POINT").unwrap_or_default();
            let points: Option<Vec<Point>> = text.split_terminator(';').map(parse).collect();
            points.unwrap_or_else(|| {
                log::error!("EXHAUST_TEST_POINT does not read: {text}");
                std::process::exit(2);
            })
        });
        for point in points {
            point.reach(place, subject);
        }
    }

    impl Point {
        fn reach(&self, place: &str, subject: &str) {
            if self.place != place || self.subject.as_ref().is_some_and(|wanted| wanted != subject) {
                return;
            }
            if self.reached.fetch_add(1, Ordering::SeqCst) + 1 < self.from {
                return;
            }
            match &self.action {
                Action::Delay(time) => std::thread::sleep(*time),
                Action::Until(file) => {
                    log::warn!("paused at={place} subject={subject}");
                    while !file.exists() {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
                Action::Abort => {
                    log::warn!("aborting at={place} subject={subject}");
                    std::process::abort();
                }
                Action::Pause => {
                    log::warn!("paused at={place} subject={subject}");
                    loop {
                        std::thread::park();
                    }
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn points_read() {
            let point = parse("stored=a:b#3:delay=20").unwrap();
            assert_eq!((point.place.as_str(), point.subject.as_deref(), point.from), ("stored", Some("a:b"), 3));
            assert_eq!(point.action, Action::Delay(Duration::from_millis(20)));
            assert_eq!(parse("key_range:until=a/b").unwrap().action, Action::Until(PathBuf::from("a/b")));
            assert!(parse("claimed:pause").is_some() && parse("claimed:explode").is_none() && parse("x").is_none());
        }
    }
}
