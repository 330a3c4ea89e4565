//! What the environment says of object stores: the variables that each cloud's own tools read.

use std::collections::BTreeMap;

/// What the variables begin with.
const PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Variables of the clouds, and `HOME`, below which their files are. Values may be secrets: `Debug` shows none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Settings {
    /// Takes what concerns object stores out of these variables. Empty ones are not there.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let concerns = |name: &str| name == "HOME" || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(variables.filter(|(name, value): &(String, String)| concerns(name) && !value.is_empty()).collect())
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What is odd about a value that must be one line of text: `None` if nothing is. A line end in a credential would break
/// the header that it goes into.
#[must_use]
pub fn odd_character(value: &str) -> Option<String> {
    let odd = value.chars().find(|c| c.is_control())?;
    Some(match odd {
        '\n' | '\r' => "has a line end in the middle".to_owned(),
        odd => format!("has a control character (U+{:04X})", u32::from(odd)),
    })
}

impl Settings {
    /// The variables of one cloud that are no single line of text, and what is odd about each. Google's keys are JSON, which
    /// may have lines.
    pub(super) fn odd(&self, prefix: &str) -> Vec<(String, String)> {
        let has_lines = |value: &str| prefix == "GOOGLE_" && value.trim_start().starts_with('{');
        let own = self.0.iter().filter(|(name, value)| name.starts_with(prefix) && !has_lines(value));
        own.filter_map(|(name, value)| Some((name.clone(), odd_character(value)?))).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes"))
    }

    /// The variables of one cloud, in the lower case in which the crate knows them.
    pub(super) fn of<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = (String, &'s str)> {
        let ours = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        ours.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_concerns_the_clouds_is_kept_and_no_value_is_shown() {
        let settings: Settings =
            [("AWS_SECRET_ACCESS_KEY", "hunter2"), ("AWS_PROFILE", ""), ("PATH", "/bin"), ("HOME", "/root")]
                .into_iter()
                .collect();
        assert_eq!(format!("{settings:?}"), r#"{"AWS_SECRET_ACCESS_KEY", "HOME"}"#);
        assert_eq!(settings.odd("AWS_"), []);
        assert_eq!(settings.of("AWS_").collect::<Vec<_>>(), [("aws_secret_access_key".to_owned(), "hunter2")]);
    }

    #[test]
    fn what_is_no_single_line_of_text_is_odd() {
        for (name, value, odd) in [
            ("AWS_ACCESS_KEY_ID", "AK\nIA", Some("has a line end in the middle")),
            ("AWS_ACCESS_KEY_ID", "AK\rIA", Some("has a line end in the middle")),
            ("AWS_SESSION_TOKEN", "\u{7f}", Some("has a control character (U+007F)")),
            ("AWS_SESSION_TOKEN", "{\n}", Some("has a line end in the middle")),
            ("AWS_ACCESS_KEY_ID", "AKIA é", None),
            ("AZURE_STORAGE_ACCOUNT_KEY", "a\tb", Some("has a control character (U+0009)")),
            ("GOOGLE_SERVICE_ACCOUNT_KEY", "{\n \"type\": \"service_account\"\n}", None),
            ("GOOGLE_SERVICE_ACCOUNT", "/a\nb", Some("has a line end in the middle")),
        ] {
            let settings: Settings = [(name, value)].into_iter().collect();
            let prefix = PREFIXES.into_iter().find(|prefix| name.starts_with(prefix)).unwrap();
            let expected: Vec<_> = odd.iter().map(|odd| (name.to_owned(), (*odd).to_owned())).collect();
            assert_eq!(settings.odd(prefix), expected, "{name} {value:?}");
        }
    }
}
