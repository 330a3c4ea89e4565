//! Examples in documents are true: what they show is read by the program.

use std::fs;
use std::path::Path;

use exhaust::config;

/// The blocks of a language in a document.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let begin = format!("```{language}\n");
    text.split(begin.as_str()).skip(1).filter_map(|after| after.split("```").next()).collect()
}

/// The examples of docs/configuration.md are read by tests beside the configuration: some of them are wrong on purpose.
#[test]
fn every_toml_example_is_a_configuration() {
    let environment = [("DB_PASSWORD", "x")].into_iter().collect();
    let mut seen = 0;
    for document in super::documents() {
        if document.ends_with("docs/configuration.md") {
            continue;
        }
        let text = fs::read_to_string(&document).unwrap();
        for example in blocks(&text, "toml") {
            seen += 1;
            if let Err(faults) =
                config::check(example, Path::new("jobs.toml"), &environment, exhaust::reports::registry())
            {
                // What only the file around it has: a report that the page adds, keys that it names elsewhere.
                let known = ["unknown report", "nobody would need a key", "`query`: queries/"];
                let unknown: Vec<String> = faults.to_string().lines().map(str::to_owned).collect();
                let unknown: Vec<_> =
                    unknown.iter().filter(|line| !known.iter().any(|known| line.contains(known))).collect();
                assert!(unknown.is_empty(), "{}:\n{example}\n{faults}", document.display());
            }
        }
    }
    assert!(seen >= 4, "{seen} examples");
}
