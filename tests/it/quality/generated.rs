//! Made-up tables with unusable rows of every kind, and for each request the outcome as a plain walk over the rows gives
//! it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::databases::TestDatabase;
use crate::site::{JOBS, Site, told};

const BATCHES: usize = 5;
const PLATFORMS: u64 = 24;
const REQUESTS: usize = 50;

/// A row of `user_enrolments`.
struct Enrolment {
    /// `None`: the line is broken, its batch cannot be read.
    batch: Option<usize>,
    user: usize,
    /// `None`: does not read.
    active: Option<bool>,
    /// `None`: nothing there; `Some(false)`: text that does not read.
    date: Option<bool>,
}

/// A row of `user_activity_agg`: its batch, and whether it can be used.
struct Activity {
    batch: Option<usize>,
    usable: bool,
}

struct Platform {
    enrolments: Vec<Enrolment>,
    activity: Vec<Activity>,
    /// Rows of `user`; `None`: a broken line.
    users: Vec<Option<usize>>,
    /// By course: `None`: no row.
    hierarchies: Vec<Option<bool>>,
}

/// Batch `n` is of course `n % 3`.
const fn course(batch: usize) -> usize {
    batch % 3
}

impl Platform {
    fn draw(seed: u64) -> Self {
        let mut draws = fastrand::Rng::with_seed(seed);
        // Now and then a batch has only bad rows, or none at all.
        let mut moods = |count: usize| -> Vec<u32> { (0..count).map(|_| draws.u32(0..4)).collect() };
        let (of_enrolments, of_activity, of_dates) = (moods(BATCHES), moods(BATCHES), moods(BATCHES));
        let mut platform =
            Self { enrolments: Vec::new(), activity: Vec::new(), users: Vec::new(), hierarchies: Vec::new() };
        for batch in 0..BATCHES {
            let rows = if of_enrolments[batch] == 3 { 0 } else { draws.usize(1..16) };
            for _ in 0..rows {
                let bad = of_enrolments[batch] == 0 || draws.u32(0..9) == 0;
                let date = match of_dates[batch] {
                    0 => Some(false),
                    1 => None,
                    _ => [Some(true), Some(true), Some(false), None][draws.usize(0..4)],
                };
                let active = (!bad).then(|| draws.u32(0..5) > 0);
                platform.enrolments.push(Enrolment { batch: Some(batch), user: draws.usize(0..12), active, date });
            }
            let rows = if of_activity[batch] == 3 { 0 } else { draws.usize(1..16) };
            for _ in 0..rows {
                let usable = of_activity[batch] != 0 && draws.u32(0..9) > 0;
                platform.activity.push(Activity { batch: Some(batch), usable });
            }
        }
        if draws.u32(0..3) == 0 {
            platform.enrolments.push(Enrolment { batch: None, user: 0, active: None, date: None });
        }
        if draws.u32(0..3) == 0 {
            platform.activity.push(Activity { batch: None, usable: false });
        }
        let broken_users = usize::from(draws.u32(0..3) == 0);
        let known = if draws.u32(0..4) == 0 { 0 } else { 12 };
        platform.users = (0..known).map(Some).chain((0..broken_users).map(|_| None)).collect();
        platform.hierarchies = (0..3).map(|_| [Some(true), Some(true), Some(false), None][draws.usize(0..4)]).collect();
        draws.shuffle(&mut platform.enrolments);
        draws.shuffle(&mut platform.activity);
        platform
    }

