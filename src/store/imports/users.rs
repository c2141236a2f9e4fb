//! Users: who is there already, and whom an import suspends or reinstates.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::super::connection::{Done, StatementError};
use crate::import::batch::{Fate, OldUser};
use crate::import::rules::{self, Kept};
use crate::registry::RevocationReason;

/// A user as judged, for the rows that hang on it.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    active: bool,
    /// What is older than this there ended here by a change of credentials.
    changed: Option<SystemTime>,
}

impl Owner {
    /// Why a row of this age comes as ended, if it does.
    pub(super) fn ends(self, created: SystemTime) -> Option<RevocationReason> {
        if !self.active {
            Some(RevocationReason::UserDeactivated)
        } else if self.changed.is_some_and(|changed| created < changed) {
            Some(RevocationReason::CredentialChange)
        } else {
            None
        }
    }
}

/// Users, judged.
pub(super) struct Judged<'a> {
    pub(super) fates: Vec<Fate>,
    pub(super) owners: HashMap<&'a str, Owner>,
    /// To be suspended or reinstated.
    pub(super) switched: Vec<(&'a str, bool)>,
    pub(super) now: SystemTime,
}

pub(super) fn judge_users<'a>(
    users: &'a [OldUser],
    created: &Done,
    known: &Done,
) -> Result<Judged<'a>, StatementError> {
    let mut new = HashSet::new();
    for row in &created.rows {
        new.insert(row.try_get::<_, &str>(0)?);
    }
    let mut here = HashMap::new();
    let mut now = SystemTime::UNIX_EPOCH;
    for row in &known.rows {
        let (active, version): (bool, i64) = (row.try_get(1)?, row.try_get(2)?);
        let (seen_active, seen_version): (Option<bool>, Option<i64>) = (row.try_get(3)?, row.try_get(4)?);
        now = row.try_get(5)?;
        here.insert(row.try_get::<_, &str>(0)?, (active, version, seen_active, seen_version));
    }
    let mut judged = Judged { fates: Vec::new(), owners: HashMap::new(), switched: Vec::new(), now };
    for user in users {
        let user_id = user.user_id.as_str();
        let Some(&(active, version, seen_active, seen_version)) = here.get(user_id) else {
            judged.fates.push(Fate::Kept(Kept::Deleted));
            continue;
        };
        let to =
            if new.contains(user_id) { active } else { rules::user_active(user.active, seen_active, active) };
        if to != active {
            judged.switched.push((user_id, to));
        }
        let changed = seen_version.filter(|seen| *seen != version).map(|_| {
            SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(version).unwrap_or_default())
        });
        judged.owners.insert(user_id, Owner { active: to, changed });
        judged.fates.push(if new.contains(user_id) {
            Fate::New { ended: !to, from_now: false, expired: false }
        } else if to == active {
            Fate::Same
        } else {
            Fate::Changed
        });
    }
    Ok(judged)
}
