//! What becomes of a row: decided from how it is on the other side now, how it was there when last seen, and how it is
//! here. Whatever the registry has done itself stays.

use std::time::{Duration, SystemTime};

/// A session's changeable part, on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct There<'a> {
    /// The jti.
    pub jti: &'a str,
    /// The switch.
    pub enabled: bool,
}

/// A session in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Here<'a> {
    /// The jti.
    pub jti: &'a str,
    /// The switch.
    pub enabled: bool,
    /// Whether the registry has rotated it.
    pub rotated: bool,
    /// Whether it was revoked.
    pub revoked: bool,
}

/// Why a row stays as the registry has it, although the other side has it otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The registry has deleted it.
    Deleted,
    /// The registry has revoked it.
    Revoked,
    /// Both sides have rotated the session.
    RotatedOnBothSides,
    /// The registry opened a session of that name by itself, with another jti.
    OpenedHere,
}

impl Kept {
    /// In words for a person.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Deleted => "the registry has deleted it since the last import",
            Self::Revoked => "the registry has revoked it since the last import",
            Self::RotatedOnBothSides => "rotated on both sides since the last import; the registry's stays",
            Self::OpenedHere => {
                "the registry has a session of this name with another jti, which no import brought"
            }
        }
    }
}

/// What is to be done with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is new: add it.
    Add,
    /// Follow the other side, to this switch; `moved` if the jti is another, too.
    Follow {
        /// Whether the jti changes.
        moved: bool,
        /// The switch from now on.
        enabled: bool,
    },
    /// It is here already as it is there: only remember what was seen.
    See,
    /// Nothing happened there.
    Nothing,
    /// It stays as the registry has it.
    Keep(Kept),
}

/// Decides about a session.
#[must_use]
pub fn session_step(there: There<'_>, seen: Option<There<'_>>, here: Option<Here<'_>>) -> Step {
    let (seen, here) = match (seen, here) {
        (None, None) => return Step::Add,
        (Some(_), None) => return Step::Keep(Kept::Deleted),
        (None, Some(here)) if here.jti == there.jti => return Step::Nothing,
        (None, Some(_)) => return Step::Keep(Kept::OpenedHere),
        (Some(seen), Some(here)) => (seen, here),
    };
    if there == seen {
        return Step::Nothing;
    }
    if here.revoked {
        return Step::Keep(Kept::Revoked);
    }
    // The switch follows the other side unless the registry has turned it.
    let enabled = if here.enabled == seen.enabled { there.enabled } else { here.enabled };
    if there.jti == here.jti {
        return if enabled == here.enabled { Step::See } else { Step::Follow { moved: false, enabled } };
    }
    if there.jti == seen.jti {
        // Rotated here alone; only the switch was turned there.
        return if enabled == here.enabled { Step::See } else { Step::Follow { moved: false, enabled } };
    }
    if here.rotated || here.jti != seen.jti {
        return Step::Keep(Kept::RotatedOnBothSides);
    }
    Step::Follow { moved: true, enabled }
}

/// Whether a user is to be active here from now on.
#[must_use]
pub fn user_active(there: bool, seen: Option<bool>, here: bool) -> bool {
    // Never seen before: the registry knows them as active unless it has suspended them itself.
    if there == seen.unwrap_or(true) { here } else { there }
}

/// The lifetimes that sessions get, since the other side has none in its rows.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// From its opening.
    pub session: Duration,
    /// Without a rotation.
    pub idle: Duration,
    /// Refresh tokens older than this are over on the other side already; `None`: not known.
    pub refresh_token: Option<Duration>,
}

/// When a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Whatever happens.
    pub session: SystemTime,
    /// Without a rotation.
    pub idle: SystemTime,
    /// Whether one of the two is counted from now.
    pub from_now: bool,
}