    fn write(&self, directory: &Path, json: bool) {
        let mut batches = "batchid,courseid,enddate\n".to_owned();
        let mut contents = "identifier,channel,framework,leafNodesCount\n".to_owned();
        let mut hierarchies = "identifier,hierarchy\n".to_owned();
        (0..BATCHES).for_each(|batch| writeln!(batches, "B{batch},C{},2099-12-31", course(batch)).unwrap());
        for (course, tree) in self.hierarchies.iter().enumerate() {
            writeln!(contents, "C{course},ch,TPD,4").unwrap();
            if let Some(sound) = tree {
                writeln!(hierarchies, "C{course},{}", if *sound { "{}" } else { "{" }).unwrap();
            }
        }
        let mut users = "userid,firstname\n".to_owned();
        for user in &self.users {
            match user {
                Some(user) => writeln!(users, "u{user:02},Name").unwrap(),
                None => users.push_str("u00\n"),
            }
        }
        for (name, text) in
            [("course_batch", batches), ("content", contents), ("content_hierarchy", hierarchies), ("user", users)]
        {
            fs::write(directory.join(format!("{name}.csv")), text).unwrap();
        }
        let mut enrolments =
            if json { String::new() } else { "batchid,courseid,userid,active,enrolleddate,completedon\n".to_owned() };
        for Enrolment { batch, user, active, date } in &self.enrolments {
            let Some(batch) = batch else {
                enrolments.push_str("{\"batchid\": \"B0\"\n");
                continue;
            };
            let active = active.map_or("perhaps".to_owned(), |active| active.to_string());
            let date = date.map_or("", |reads| if reads { "2025-01-02" } else { "soon" });
            let course = course(*batch);
            if json {
                writeln!(
                    enrolments,
                    r#"{{"batchid":"B{batch}","courseid":"C{course}","userid":"u{user:02}","active":"{active}","enrolleddate":"{date}"}}"#
                )
            } else {
                writeln!(enrolments, "B{batch},C{course},u{user:02},{active},{date},")
            }
            .unwrap();
        }
        fs::write(directory.join(if json { "user_enrolments.jsonl" } else { "user_enrolments.csv" }), enrolments)
            .unwrap();
        let mut activity = "activity_id,user_id,context_id,agg\n".to_owned();
        for (row, Activity { batch, usable }) in self.activity.iter().enumerate() {
            let Some(batch) = batch else {
                activity.push_str("C0,u00\n");
                continue;
            };
            let agg = if *usable { "{'completedCount': 1}" } else { "one" };
            writeln!(activity, "C{},u{:02},cb:B{batch},{agg}", course(*batch), row % 12).unwrap();
        }
        fs::write(directory.join("user_activity_agg.csv"), activity).unwrap();
    }

    /// Batches of which every row of a table is unusable.
    fn broken(&self) -> BTreeSet<usize> {
        let all_bad = |usable: Vec<bool>| !usable.is_empty() && !usable.contains(&true);
        let is_broken = |batch: &usize| {
            let own = |of: &Option<usize>| of.as_ref() == Some(batch);
            all_bad(self.enrolments.iter().filter(|row| own(&row.batch)).map(|row| row.active.is_some()).collect())
                || all_bad(self.activity.iter().filter(|row| own(&row.batch)).map(|row| row.usable).collect())
                || self.hierarchies[course(*batch)] == Some(false)
        };
        (0..BATCHES).filter(is_broken).collect()
    }

    /// The tables and columns that fail a request for these batches.
    fn faults(&self, wanted: &BTreeSet<usize>) -> BTreeSet<&'static str> {
        let mut faults = BTreeSet::new();
        let is_wanted = |batch: &Option<usize>| batch.is_none_or(|batch| wanted.contains(&batch));
        let mut judge = |table, usable: Vec<bool>| {
            let bad = usable.iter().filter(|usable| !**usable).count();
            let too_many = bad > 10 && bad * 1000 > usable.len();
            if bad > 0 && bad == usable.len() || too_many {
                faults.insert(table);
            }
        };
        let enrolments: Vec<_> = self.enrolments.iter().filter(|row| is_wanted(&row.batch)).collect();
        judge("table user_enrolments", enrolments.iter().map(|row| row.active.is_some()).collect());
        judge(
            "table user_activity_agg",
            self.activity.iter().filter(|row| is_wanted(&row.batch)).map(|row| row.usable).collect(),
        );
        let trees = wanted.iter().filter_map(|batch| self.hierarchies[course(*batch)]);
        judge("table content_hierarchy", trees.collect());
        let listed: Vec<_> = enrolments.iter().filter(|row| row.active == Some(true)).collect();
        if !listed.is_empty() {
            let broken = self.users.iter().filter(|user| user.is_none()).map(|_| false);
            let known = listed.iter().filter(|row| self.users.contains(&Some(row.user))).map(|_| true);
            judge("table user", known.chain(broken).collect());
        }
        let dates: Vec<bool> =
            enrolments.iter().filter(|row| row.active.is_some()).filter_map(|row| row.date).collect();
        if !dates.is_empty() && !dates.contains(&true) {
            faults.insert("enrolleddate");
        }
        faults
    }

    /// Learners who are listed of a batch.
    fn listed(&self, batch: usize) -> usize {
        let active = self.enrolments.iter().filter(|row| row.batch == Some(batch) && row.active == Some(true));
        active.map(|row| row.user).filter(|user| self.users.contains(&Some(*user))).collect::<BTreeSet<_>>().len()
    }
}

