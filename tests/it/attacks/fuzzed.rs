//! The inputs that once broke something, and the seeds, through what the fuzz targets do with them (`scripts/fuzz`).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "public to the fuzz targets")]
mod bodies;

#[test]
fn what_broke_something_once_breaks_nothing_now() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (target, body) in bodies::TARGETS {
        assert!(fuzz.join(format!("fuzz_targets/{target}.rs")).exists(), "{target}");
        let mut tried = 0;
        for directory in ["seeds", "regressions"] {
            let Ok(inputs) = fs::read_dir(fuzz.join(directory).join(target)) else { continue };
            for input in inputs {
                let path = input.unwrap().path();
                eprintln!("{}", path.display());
                body(&fs::read(&path).unwrap());
                tried += 1;
            }
        }
        assert!(tried > 0, "{target} has no seeds");
    }
    let targets = fs::read_dir(fuzz.join("fuzz_targets")).unwrap().count();
    assert_eq!(targets, bodies::TARGETS.len(), "a target without a name");
}
