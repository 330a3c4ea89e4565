//! Daemons are killed, again and again, at named points and at random moments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::sample_requests::SampleRequest;

use super::{Files, count, files, open_rows, place, sample, undisturbed};
use crate::buckets::{self, TestBucket};
use crate::daemon::{Daemon, PATIENCE};
use crate::databases::TestDatabase;
use crate::site::Site;

const LEASE: Duration = Duration::from_secs(2);
/// Between two looks at how many wait.
const PAUSE: Duration = Duration::from_millis(50);
/// Over both databases, and a tenth of it on each object store; `EXHAUST_TEST_KILLS` sets another number.
const KILLS: u32 = 210;
/// While daemons are killed this many requests are kept waiting, so that there is always something to do.
const WAITING: usize = 20;

/// What no machine could ever do: it must fail for this reason and no other.
const WRONG: [(&str, &str); 2] =
    [(r#"{"batchfilters": ["TPD"]}"#, "unknown key 'batchfilters'"), (r#"{"batchId": "nowhere"}"#, "No data found")];

#[test]
fn killed_daemons_lose_nothing_on_postgresql() {
    if let Some(database) = TestDatabase::postgres() {
        kill(&database, None, 3, kills() * 2 / 3);
    }
}

#[test]
fn killed_daemons_lose_nothing_on_sqlite() {
    kill(&TestDatabase::sqlite(), None, 1, kills() / 3);
}

#[test]
fn killed_daemons_lose_nothing_and_leave_nothing_half_in_object_stores() {
    buckets::each(|bucket| kill(&TestDatabase::sqlite(), Some(bucket), 1, kills() / 10));
}

fn kills() -> u32 {
    std::env::var("EXHAUST_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap())
}

/// Where the next daemon of this executioner is to be killed; none: at a random moment.
fn point(random: &mut fastrand::Rng) -> (&'static str, String) {
    let slow = "generating:delay=4";
    match random.u32(0..8) {
        0 => ("after claim", format!("{slow};claimed#{}:pause", random.u32(1..4))),
        1 => ("during load", format!("{slow};loading#{}:pause", random.u32(1..4))),
        2 => ("between two batches", format!("{slow};stored#{}:pause", random.u32(1..20))),
        3 => ("before write-back", format!("{slow};writing-back#{}:pause", random.u32(1..10))),
        _ => ("random moment", slow.to_owned()),
    }
}

/// What the killed daemons logged, and how many of them were killed where.
#[derive(Default)]
struct Dead {
    logs: Mutex<Vec<String>>,
    places: Mutex<BTreeMap<&'static str, u32>>,
}

/// One place in the fleet: a daemon is started, killed, started, …
fn executioner(site: &Site<'_>, dead: &Dead, left: &AtomicU32, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        let (mut place, points) = point(&mut random);
        let daemon = Daemon::start(site, &points);
        if place == "random moment" {
            std::thread::sleep(Duration::from_millis(random.u64(20..600)));
        } else if !daemon.logs_within("paused at=", Duration::from_secs(2)) {
            place = "random moment"; // there was not enough to do
        }
        dead.logs.lock().unwrap().push(daemon.log());
        daemon.kill();
        *dead.places.lock().unwrap().entry(place).or_default() += 1;
    }
}

fn kill(database: &TestDatabase, store: Option<&TestBucket>, fleet: u32, kills: u32) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let requests = sample(&data, 60);
    let expected = undisturbed(&data, &requests);
    // Nobody can tell a daemon that was killed from one that its request has killed: five in a row while alone count as
    // poison. A few hundred kills within a minute are more than that is meant for, so here it takes more.
    let worker = format!("lease = \"{}s\"\nclaim = 24\nmax_crashes = 50", LEASE.as_secs());
    let site = place(database, &data, &worker).storing_in(store);
    let (dead, left) = (Dead::default(), AtomicU32::new(kills));
    let insert = |n: usize| {
        let request = &requests[n % requests.len()];
        site.insert("t", &format!("r{n:03}"), request.job_id, &request.request_data);
    };
    for (n, (data, _)) in WRONG.iter().enumerate() {
        site.insert("t", &format!("wrong{n}"), "course-report", data);
    }
    let mut inserted = 0;
    // How long a few statements and a short sleep took at most: as long a renewal may take, on a machine with other work.
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        for number in 0..fleet {
            let (site, dead, left) = (&site, &dead, &left);
            scope.spawn(move || executioner(site, dead, left, u64::from(20_261_124 + number)));
        }
        while left.load(Ordering::SeqCst) > 0 {
            let since = Instant::now();
            for _ in count(database, "status = 'SUBMITTED'")..WAITING {
                insert(inserted);
                inserted += 1;
            }
            std::thread::sleep(PAUSE);
            slowest = slowest.max(since.elapsed().saturating_sub(PAUSE));
        }
    });
    let last_kill = Instant::now();
    let living: Vec<Daemon> = (0..fleet).map(|_| Daemon::start(&site, "")).collect();
    let recovered = recover(database, &living, last_kill);

    let rows = site.rows();
    let mut made = files(&site);
    for (n, (_, message)) in WRONG.iter().enumerate() {
        let seen = &rows[&format!("wrong{n}")];
        assert!(seen.status == "FAILED" && seen.message.contains(message), "{seen:?}");
        made.remove(&format!("wrong{n}"));
    }
    assert_eq!(made.len(), inserted);
    check_each(&requests, &expected, &made, &rows);
    let logs: Vec<String> = dead.logs.into_inner().unwrap().into_iter().chain(living.iter().map(Daemon::log)).collect();
    for id in made.keys() {
        let times: usize =
            logs.iter().map(|log| log.matches(&format!("request completed request=t/{id} ")).count()).sum();
        assert!(times <= 1, "{id} was completed {times} times");
    }
    let again = made_again(&site);
    for key in &again {
        let [_, _, id, _, name] = key.split('/').collect::<Vec<_>>().try_into().unwrap();
        assert!(site.file(key) == expected[&asked_for(&requests, id)][name], "{key} is half");
    }
    // An object store's clock is too coarse for it.
    let span = store.is_none().then(|| longest_span(&site, &again));
    let named: usize = made.values().map(BTreeMap::len).sum();
    let most = database.query_text("SELECT max(crashes) FROM job_request")[0][0].clone().unwrap();
    println!(
        "{}, reports in {}: {kills} kills by SIGKILL: {:?}\n{inserted} requests completed once with the right bytes, {} failed for their own \
         reason, 0 lost; {} had lost two leases or more, at most {most}\n{} files were made again beside {named} that were \
         delivered; of one claim all within {span:?}, a renewal period is {:?}\nrecovered {recovered:?} after the last kill",
        if database.is_postgres() { "PostgreSQL, three processes" } else { "SQLite, one process" },
        store.map_or("a directory", |bucket| &bucket.url),
        dead.places.into_inner().unwrap(),
        WRONG.len(),
        count(database, "crashes >= 2"),
        again.len(),
        LEASE / 3,
    );
    assert!(
        span.is_none_or(|span| span <= LEASE / 3 + Duration::from_secs(1) + slowest),
        "more than a renewal period was made again: {span:?}, where a few statements took up to {slowest:?}"
    );
}

