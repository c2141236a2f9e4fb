//! API keys: of users who have none here.

use std::time::SystemTime;

use super::super::connection::{Connection, StatementError};
use super::super::rows::placed;
use super::super::statements::{IMPORT_ADD_AUTH, IMPORT_JUDGE_AUTH};
use super::undone_on_error;
use super::users::Judged;
use crate::import::batch::{Batch, Fate, OldKey};
use crate::import::rules::Kept;

/// Brings API keys: those of users who have none here. They outlive a suspension, there and here.
pub(super) async fn add_keys(
    c: &Connection,
    batch: &Batch,
    judged: &Judged<'_>,
) -> Result<Vec<Fate>, StatementError> {
    let rows: Vec<&OldKey> = batch.keys.iter().collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let arrays = |rows: &[&OldKey]| {
        let users: Vec<String> = rows.iter().map(|old| old.user_id.to_string()).collect();
        let digests: Vec<Vec<u8>> = rows.iter().map(|old| old.digest.to_vec()).collect();
        let prefixes: Vec<String> = rows.iter().map(|old| old.prefix.clone()).collect();
        (users, digests, prefixes)
    };
    let (users, digests, prefixes) = arrays(&rows);
    let [known] = c.proceed([(&IMPORT_JUDGE_AUTH, &[&users, &digests, &prefixes])]).await?;
    let read = placed(rows.len(), &known.rows, |row| Ok((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)));
    let known: Vec<Option<(bool, bool, bool)>> = undone_on_error(c, read).await?;
    let fate = |(old, known): (&&OldKey, &Option<(bool, bool, bool)>)| {
        if !judged.owners.contains_key(old.user_id.as_str()) {
            return Fate::Kept(Kept::Deleted);
        }
        match known.unwrap_or_default() {
            (_, true, _) => Fate::Same,
            (true, false, _) => Fate::Kept(Kept::Deleted),
            (false, false, true) => Fate::OtherKeyIsHere,
            (false, false, false) => Fate::New { ended: false, from_now: false, expired: false },
        }
    };
    let fates: Vec<Fate> = rows.iter().zip(&known).map(fate).collect();
    let new: Vec<&OldKey> = rows
        .iter()
        .zip(&fates)
        .filter(|(_, fate)| matches!(fate, Fate::New { .. }))
        .map(|(old, _)| *old)
        .collect();
    if !new.is_empty() {
        let (users, digests, prefixes) = arrays(&new);
        let created: Vec<SystemTime> = new.iter().map(|old| old.created).collect();
        c.proceed([(&IMPORT_ADD_AUTH, &[&users, &digests, &prefixes, &created])]).await?;
    }
    Ok(fates)
}