impl Lifetimes {
    /// When a session ends whose current token was issued then: counted from there, or from now where it would be over
    /// at once. `known` is its end as an earlier import set it.
    #[must_use]
    pub fn ends(&self, created: SystemTime, known: Option<SystemTime>, now: SystemTime) -> Ends {
        // A clock that is ahead there must not make a session live longer.
        let created = created.min(now);
        let over_there = self.refresh_token.is_some_and(|lifetime| created + lifetime <= now);
        let mut from_now = false;
        let mut end = |from_created: SystemTime, lifetime: Duration| {
            if from_created > now || over_there {
                from_created
            } else {
                from_now = true;
                now + lifetime
            }
        };
        let session = end(known.unwrap_or(created + self.session), self.session);
        let idle = end(created + self.idle, self.idle).min(session);
        Ends { session, idle, from_now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: There<'static> = There { jti: "a", enabled: true };
    const B: There<'static> = There { jti: "b", enabled: true };

    fn here(jti: &'static str, rotated: bool) -> Here<'static> {
        Here { jti, enabled: true, rotated, revoked: false }
    }

    #[test]
    fn what_is_new_is_added_and_what_the_registry_deleted_stays_away() {
        assert_eq!(session_step(A, None, None), Step::Add);
        assert_eq!(session_step(A, Some(A), None), Step::Keep(Kept::Deleted));
    }

    #[test]
    fn a_session_follows_the_other_side_until_the_registry_rotates_it() {
        assert_eq!(session_step(A, Some(A), Some(here("a", false))), Step::Nothing);
        let follows = Step::Follow { moved: true, enabled: true };
        assert_eq!(session_step(B, Some(A), Some(here("a", false))), follows);
        assert_eq!(session_step(A, Some(A), Some(here("c", true))), Step::Nothing);
        assert_eq!(session_step(B, Some(A), Some(here("c", true))), Step::Keep(Kept::RotatedOnBothSides));
        // Even if the registry has come back to the old jti.
        assert_eq!(session_step(B, Some(A), Some(here("a", true))), Step::Keep(Kept::RotatedOnBothSides));
    }

    #[test]
    fn who_writes_to_both_sides_is_no_conflict() {
        assert_eq!(session_step(A, None, Some(here("a", false))), Step::Nothing);
        assert_eq!(session_step(B, Some(A), Some(here("b", true))), Step::See);
        assert_eq!(session_step(B, None, Some(here("a", false))), Step::Keep(Kept::OpenedHere));
    }

    #[test]
    fn a_revocation_stays() {
        let revoked = Here { revoked: true, ..here("a", false) };
        assert_eq!(session_step(A, Some(A), Some(revoked)), Step::Nothing);
        assert_eq!(session_step(B, Some(A), Some(revoked)), Step::Keep(Kept::Revoked));
    }

    #[test]
    fn the_switch_follows_unless_it_was_turned_here() {
        let off = There { enabled: false, ..A };
        let turned_on = Step::Follow { moved: false, enabled: true };
        assert_eq!(session_step(A, Some(off), Some(Here { enabled: false, ..here("a", false) })), turned_on);
        assert_eq!(session_step(A, Some(off), Some(here("a", false))), Step::See);
        // Turned off here, and rotated there: the jti follows, the switch doesn't.
        let here = Here { enabled: false, ..here("a", false) };
        assert_eq!(session_step(B, Some(A), Some(here)), Step::Follow { moved: true, enabled: false });
    }

    #[test]
    fn a_user_follows_the_other_side_only_where_that_has_changed() {
        assert!(user_active(true, Some(true), true));
        assert!(!user_active(true, Some(true), false), "suspended by the registry");
        assert!(!user_active(false, Some(true), true), "suspended there");
        assert!(user_active(true, Some(false), false), "reinstated there");
        assert!(!user_active(false, None, true));
        assert!(!user_active(true, None, false));
    }

    #[test]
    fn a_living_session_does_not_end_by_its_import() {
        let day = Duration::from_hours(24);
        let now = SystemTime::UNIX_EPOCH + day * 1000;
        let lifetimes = Lifetimes { session: day * 30, idle: day * 14, refresh_token: None };
        let ends = lifetimes.ends(now - day, None, now);
        assert_eq!(ends, Ends { session: now + day * 29, idle: now + day * 13, from_now: false });
        let ends = lifetimes.ends(now - day * 20, None, now);
        assert_eq!(ends, Ends { session: now + day * 10, idle: now + day * 10, from_now: true });
        let ends = lifetimes.ends(now - day * 60, None, now);
        assert_eq!(ends, Ends { session: now + day * 30, idle: now + day * 14, from_now: true });
        // A token that is over there is over here.
        let known = Lifetimes { refresh_token: Some(day * 14), ..lifetimes };
        assert_eq!(known.ends(now - day * 60, None, now).session, now - day * 30);
        // A clock that is ahead.
        assert_eq!(lifetimes.ends(now + day, None, now).idle, now + day * 14);
    }
}
