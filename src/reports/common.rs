//! The columns that all reports share: what they are called, where they come from, and who may see them.

use crate::columnar::encoded_rows::Layout;
use crate::tables::schema::{Column, Kind};

/// A column that reports share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Its heading.
    pub heading: &'static str,
    pub(crate) from: From,
    /// Empty for learners of other channels, under the privacy policy.
    private: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    UserId,
    Name,
    /// A column of `user`.
    User(&'static str),
}

const fn public(heading: &'static str, from: From) -> Common {
    Common { heading, from, private: false }
}

const fn private(heading: &'static str, column: &'static str) -> Common {
    Common { heading, from: From::User(column), private: true }
}

/// The shared columns, in order. The last one is Block Name.
pub static COMMON: [Common; 11] = [
    private("External ID", "externalid"),
    public("User ID", From::UserId),
    public("User Name", From::Name),
    public("Email ID", From::User("maskedemail")),
    public("Mobile Number", From::User("maskedphone")),
    public("Organisation Name", From::User("orgname")),
    public("State Name", From::User("state")),
    public("District Name", From::User("district")),
    private("School UDISE Code", "schooludisecode"),
    private("School Name", "schoolname"),
    private("Block Name", "block"),
];

/// What some shared columns need of `user`, in the table's order.
#[must_use]
pub fn users(common: &[Common]) -> Vec<Column> {
    const TABLE: [&str; 9] = [
        "maskedemail",
        "maskedphone",
        "externalid",
        "orgname",
        "schoolname",
        "schooludisecode",
        "state",
        "district",
        "block",
    ];
    if common.is_empty() {
        return Vec::new();
    }
    let text = |name| Column::optional(name, Kind::Text);
    let shown = |name: &&'static str| common.iter().any(|column| column.from == From::User(name));
    let mut columns = vec![Column::key("userid"), text("firstname"), text("lastname")];
    columns.extend(TABLE.into_iter().filter(|name| shown(name)).map(text));
    columns.push(text("userchannel"));
    columns
}

/// How they are laid out: the public ones stand together.
#[must_use]
pub fn layout(common: &[Common]) -> Layout {
    let start = common.iter().position(|column| !column.private).unwrap_or(common.len());
    let public = common[start..].iter().take_while(|column| !column.private).count();
    Layout { cells: common.len(), public: start..start + public }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_stands_before_and_after_what_is_not() {
        for shown in 0..=COMMON.len() {
            let common = &COMMON[..shown];
            let Layout { cells, public } = layout(common);
            assert_eq!(cells, shown);
            let is_public = |(at, column): (usize, &Common)| public.contains(&at) != column.private;
            assert!(common.iter().enumerate().all(is_public), "{shown}: {public:?}");
        }
    }
}
