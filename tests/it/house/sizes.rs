//! No file and no function of production code that is too long to be read at once.

use super::code::{self, indent, item_end};

/// The most lines of a file.
const FILE: usize = 400;
/// The most lines of a function, from its signature to its closing bracket.
const FUNCTION: usize = 60;

#[test]
fn no_file_is_longer_than_400_lines() {
    for file in code::production() {
        let lines = file.text.lines().count();
        assert!(lines <= FILE, "{} has {lines} lines, {FILE} are allowed: split it by meaning", file.path);
    }
}

#[test]
fn no_function_is_longer_than_60_lines() {
    let mut faults = Vec::new();
    for file in code::production() {
        for (at, line) in file.code.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let lines = function_end(&file.code, at) + 1 - at;
            if lines > FUNCTION {
                faults.push(format!("{}:{}: {name} has {lines} lines", file.path, at + 1));
            }
        }
    }
    assert!(faults.is_empty(), "functions of more than {FUNCTION} lines: split them by meaning\n{}", faults.join("\n"));
}

/// The name of the function whose signature begins in this line.
fn function_name(line: &str) -> Option<&str> {
    let (before, rest) = line.trim_start().split_once("fn ")?;
    let is_item = before.split_whitespace().all(|word| {
        matches!(word, "const" | "async" | "unsafe" | "extern" | "0") || word.starts_with("pub") || word.ends_with(')')
    });
    let name = rest.split(|c| !code::is_name(c)).next()?;
    (is_item && !name.is_empty()).then_some(name)
}

/// The last line of a function; of one without a body that of its signature.
fn function_end(code: &[String], start: usize) -> usize {
    let depth = indent(&code[start]);
    let ends = |line: &String| indent(line) == depth && line.trim_end().ends_with(['}', ';']);
    (start..code.len()).find(|at| ends(&code[*at])).unwrap_or_else(|| item_end(code, start))
}
