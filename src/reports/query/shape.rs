//! What decides, besides the query, which files a request for a report in SQL gets and what is in them.

/// How the rows of a query become files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// One file for each batch of the request, by the column [`BATCH_ID`].
    Batch,
    /// One file for each value of this column.
    Column(String),
    /// One file.
    Whole,
}

/// The column of the result that says which batch a row is of.
pub const BATCH_ID: &str = "batchid";

/// What the file is called that has all rows.
pub const ALL: &str = "all";

/// What the file is called whose rows have null in the column that says which file they are in. No value is empty.
pub const NULL: &str = "";

impl Split {
    /// The column of the result that says in which file a row is.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Batch => Some(BATCH_ID),
            Self::Column(name) => Some(name),
            Self::Whole => None,
        }
    }

    /// A file, for messages: by what it is called.
    #[must_use]
    pub fn label(&self, file: &str) -> String {
        match (self, file) {
            (Self::Batch, _) => format!("batch {file}"),
            (Self::Column(column), NULL) => format!("{column} null"),
            (Self::Column(column), _) => format!("{column} {file}"),
            (Self::Whole, _) => "the file".to_owned(),
        }
    }
}

/// A value of the request that a query may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The request's tag.
    Tag,
    /// For which channel it was submitted.
    Channel,
    /// Who asked for it.
    RequestedBy,
}

impl Placeholder {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Tag, Self::Channel, Self::RequestedBy];

    /// What stands for it in a query.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Tag => "{request.tag}",
            Self::Channel => "{request.channel}",
            Self::RequestedBy => "{request.requested_by}",
        }
    }
}

/// What a request gives to the query. Two requests share a file only if it is the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileShape {
    /// The placeholders that the query has, with their values.
    pub values: Vec<(&'static str, Option<String>)>,
    /// The ids of the request's batches, where a file has rows of more than one.
    pub batches: Option<Vec<String>>,
}

impl FileShape {
    /// The values as a question has them.
    #[must_use]
    pub fn question_values(&self) -> Vec<(&str, Option<&str>)> {
        self.values.iter().map(|(text, value)| (*text, value.as_deref())).collect()
    }
}
