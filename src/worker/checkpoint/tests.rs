use super::*;

fn key(id: &str) -> RequestKey {
    RequestKey { tag: "t".to_owned(), request_id: id.to_owned() }
}

fn batch(id: &str) -> StoredBatch {
    let counts = Counts { rows: 2, enrolled: 3, left_out: [("inactive".into(), 1)].into(), ..Counts::default() };
    StoredBatch {
        batch: id.to_owned(),
        key: format!("r/{id}.csv"),
        bytes: 9,
        crc32: 7,
        counts,
        quality: Quality::default(),
    }
}

fn stored(checkpoint: &Checkpoint, request: &str, id: &str) -> bool {
    checkpoint.place(&key(request), batch(id), || Ok::<(), ()>(())).is_some()
}

#[test]
fn only_what_the_row_does_not_know_is_noted() {
    let checkpoint = Checkpoint::new([key("1"), key("2")]);
    let known = Processed { fingerprint: "x".to_owned(), batches: vec![batch("a")] };
    checkpoint.resume(&key("1"), known);
    assert_eq!(checkpoint.processed(&key("1")), None, "the row knows it");
    assert!(stored(&checkpoint, "1", "b"));
    let entries = checkpoint.entries();
    let told = Processed::parse(entries[0].processed.as_ref().unwrap()).unwrap();
    assert_eq!(told, Processed { fingerprint: "x".to_owned(), batches: vec![batch("a"), batch("b")] });
    assert_eq!(entries[1].processed, None);
    assert!(stored(&checkpoint, "1", "c"));
    checkpoint.noted(&entries[0]);
    assert!(checkpoint.processed(&key("1")).unwrap().contains("r/c.csv"), "c came after the renewal was asked");
    checkpoint.ends(&key("2"));
    assert!(checkpoint.release(&key("1")) && !checkpoint.release(&key("1")) && !checkpoint.release(&key("2")));
    assert!(!checkpoint.wants(&key("1")) && !stored(&checkpoint, "1", "d"));
    assert_eq!(checkpoint.processed(&key("1")), None, "a released request is nobody's here");
}

#[test]
fn a_file_that_is_there_is_known_when_its_request_is_written_back() {
    let checkpoint = Checkpoint::new([key("1"), key("2")]);
    let (begun, seen) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A store that takes its time.
            let placed = checkpoint.place(&key("1"), batch("a"), || {
                begun.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(200));
                Ok::<(), ()>(())
            });
            assert_eq!(placed, Some(Ok(())));
        });
        seen.recv().unwrap();
        assert!(!checkpoint.ends(&key("2")), "nothing of it is under way");
        assert!(checkpoint.ends(&key("1")));
        assert!(!checkpoint.wants(&key("1")) && !stored(&checkpoint, "1", "b"), "no other file appears");
        assert!(checkpoint.wait_for_placed(&[key("2"), key("1")], Duration::from_mins(1)));
        assert!(checkpoint.processed(&key("1")).unwrap().contains("r/a.csv"));
        assert!(!checkpoint.ends(&key("1")), "nothing is under way any more");
    });
}

#[test]
fn nobody_waits_for_ever_nor_twice() {
    let checkpoint = Checkpoint::new([key("1")]);
    let placed = checkpoint.place(&key("1"), batch("a"), || {
        assert!(checkpoint.ends(&key("1")));
        assert!(!checkpoint.wait_for_placed(&[key("1")], Duration::from_millis(1)));
        assert!(!checkpoint.ends(&key("1")), "a store that does not answer was waited for once");
        Ok::<(), ()>(())
    });
    assert_eq!(placed, Some(Ok(())));
    assert!(!checkpoint.ends(&key("1")));
}

#[test]
fn what_did_not_get_to_its_place_is_not_known_and_nobody_waits_for_it() {
    let checkpoint = Checkpoint::new([key("1")]);
    assert_eq!(checkpoint.place(&key("1"), batch("a"), || Err("full")), Some(Err("full")));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        checkpoint.place(&key("1"), batch("a"), || -> Result<(), ()> { panic!("broken") })
    }));
    assert!(panicked.is_err());
    assert!(!checkpoint.ends(&key("1")));
    assert_eq!(checkpoint.processed(&key("1")), None);
}

#[test]
fn what_is_forgotten_the_row_forgets_too() {
    let checkpoint = Checkpoint::new([key("1")]);
    checkpoint.resume(&key("1"), Processed { fingerprint: "x".to_owned(), batches: vec![batch("a")] });
    checkpoint.forget(&key("1"));
    assert_eq!(checkpoint.processed(&key("1")).as_deref(), Some(r#"{"made_as":"x","batches":[]}"#));
}

#[test]
fn each_batch_is_told_with_key_rows_and_bytes() {
    let processed = Processed { fingerprint: "x".to_owned(), batches: vec![batch("a")] };
    let json = serde_json::to_value(&processed).unwrap();
    assert_eq!(json["batches"][0]["batch"], "a");
    assert_eq!((json["batches"][0]["rows"].as_u64(), json["batches"][0]["bytes"].as_u64()), (Some(2), Some(9)));
    assert_eq!(Processed::parse("[1]"), None);
}
