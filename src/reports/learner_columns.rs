//! What reports show of each learner: the columns that they choose from, each with its heading and whether it is private.

use crate::tables::loaded::learners::{LearnerCell, LearnerColumn};
use crate::tables::schema::user::{
    BLOCK, DISTRICT, EXTERNALID, MASKEDEMAIL, MASKEDPHONE, ORGNAME, SCHOOLNAME, SCHOOLUDISECODE, STATE, USERID,
};
use crate::tables::schema::{Text, TypedColumn};

const fn public(heading: &'static str, column: TypedColumn<Text>) -> LearnerColumn {
    LearnerColumn { heading, cell: LearnerCell::Column(column), is_private: false }
}

const fn private(heading: &'static str, column: TypedColumn<Text>) -> LearnerColumn {
    LearnerColumn { heading, cell: LearnerCell::Column(column), is_private: true }
}

pub(super) const EXTERNAL_ID: LearnerColumn = private("External ID", EXTERNALID);
pub(super) const USER_ID: LearnerColumn = public("User ID", USERID);
pub(super) const USER_NAME: LearnerColumn =
    LearnerColumn { heading: "User Name", cell: LearnerCell::Name, is_private: false };
pub(super) const EMAIL_ID: LearnerColumn = public("Email ID", MASKEDEMAIL);
pub(super) const MOBILE_NUMBER: LearnerColumn = public("Mobile Number", MASKEDPHONE);
pub(super) const ORGANISATION_NAME: LearnerColumn = public("Organisation Name", ORGNAME);
pub(super) const STATE_NAME: LearnerColumn = public("State Name", STATE);
pub(super) const DISTRICT_NAME: LearnerColumn = public("District Name", DISTRICT);
pub(super) const SCHOOL_UDISE_CODE: LearnerColumn = private("School UDISE Code", SCHOOLUDISECODE);
pub(super) const SCHOOL_NAME: LearnerColumn = private("School Name", SCHOOLNAME);
pub(super) const BLOCK_NAME: LearnerColumn = private("Block Name", BLOCK);
