//! Production code as text: which files there are, what they define, and which other files they name.
//!
//! No parser: rustfmt lays the code out, so an item ends where a closing bracket has the indentation of its first line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file of `src`.
pub(crate) struct SourceFile {
    /// Below the package, such as `src/outputs/key.rs`.
    pub(crate) path: String,
    /// Its module, such as `["outputs", "key"]`; none for `lib.rs`.
    pub(crate) module: Vec<String>,
    /// All of it.
    pub(crate) text: String,
    /// Its lines; comments, the insides of literals and code for tests are blank.
    pub(crate) code: Vec<String>,
}

/// The files of `src` that are not for tests alone.
pub(crate) fn production() -> Vec<SourceFile> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read_module(&src, &src.join("lib.rs"), &mut Vec::new(), &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn read_module(src: &Path, file: &Path, module: &mut Vec<String>, files: &mut Vec<SourceFile>) {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let code = without_tests(blanked(&text));
    let children: Vec<String> = code.iter().filter_map(|line| declared_module(line)).collect();
    let path = Path::new("src").join(file.strip_prefix(src).unwrap()).to_string_lossy().into_owned();
    files.push(SourceFile { path, module: module.clone(), text, code });
    for child in children {
        let folder: PathBuf = module.iter().fold(src.to_owned(), |folder, name| folder.join(name));
        let plain = folder.join(format!("{child}.rs"));
        let file = if plain.exists() { plain } else { folder.join(&child).join("mod.rs") };
        module.push(child);
        read_module(src, &file, module, files);
        module.pop();
    }
}

/// The name of `mod name;`, whatever its visibility.
fn declared_module(line: &str) -> Option<String> {
    let (before, rest) = line.split_once("mod ")?;
    let is_item = before.is_empty() || (before.starts_with("pub") && before.ends_with(' '));
    rest.strip_suffix(';').filter(|_| is_item).map(str::to_owned)
}

/// How far a line is indented.
pub(crate) fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The last line of the item that begins in this one.
pub(crate) fn item_end(code: &[String], start: usize) -> usize {
    let depth = indent(&code[start]);
    let mut open = 0_i64;
    for (at, line) in code.iter().enumerate().skip(start) {
        for c in line.chars() {
            match c {
                '{' | '(' | '[' => open += 1,
                '}' | ')' | ']' => open -= 1,
                _ => {}
            }
        }
        let ends = line.trim_end().ends_with([';', '}']);
        if open <= 0 && ends && indent(line) == depth {
            return at;
        }
    }
    code.len() - 1
}

/// The code without items that are compiled for tests alone.
fn without_tests(mut code: Vec<String>) -> Vec<String> {
    let mut at = 0;
    while at < code.len() {
        if code[at].trim_start().starts_with("#[cfg(test)]") || code[at].trim_start().starts_with("#[test]") {
            let mut item = at + 1;
            while code[item].trim().is_empty() || code[item].trim_start().starts_with("#[") {
                item += 1;
            }
            let end = item_end(&code, item);
            code[at..=end].iter_mut().for_each(String::clear);
            at = end;
        }
        at += 1;
    }
    code
}

/// The lines of a text, with blanks for comments and for what stands in literals.
fn blanked(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |out: &mut String, from: usize, to: usize| {
        out.extend(chars[from..to.min(chars.len())].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
    };
    while at < chars.len() {
        let rest = &chars[at..];
        let end = match rest {
            ['/', '/', ..] => at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => at + find(rest, &['*', '/']).map_or(rest.len(), |end| end + 2),
            ['r', '"' | '#', ..] if at == 0 || !is_name(chars[at - 1]) => raw_string_end(&chars, at).unwrap_or(at),
            ['"', ..] => string_end(&chars, at),
            ['\'', '\\', _, ..] => at + 3 + rest[3..].iter().position(|c| *c == '\'').unwrap_or(0) + 1,
            ['\'', _, '\'', ..] => at + 3,
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            // A literal stays an expression.
            let keeps = if rest[0] == '/' { ' ' } else { '0' };
            out.push(keeps);
            blank(&mut out, at + 1, end);
            at = end;
        }
    }
    out.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn find(text: &[char], what: &[char]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let marks = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let quote = start + 1 + marks;
    if chars.get(quote) != Some(&'"') {
        return None;
    }
    let mut closing = vec!['"'];
    closing.resize(marks + 1, '#');
    find(&chars[quote + 1..], &closing).map(|end| quote + 1 + end + closing.len())
}

/// Whether a character can stand in a name.
pub(crate) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The words of a text that may be names.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_name(c)).filter(|word| !word.is_empty())
}

/// One name that a `use` brings in.
struct Import {
    /// As it is called here.
    name: String,
    path: Vec<String>,
    /// It is handed on to others.
    is_public: bool,
}

/// What a file imports and which paths it names.
struct Names {
    imports: Vec<Import>,
    /// Its code without the imports, on one line.
    body: String,
    children: BTreeSet<String>,
}

fn names(file: &SourceFile) -> Names {
    let (mut imports, mut body, mut children) = (Vec::new(), String::new(), BTreeSet::new());
    let mut at = 0;
    while at < file.code.len() {
        let line = file.code[at].trim_start();
        let visibility = line.find("use ").map(|end| &line[..end]);
        if visibility.is_some_and(|it| it.is_empty() || (it.starts_with("pub") && !it.contains(['{', '=']))) {
            let end = (at..file.code.len()).find(|at| file.code[*at].ends_with(';')).unwrap_or(at);
            let statement: String = file.code[at..=end].iter().map(|line| line.trim()).collect();
            let (visibility, tree) = statement.split_once("use ").unwrap();
            let mut found = Vec::new();
            import_tree(&mut Vec::new(), tree.trim_end_matches(';'), &mut found);
            imports.extend(found.into_iter().map(|(name, path)| Import {
                name,
                path,
                is_public: !visibility.is_empty(),
            }));
            at = end + 1;
            continue;
        }
        children.extend(declared_module(line));
        body.push_str(line);
        body.push(' ');
        at += 1;
    }
    Names { imports, body, children }
}

/// Takes `a::{b, c as d}` apart.
fn import_tree(before: &mut Vec<String>, tree: &str, found: &mut Vec<(String, Vec<String>)>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{').filter(|(head, _)| !head.contains(',')) {
        let depth = before.len();
        before.extend(head.split("::").filter(|segment| !segment.trim().is_empty()).map(|it| it.trim().to_owned()));
        for part in split_group(group.strip_suffix('}').unwrap_or(group)) {
            import_tree(before, part, found);
        }
        before.truncate(depth);
        return;
    }
    if tree.is_empty() {
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut full = before.clone();
    full.extend(path.split("::").map(|segment| segment.trim().to_owned()));
    if full.last().is_some_and(|last| last == "self") {
        full.pop();
    }
    let name = alias.or(full.last().map(String::as_str)).unwrap_or_default().to_owned();
    found.push((name, full));
}

/// The parts of a group, at the commas that are in no group within it.
fn split_group(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    parts
}

/// Which names a file takes from which other file: (from, to) to names, by position in `files`.
pub(crate) fn uses(files: &[SourceFile]) -> BTreeMap<(usize, usize), BTreeSet<String>> {
    let all: Vec<Names> = files.iter().map(names).collect();
    let house =
        House { modules: files.iter().enumerate().map(|(at, file)| (file.module.clone(), at)).collect(), all: &all };
    let mut uses: BTreeMap<(usize, usize), BTreeSet<String>> = BTreeMap::new();
    for (from, (file, names)) in files.iter().zip(&all).enumerate() {
        let named: BTreeSet<&str> = words(&names.body).collect();
        let imported = names.imports.iter().filter(|import| {
            // What is only handed on is used elsewhere. Traits are used without being named: private imports always count.
            !import.is_public || named.contains(import.name.as_str())
        });
        let imported = imported.map(|import| import.path.clone());
        for path in imported.chain(paths(&names.body)) {
            if let Some((to, name)) = house.find(&file.module, &path, 0).filter(|(to, _)| *to != from) {
                uses.entry((from, to)).or_default().insert(name);
            }
        }
    }
    uses
}

/// Every `a::b` of a line of code.
fn paths(body: &str) -> impl Iterator<Item = Vec<String>> {
    body.split(|c| !is_name(c) && c != ':').filter(|path| path.contains("::")).filter_map(|path| {
        let segments: Vec<String> = path.split("::").map(str::to_owned).collect();
        segments.iter().all(|segment| segment.chars().all(is_name)).then_some(segments)
    })
}

struct House<'f> {
    modules: BTreeMap<Vec<String>, usize>,
    all: &'f [Names],
}

impl House<'_> {
    /// The file that defines what a path names, and the name; `None`: it is nothing of ours.
    fn find(&self, module: &[String], path: &[String], depth: usize) -> Option<(usize, String)> {
        if depth > 16 {
            return None;
        }
        let mut at: Vec<String> = module.to_vec();
        let mut segments = path.iter();
        match path.first()?.as_str() {
            "crate" => at = Vec::new(),
            "self" => {}
            "super" => drop(at.pop()),
            first => {
                let names = &self.all[*self.modules.get(module)?];
                if !names.children.contains(first) {
                    let import = names.imports.iter().find(|import| import.name == first && import.path[0] != first)?;
                    let whole: Vec<String> = import.path.iter().chain(&path[1..]).cloned().collect();
                    return self.find(module, &whole, depth + 1);
                }
                at.push(first.to_owned());
            }
        }
        segments.next();
        for (walked, segment) in segments.enumerate() {
            if segment == "super" {
                at.pop();
                continue;
            }
            at.push(segment.clone());
            if self.modules.contains_key(&at) {
                continue;
            }
            at.pop();
            let names = &self.all[*self.modules.get(&at)?];
            if let Some(import) =
                names.imports.iter().find(|import| import.name == *segment && import.path[0] != *segment)
            {
                let rest = path.iter().skip(walked + 2);
                let whole: Vec<String> = import.path.iter().chain(rest).cloned().collect();
                return self.find(&at, &whole, depth + 1);
            }
            return Some((*self.modules.get(&at)?, segment.clone()));
        }
        // A module by itself: what is taken from it is named where it is used.
        None
    }
}

