//! The table of acts: what is written is there, and it is bounded by age and by number.

use std::time::Duration;

use exhaust::requests::AuditRecord;

use super::super::databases::each_way;
use super::migrated;

fn record(n: usize) -> AuditRecord {
    AuditRecord {
        act: "read",
        who: "a key".to_owned(),
        subject: format!("t/{n}'\"\u{0}ü"),
        requests: n as u64,
        address: "::1".to_owned(),
    }
}

#[test]
fn acts_are_kept_up_to_an_age_and_a_number() {
    each_way(|database| {
        let (queue, clock) = migrated(database);
        let all: Vec<AuditRecord> = (0..1250).map(record).collect();
        queue.audit(&all).unwrap();
        queue.audit(&[]).unwrap();
        let first = "SELECT act, who, subject, address FROM exhaust_audit WHERE requests = 7";
        let seen = database.query_text(first).remove(0);
        let seen: Vec<&str> = seen.iter().map(|text| text.as_deref().unwrap()).collect();
        assert_eq!(seen[..2], ["read", "a key"]);
        assert!(seen[2].starts_with("t/7'\"") && seen[2].ends_with('ü') && seen[3] == "::1", "{seen:?}");
        let sweep = |keep: u64, most: u64| {
            let mut steps = 1;
            while queue.sweep_audit(Duration::from_secs(keep), most).unwrap() {
                steps += 1;
            }
            steps
        };
        let left = || {
            let row = database.query_text("SELECT count(*), min(requests) FROM exhaust_audit").remove(0);
            row.into_iter().map(|text| text.unwrap().parse::<u64>().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((sweep(60, 10_000), left()), (1, vec![1250, 0]));
        assert_eq!((sweep(60, 1200), left()), (1, vec![1200, 50]), "the newest are kept");
        clock.advance(Duration::from_secs(100));
        queue.audit(&[record(9_999)]).unwrap();
        assert!(sweep(60, 10_000) > 1, "in steps");
        assert_eq!(left(), [1, 9_999]);
    });
}
