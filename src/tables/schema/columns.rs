//! The columns of each table that reports can be made of, each with what it holds: one that is mistyped, or read as
//! something else than it is, does not compile.

use super::{Column, Kind, Presence};
use std::borrow::Cow;
use std::marker::PhantomData;

/// What a column holds, as a type: which [`Kind`] it is. What its cells are in memory says
/// [`ReadCells`](crate::tables::chunk::ReadCells).
pub trait ColumnType {
    /// The kind that sources deliver.
    const KIND: Kind;
}

macro_rules! column_types {
    ($($name:ident),*) => {$(
        #[doc = concat!("[`Kind::", stringify!($name), "`] as a type.")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name;

        impl ColumnType for $name {
            const KIND: Kind = Kind::$name;
        }
    )*};
}

column_types!(Text, Bool, Count, Decimal, Instant, Entries, CompletedCount, LastUpdated, Json);

/// A column of a table, by its name and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypedColumn<T> {
    name: &'static str,
    holds: PhantomData<T>,
}

impl<T: ColumnType> TypedColumn<T> {
    const fn new(name: &'static str) -> Self {
        Self { name, holds: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Asks for it as a part of the key, see [`Presence::Key`].
    #[must_use]
    pub const fn key(self) -> Column {
        self.with(Presence::Key)
    }

    /// Asks for it, see [`Presence::Required`].
    #[must_use]
    pub const fn required(self) -> Column {
        self.with(Presence::Required)
    }

    /// Asks for it, see [`Presence::Optional`].
    #[must_use]
    pub const fn optional(self) -> Column {
        self.with(Presence::Optional)
    }

    const fn with(self, presence: Presence) -> Column {
        Column { name: Cow::Borrowed(self.name), kind: T::KIND, presence }
    }
}

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident { $($column:ident: $kind:ident = $name:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        pub mod $table {
            use super::TypedColumn;

            /// The names of the columns, in the order of the table.
            pub const NAMES: &[&str] = &[$($name),*];

            $(
                #[doc = concat!("`", $name, "`")]
                pub const $column: TypedColumn<super::$kind> = TypedColumn::new($name);
            )*
        }
    )*};
}

tables! {
    /// `course_batch`
    course_batch {
        COURSEID: Text = "courseid",
        BATCHID: Text = "batchid",
        NAME: Text = "name",
        ENDDATE: Instant = "enddate",
    }
    /// `content`; requests may name further columns of it.
    content {
        IDENTIFIER: Text = "identifier",
        NAME: Text = "name",
        CHANNEL: Text = "channel",
        FRAMEWORK: Json = "framework",
        CONTENT_TYPE: Text = "contentType",
        LEAF_NODES_COUNT: Count = "leafNodesCount",
    }
    /// `content_hierarchy`
    content_hierarchy {
        IDENTIFIER: Text = "identifier",
        HIERARCHY: Text = "hierarchy",
    }
    /// `user`
    user {
        USERID: Text = "userid",
        FIRSTNAME: Text = "firstname",
        LASTNAME: Text = "lastname",
        MASKEDEMAIL: Text = "maskedemail",
        MASKEDPHONE: Text = "maskedphone",
        EXTERNALID: Text = "externalid",
        ORGNAME: Text = "orgname",
        SCHOOLNAME: Text = "schoolname",
        SCHOOLUDISECODE: Text = "schooludisecode",
        STATE: Text = "state",
        DISTRICT: Text = "district",
        BLOCK: Text = "block",
        USERCHANNEL: Text = "userchannel",
    }
    /// `user_enrolments`
    user_enrolments {
        BATCHID: Text = "batchid",
        USERID: Text = "userid",
        COURSEID: Text = "courseid",
        ACTIVE: Bool = "active",
        ENROLLEDDATE: Instant = "enrolleddate",
        COMPLETEDON: Instant = "completedon",
        CERTIFICATES: Entries = "certificates",
        ISSUED_CERTIFICATES: Entries = "issued_certificates",
    }
    /// `user_activity_agg`
    user_activity_agg {
        ACTIVITY_ID: Text = "activity_id",
        USER_ID: Text = "user_id",
        CONTEXT_ID: Text = "context_id",
        AGG: CompletedCount = "agg",
        AGG_LAST_UPDATED: LastUpdated = "agg_last_updated",
    }
    /// `assessment_aggregator`
    assessment_aggregator {
        COURSE_ID: Text = "course_id",
        BATCH_ID: Text = "batch_id",
        USER_ID: Text = "user_id",
        CONTENT_ID: Text = "content_id",
        ATTEMPT_ID: Text = "attempt_id",
        TOTAL_SCORE: Decimal = "total_score",
        TOTAL_MAX_SCORE: Decimal = "total_max_score",
        GRAND_TOTAL: Text = "grand_total",
        LAST_ATTEMPTED_ON: Instant = "last_attempted_on",
    }
}
