//! How a key of jobs.toml is declared: once, with its form, default and meaning.
//!
//! A section declares its keys beside the function that reads them. Unknown keys, near misses, defaults, variables, the
//! tables of docs/configuration.md and what a running daemon can take over all come from these declarations.

/// A key of jobs.toml.
#[derive(Debug)]
pub struct Key {
    /// Its name, without its section.
    pub name: &'static str,
    /// What it holds.
    pub form: Form,
    /// What holds where the key is absent.
    pub fallback: Fallback,
    /// Whether a running daemon takes over a change.
    pub reload: Reload,
    /// What it means, as a cell of a Markdown table.
    pub doc: &'static str,
}

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// Text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Number,
    /// A number from 0 to 1.
    Share,
    /// A length of time, such as `"30s"`.
    Duration,
    /// Bytes, such as `"2GiB"`.
    Size,
    /// A list of texts.
    Texts,
    /// Any table.
    Json,
    /// A table with these keys inside its section.
    Table(&'static [Key]),
    /// A table with these keys, or the value of the named one of them alone.
    Short(&'static str, &'static [Key]),
    /// A section: `[name]`.
    Section(&'static [Key]),
    /// Sections, any number: `[[name]]`.
    Sections(&'static [Key]),
}

impl Form {
    /// The keys of the table or section that this is.
    #[must_use]
    pub const fn inside(self) -> Option<&'static [Key]> {
        match self {
            Self::Table(keys) | Self::Short(_, keys) | Self::Section(keys) | Self::Sections(keys) => Some(keys),
            _ => None,
        }
    }
}

/// What holds where a key is absent.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// This value, written as in TOML.
    Is(&'static str),
    /// No value; the documentation says this about it (Markdown).
    Says(&'static str),
}

/// What a running daemon does with a change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It takes effect at once. Of a section: what its keys say.
    Live,
    /// It takes effect at the next start.
    Restart,
}

/// A key whose change takes effect at once.
#[must_use]
pub const fn live(name: &'static str, form: Form, fallback: Fallback, doc: &'static str) -> Key {
    Key { name, form, fallback, reload: Reload::Live, doc }
}

/// A key whose change takes effect at the next start.
#[must_use]
pub const fn restart(name: &'static str, form: Form, fallback: Fallback, doc: &'static str) -> Key {
    Key { name, form, fallback, reload: Reload::Restart, doc }
}