#[test]
fn comments_literals_and_tests_are_blank() {
    let text = "fn a() { // {\n    let b = '{'; let c = \"}\\\"{\"; let d = r#\"\"{\"#; /* } */ let e: &'static str = c;\n}\n\n\
                #[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
    let code = without_tests(blanked(text));
    assert!(!code.join("").contains("mod tests") && code[1].contains("&'static str"), "{code:?}");
    assert_eq!(code.join("").matches(['{', '}']).collect::<Vec<_>>(), ["{", "}"], "{code:?}");
}

#[test]
fn names_are_followed_to_the_file_that_defines_them() {
    let file = |path: &str, module: &[&str], text: &str| SourceFile {
        path: path.to_owned(),
        module: module.iter().map(|name| (*name).to_owned()).collect(),
        text: text.to_owned(),
        code: text.lines().map(str::to_owned).collect(),
    };
    let files = [
        file("lib.rs", &[], "pub mod a;\npub mod b;"),
        file("a/mod.rs", &["a"], "mod c;\npub use c::{self as d, Thing};"),
        file("a/c.rs", &["a", "c"], "pub struct Thing;\npub fn work() {\n    super::super::b::other()\n}"),
        file("b.rs", &["b"], "use crate::a::Thing;\npub fn other() {\n    crate::a::d::work(Thing);\n}"),
    ];
    let uses = uses(&files);
    let found: Vec<_> = uses.iter().map(|((from, to), names)| (*from, *to, names.len())).collect();
    assert_eq!(found, [(2, 3, 1), (3, 2, 2)], "{uses:?}");
}
