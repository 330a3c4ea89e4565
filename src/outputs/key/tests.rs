//! Keys and report paths, and what attackers make them of.

use super::*;

#[path = "../../../tests/it/attacks/owners/key_rules.rs"]
mod key_rules;

#[test]
fn report_paths_are_checked_segment_by_segment() {
    for (text, error) in [
        ("/abs", PathError::LeadingSlash),
        ("/", PathError::LeadingSlash),
        ("a//b", PathError::EmptySegment),
        ("a//", PathError::EmptySegment),
        ("../x", PathError::DotSegment("..")),
        ("a/../b", PathError::DotSegment("..")),
        ("a/..", PathError::DotSegment("..")),
        ("a/./b", PathError::DotSegment(".")),
        (".a", PathError::LeadingDot),
        ("a/..b/c", PathError::LeadingDot),
        ("a/.b/", PathError::LeadingDot),
        ("a\nb", PathError::ControlCharacter),
        ("a/\u{0}", PathError::ControlCharacter),
    ] {
        assert_eq!(ReportPath::parse(text), Err(error), "{text:?}");
    }
    let long = "x".repeat(256);
    assert!(matches!(ReportPath::parse(&long), Err(PathError::LongSegment(256))));
    let deep = |segments: usize| vec!["s"; segments].join("/");
    assert_eq!(ReportPath::parse(&deep(17)), Err(PathError::ManySegments(17)));
    assert!(ReportPath::parse(&deep(16)).is_ok() && ReportPath::parse(&format!("{}/", deep(16))).is_ok());
    let long = |bytes: usize| format!("{}/{}", "x".repeat(150), "y".repeat(bytes - 151));
    assert_eq!(ReportPath::parse(&long(301)), Err(PathError::LongPath(301)));
    assert!(ReportPath::parse(&long(300)).is_ok());
    for (text, path) in [("course-progress-v2/", "course-progress-v2"), ("a/b", "a/b"), ("", ""), ("a..", "a..")] {
        assert_eq!(ReportPath::parse(text).map(|p| p.to_string()), Ok(path.to_owned()));
    }
}

fn key(path: &str, tag: &str, request: &str, batch: &str) -> String {
    let path = ReportPath::parse(path).unwrap();
    ObjectKey::of_report(&path, tag, request, "c1", batch, "csv").unwrap().to_string()
}

#[test]
fn keys_are_segments_joined_by_single_slashes() {
    assert_eq!(
        key("course-progress-v2/", "client-1", "6a54", "0192"),
        "course-progress-v2/client-1/6a54/c1/reports-0192.csv"
    );
    assert_eq!(key("", "t", "r", "b"), "t/r/c1/reports-b.csv");
}

#[test]
fn a_tag_or_batch_cannot_climb_or_split() {
    assert_eq!(key("r", "..", ".", "../x"), "r/%2E./%2E/c1/reports-%2E.%2Fx.csv");
    assert_eq!(key("r", "a/b", "é %", "."), "r/a%2Fb/%C3%A9%20%25/c1/reports-%2E.csv");
    assert_eq!(key("r", "", "r", "b"), "r/%00/r/c1/reports-b.csv");
    assert_eq!(key("r", "a:b_c-d.e", "r", "b"), "r/a:b_c-d.e/r/c1/reports-b.csv");
}

#[test]
fn a_batch_id_that_cannot_be_a_name_is_refused() {
    let path = ReportPath::parse("r").unwrap();
    let error = ObjectKey::of_report(&path, "t", "r", "c", &"ä".repeat(50), "csv").unwrap_err();
    assert_eq!(error.to_string(), "the batch id is too long for a file name: 312 bytes, 255 are allowed");
    let longest = "x".repeat(243);
    assert!(!can_name("", "csv"));
    let of_none = ObjectKey::of_report(&path, "t", "r", "c", "", "csv").unwrap();
    assert_eq!(of_none.as_str(), "r/t/r/c/reports-%00.csv");
    for (batch, can) in [(".", true), (longest.as_str(), true), (&format!("{longest}x"), false)] {
        assert_eq!(can_name(batch, "csv"), can, "{batch}");
        assert_eq!(ObjectKey::of_report(&path, "t", "r", "c", batch, "csv").is_ok(), can, "{batch}");
    }
}

#[test]
fn a_key_longer_than_object_stores_take_is_refused() {
    let path = ReportPath::parse(&format!("{}/{}", "p".repeat(150), "q".repeat(149))).unwrap();
    let key = |request_id: usize| {
        let (tag, request_id, batch) = ("t".repeat(255), "r".repeat(request_id), "b".repeat(243));
        ObjectKey::of_report(&path, &tag, &request_id, "0123456789abcdef", &batch, "csv")
    };
    // Five segments and four slashes.
    let rest = 300 + 255 + 16 + 255 + 4;
    assert_eq!(key(1025 - rest), Err(KeyError::LongKey(1025)));
    assert_eq!(key(1024 - rest).unwrap().as_str().len(), 1024);
}

#[test]
fn a_key_tells_whose_file_it_is() {
    let claim = "0123456789abcdef";
    for path in ["", "r", "a/b/c", "reports-x"] {
        for (tag, request_id) in [("t", "r"), ("", "."), ("..", "a/b"), ("é %", "%00"), ("a:b", "漢字")] {
            let path = ReportPath::parse(path).unwrap();
            let key = ObjectKey::of_report(&path, tag, request_id, claim, "../b", "csv.gz").unwrap();
            let origin = Origin { tag: tag.to_owned(), request_id: request_id.to_owned(), claim: claim.to_owned() };
            assert_eq!(key.origin(), Some(origin), "{key}");
        }
    }
}

