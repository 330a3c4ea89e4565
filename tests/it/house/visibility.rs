//! Nothing is public that only its own module uses.
//!
//! By words: an item counts as used where its name stands in any other file. So an item with a common name is never found;
//! one that is found is used nowhere else.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::code::{self, SourceFile, words};

/// Items whose use is written by a macro, so that their names stand nowhere else.
const BY_MACRO: [(&str, &str); 1] = [("src/tables/chunk.rs", "Booleans")];

#[test]
fn what_nobody_else_uses_is_private() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets"] {
        super::sources(&root.join(folder), &mut paths);
    }
    let files = code::production();
    let mut users: HashMap<String, HashSet<PathBuf>> = HashMap::new();
    // The exceptions of these rules are no uses.
    for path in paths.into_iter().filter(|path| !path.starts_with(root.join("tests/it/house"))) {
        let text = fs::read_to_string(&path).unwrap();
        let below = path.strip_prefix(root).unwrap().to_owned();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for word in code.flat_map(words) {
            users.entry(word.to_owned()).or_default().insert(below.clone());
        }
    }
    let mut faults = Vec::new();
    for file in &files {
        // Modules inside a module see its private items.
        let inside = Path::new(&file.path).with_extension("");
        let inside = if inside.ends_with("mod") || inside.ends_with("lib") {
            inside.parent().unwrap().to_owned()
        } else {
            inside
        };
        let is_own = |user: &PathBuf| *user == Path::new(&file.path) || user.starts_with(&inside);
        for (line, name) in public_items(file) {
            let is_used = users.get(name).is_some_and(|users| users.iter().any(|user| !is_own(user)));
            if !is_used && !is_in_a_signature(file, name) && !BY_MACRO.contains(&(&file.path, name)) {
                faults.push(format!("{}:{line}: {name}", file.path));
            }
        }
    }
    assert!(faults.is_empty(), "public, and used by nobody outside: make them private\n{}", faults.join("\n"));
}

/// Items, and functions of types, that say `pub`, with their lines.
fn public_items(file: &SourceFile) -> impl Iterator<Item = (usize, &str)> {
    file.code.iter().enumerate().filter_map(|(at, line)| {
        let rest = line.trim_start().strip_prefix("pub")?;
        let rest = match rest.strip_prefix('(') {
            Some(scope) => scope.split_once(')')?.1,
            None => rest,
        };
        let mut rest = words(rest).skip_while(|word| matches!(*word, "const" | "async" | "unsafe")).peekable();
        let is_constant = line.contains("pub const ") && !line.contains(" fn ");
        let kind = if is_constant { "const" } else { rest.next()? };
        let is_item = matches!(kind, "fn" | "struct" | "enum" | "trait" | "type" | "static" | "const");
        rest.next().filter(|_| is_item).map(|name| (at + 1, name))
    })
}

/// Whether another public item of the file shows it: then it has to be public too.
fn is_in_a_signature(file: &SourceFile, name: &str) -> bool {
    let (mut is_shown, mut inside) = (false, None);
    for line in &file.code {
        let start = line.trim_start();
        let begins = start.starts_with("pub") || start.starts_with("impl") || start.starts_with("type ");
        if begins {
            inside = Some(code::indent(line));
        }
        let is_definition = ["struct", "enum", "trait", "type", "fn", "const", "static"]
            .iter()
            .any(|kind| start.contains(&format!("{kind} {name}")));
        if inside.is_some() && !is_definition && !start.starts_with("impl") {
            is_shown |= words(line).any(|word| word == name);
        }
        // A signature ends where its body begins; of an enum or trait everything is shown.
        let has_body =
            start.starts_with("impl") || start.contains("fn ") || line.trim() == "{" || start.starts_with(')');
        if (has_body && line.ends_with('{')) || line.ends_with(';') || line.trim() == "}" {
            inside = None;
        }
    }
    is_shown
}
