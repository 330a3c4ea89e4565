//! No ten lines of production code that stand in two places.

use std::collections::HashMap;

use super::code;

/// This number of equal lines is a repetition.
const LINES: usize = 10;

#[test]
fn no_ten_lines_stand_twice() {
    let files = code::production();
    let mut first_seen: HashMap<Vec<&str>, (usize, usize)> = HashMap::new();
    let mut faults = Vec::new();
    for (at, file) in files.iter().enumerate() {
        // Literals count, comments, imports and blank lines do not.
        let shown: Vec<&str> = file.text.lines().collect();
        let lines: Vec<(usize, &str)> = file
            .code
            .iter()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with("use "))
            .map(|(number, _)| (number, shown[number].trim()))
            .collect();
        let mut skip_to = 0;
        for (start, window) in lines.windows(LINES).enumerate() {
            let text: Vec<&str> = window.iter().map(|(_, line)| *line).collect();
            let here = (at, window[0].0 + 1);
            let there = *first_seen.entry(text).or_insert(here);
            if there != here && start >= skip_to {
                let (other, line) = there;
                faults.push(format!("{}:{} and {}:{line}", file.path, here.1, files[other].path));
                skip_to = start + LINES;
            }
        }
    }
    assert!(faults.is_empty(), "the same {LINES} lines: give them one place\n{}", faults.join("\n"));
}