/// Versions before encoded a leading dot only where it was all there was; their files are found and removed.
#[test]
fn keys_of_earlier_versions_still_tell_whose_they_are() {
    let claim = "0123456789abcdef";
    for (tag, request_id, key) in [
        ("..", ".", format!("r/%2E%2E/%2E/{claim}/reports-b.csv")),
        (".a", "..b", format!("r/.a/..b/{claim}/reports-.x.csv")),
        ("t", "1", format!("{}/t/1/{claim}/reports-b.csv", vec!["deep"; 4096].join("/"))),
        ("t", "1", format!(".hidden/t/1/{claim}/reports-b.csv")),
    ] {
        let key = ObjectKey::parse(&key).unwrap();
        assert!(key.is_of(tag, request_id) && !key.is_of("t", "2"), "{key}");
        assert_eq!(key.is_hidden(), key.as_str().contains("/.") || key.as_str().starts_with('.'), "{key}");
    }
}

#[test]
fn a_key_that_we_never_made_is_nobody_s() {
    for foreign in [
        "reports-b.csv",
        "t/0123456789abcdef/reports-b.csv",
        "r/t/1/c/reports-b.csv",
        "r/t/1/0123456789ABCDEF/reports-b.csv",
        "r/t/1/0123456789abcde/reports-b.csv",
        "r/t/1/0123456789abcdef/report-b.csv",
        "r/t/1/0123456789abcdef/Reports-b.csv",
        "r/t t/1/0123456789abcdef/reports-b.csv",
        "r/t/é/0123456789abcdef/reports-b.csv",
        "r/t/%2e/0123456789abcdef/reports-b.csv",
        "r/t/%41/0123456789abcdef/reports-b.csv",
        "r/t/%FF/0123456789abcdef/reports-b.csv",
        "r/t/%/0123456789abcdef/reports-b.csv",
    ] {
        assert_eq!(ObjectKey::parse(foreign).unwrap().origin(), None, "{foreign}");
    }
}

#[test]
fn keys_read_back_from_rows_are_checked_again() {
    assert!(ObjectKey::parse("r/t/1/c/reports-b.csv").is_ok());
    for bad in ["", "/r", "r/../x", "r/"] {
        assert!(ObjectKey::parse(bad).is_err(), "{bad:?}");
    }
}

mod generated {
    use proptest::prelude::*;

    use super::super::*;
    use super::key_rules::{ODD, is_a_report_path};

    /// What attackers put together paths of.
    fn pieces() -> impl Strategy<Value = String> {
        let odd = [&ODD[..], &["\0"]].concat();
        let one = prop_oneof![
            6 => prop::sample::select(odd).prop_map(str::to_owned),
            2 => "[a-z./%]{0,12}",
            1 => (1usize..300).prop_map(|n| "x".repeat(n)),
            1 => any::<String>(),
        ];
        prop::collection::vec(one, 0..8).prop_map(|parts| parts.concat())
    }

    fn joined() -> impl Strategy<Value = String> {
        prop_oneof![pieces(), prop::collection::vec(pieces(), 0..20).prop_map(|parts| parts.join("/"))]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1200, ..ProptestConfig::default() })]

        #[test]
        fn a_report_path_is_taken_if_it_follows_every_rule(text in joined()) {
            prop_assert_eq!(ReportPath::parse(&text).is_ok(), is_a_report_path(&text), "{:?}", text);
        }

        /// Whatever the names are, a key is one path below the store, says whose it is, and hides nothing.
        #[test]
        fn a_key_stays_in_its_request_s_directory(
            path in joined(), tag in pieces(), id in pieces(), batch in pieces(), other in pieces(),
        ) {
            let path = ReportPath::parse(&path).unwrap_or_else(|_| ReportPath::parse("reports/").unwrap());
            let claim = "0123456789abcdef";
            // No database column holds a NUL, so that its encoding can stand for empty text.
            let (tag, id) = (tag.replace('\0', ""), id.replace('\0', ""));
            if let Ok(key) = ObjectKey::of_report(&path, &tag, &id, claim, &batch, "csv") {
                let text = key.as_str();
                let above = if path.0.is_empty() { 0 } else { path.0.split('/').count() };
                let segments: Vec<&str> = text.split('/').collect();
                prop_assert_eq!(segments.len(), above + 4);
                prop_assert!(text.len() < 1025 && segments.iter().all(|one| !one.is_empty() && one.len() < 256));
                prop_assert!(!segments.iter().any(|one| one.starts_with('.')) && !key.is_hidden());
                prop_assert_eq!(segments[..above].join("/"), path.to_string());
                prop_assert_eq!(key.origin(), Some(Origin { tag: tag.clone(), request_id: id.clone(), claim: claim.to_owned() }));
                prop_assert_eq!(key.is_of(&other, &id), other == tag);
                prop_assert_eq!(ObjectKey::parse(text), Ok(key));
            } else {
                let long = [&tag, &id, &batch].iter().map(|name| name.len() * 3 + 20).max().unwrap();
                prop_assert!(batch.is_empty() || long > 255 || path.0.len() + tag.len() * 3 + id.len() * 3 > 700);
            }
        }
    }
}
