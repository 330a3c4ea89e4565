//! No circle of imports between the files of production code.
//!
//! A file that uses what its own parent module defines makes none: a module and those inside it are one thing for everybody
//! else. Everything else counts, also what reaches a file by way of a `pub use`.

use std::collections::BTreeSet;

use super::code::{self, SourceFile};

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = code::production();
    let uses = code::uses(&files);
    let is_parent = |child: &SourceFile, parent: &SourceFile| child.module.starts_with(&parent.module);
    let mut next = vec![Vec::new(); files.len()];
    for (from, to) in uses.keys().filter(|(from, to)| !is_parent(&files[*from], &files[*to])) {
        next[*from].push(*to);
    }
    let reached: Vec<BTreeSet<usize>> = (0..files.len()).map(|start| reachable(&next, start)).collect();
    let mut faults = Vec::new();
    for (from, targets) in next.iter().enumerate() {
        for to in targets.iter().filter(|to| reached[**to].contains(&from)) {
            let (a, b) = (&files[from].path, &files[*to].path);
            let names: Vec<&str> = uses[&(from, *to)].iter().map(String::as_str).collect();
            faults.push(format!("{a} uses {} of {b}, which leads back to it", names.join(", ")));
        }
    }
    assert!(
        faults.is_empty(),
        "a circle of imports: move what both sides need into a file of its own\n{}",
        faults.join("\n")
    );
}

/// The files that a file uses, directly or by way of others.
fn reachable(next: &[Vec<usize>], start: usize) -> BTreeSet<usize> {
    let (mut seen, mut open) = (BTreeSet::new(), next[start].clone());
    while let Some(at) = open.pop() {
        if seen.insert(at) {
            open.extend(&next[at]);
        }
    }
    seen
}