/// Waits until all is done. Half a minute after the last lease has run out no row is held by anybody who is dead.
fn recover(database: &TestDatabase, living: &[Daemon], last_kill: Instant) -> Duration {
    let mut judged = false;
    let pids: BTreeSet<String> = living.iter().map(|daemon| daemon.pid().to_string()).collect();
    loop {
        if open_rows(database) == 0 {
            return last_kill.elapsed();
        }
        if !judged && last_kill.elapsed() > LEASE + Duration::from_secs(30) {
            judged = true;
            for row in
                database.query_text("SELECT request_id, lease_owner FROM job_request WHERE status = 'PROCESSING'")
            {
                let owner = row[1].as_deref().unwrap_or_default();
                let pid = owner.split(':').nth(1).unwrap_or_default();
                assert!(pids.contains(pid), "{row:?} is held by a daemon that is dead");
            }
        }
        assert!(last_kill.elapsed() < PATIENCE, "not recovered");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the request of this id asks for, as [`undisturbed`] names it.
fn asked_for(requests: &[SampleRequest], id: &str) -> String {
    let n: usize = id.trim_start_matches('r').parse().unwrap();
    let request = &requests[n % requests.len()];
    format!("{} {}", request.job_id, request.request_data)
}

fn check_each(
    requests: &[SampleRequest],
    expected: &BTreeMap<String, Files>,
    made: &BTreeMap<String, Files>,
    rows: &BTreeMap<String, crate::site::Seen>,
) {
    for (id, files) in made {
        assert_eq!(rows[id].status, "COMPLETED", "{id}: {}", rows[id].message);
        assert_eq!(files, &expected[&asked_for(requests, id)], "{id}");
    }
}

/// The stored files that no row names.
fn made_again(site: &Site<'_>) -> Vec<String> {
    let named: BTreeSet<String> = site.rows().into_values().flat_map(|seen| seen.urls).collect();
    site.stored().into_iter().filter(|key| !named.contains(key)).collect()
}

/// The longest time within which those of one claim were stored.
fn longest_span(site: &Site<'_>, again: &[String]) -> Duration {
    let mut claims: BTreeMap<PathBuf, (SystemTime, SystemTime)> = BTreeMap::new();
    for key in again {
        let file = site.on_disk(key);
        let written = written(&file);
        let span = claims.entry(file.parent().unwrap().to_owned()).or_insert((written, written));
        *span = (span.0.min(written), span.1.max(written));
    }
    let longest = claims.into_values().map(|(first, last)| last.duration_since(first).unwrap()).max();
    longest.unwrap_or_default()
}

fn written(file: &Path) -> SystemTime {
    fs::metadata(file).unwrap().modified().unwrap()
}