/// A thousand requests and more, over platforms that are broken in their own ways each.
#[test]
fn every_request_ends_as_a_plain_walk_over_the_rows_says() {
    let mut seen = [0_usize; 3];
    for seed in 0..PLATFORMS {
        let directory = tempfile::tempdir().unwrap();
        let platform = Platform::draw(seed);
        platform.write(directory.path(), seed % 2 == 0);
        let database = TestDatabase::sqlite();
        // All together, batch by batch, and single batches in ranges of learners.
        let memory = ["2GiB", "4KiB", "1"][usize::try_from(seed % 3).unwrap()];
        let site = Site::new(&database, directory.path(), &format!("{JOBS}[worker]\nmemory = \"{memory}\"\n"), "");
        let mut draws = fastrand::Rng::with_seed(seed);
        let requests: Vec<BTreeSet<usize>> = (0..REQUESTS)
            .map(|_| draws.choose_multiple(0..BATCHES, 1 + draws.clone().usize(0..3)).into_iter().collect())
            .collect();
        for (n, wanted) in requests.iter().enumerate() {
            let ids: Vec<String> = wanted.iter().map(|batch| format!("\"B{batch}\"")).collect();
            let request = format!(r#"{{"batchFilter": [{}]}}"#, ids.join(", "));
            site.insert("t", &format!("r{n:03}"), "course-report", &request);
        }
        let log = told(&site.run(&["run", "--once"]));
        let (rows, broken) = (site.rows(), platform.broken());
        for (n, wanted) in requests.iter().enumerate() {
            let row = &rows[&format!("r{n:03}")];
            let (left_out, made): (BTreeSet<usize>, BTreeSet<usize>) =
                wanted.iter().partition(|batch| broken.contains(batch));
            let faults = platform.faults(wanted);
            let what =
                format!("seed {seed}, {memory}, batches {wanted:?}, broken {left_out:?}, faults {faults:?}: {row:?}");
            if made.is_empty() || !faults.is_empty() {
                seen[0] += 1;
                assert_eq!(row.status, "FAILED", "{what}\n{log}");
                assert!(row.message.starts_with("table "), "{what}");
                assert!(made.is_empty() || faults.iter().any(|fault| row.message.contains(fault)), "{what}");
                continue;
            }
            seen[if left_out.is_empty() { 1 } else { 2 }] += 1;
            assert_eq!(row.status, "COMPLETED", "{what}\n{log}");
            let lines: Vec<usize> = row.urls.iter().map(|url| site.file(url).lines().count() - 1).collect();
            assert_eq!(lines, made.iter().map(|batch| platform.listed(*batch)).collect::<Vec<_>>(), "{what}");
            let named: Vec<String> = left_out.iter().map(|batch| format!("B{batch}")).collect();
            assert_eq!(row.stats["batches_left_out"]["broken"], serde_json::json!(named), "{what}");
        }
    }
    assert!(seen.iter().all(|count| *count > 50), "too few of a kind: {seen:?}");
    assert!(seen.iter().sum::<usize>() >= 1_000);
}
