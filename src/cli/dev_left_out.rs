//! `dev` of a binary that was built without its development database.

use std::path::PathBuf;

use super::failure::Failure;
use crate::config::Flags;

#[expect(clippy::unused_async, reason = "the same shape as with the feature")]
pub(super) async fn dev(_data: Option<PathBuf>, _flags: &Flags) -> Result<(), Failure> {
    Err(Failure::Running(
        "this binary was built without its development database (cargo feature `embedded`); use serve with DATABASE_URL"
            .to_owned(),
    ))
}
