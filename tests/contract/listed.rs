//! What lists show of the order in which tokens and keys were made.

use std::collections::HashSet;

use super::history::{Event, NEVER};
use super::names_seen::is_never_seen;
use super::user::User;
use super::words::{Answer, Call, Name};

/// What lists of the history show of the making of tokens and keys, wherever in the history they are.
pub(super) struct Listed {
    /// Of each two, the newer one after the older one.
    pairs: HashSet<(Name, Name)>,
    /// Whether all that was made is in an answer, unless it was made when nobody asked any more.
    is_all_told: bool,
}

impl Listed {
    pub(super) fn of(history: &[Event], purged_from: u64) -> Self {
        // The key of a request may be deleted and made again; others are made once.
        let made_once = history.iter().filter_map(|event| match (&event.call, &event.answer) {
            (Call::CreateKey { request: None, .. }, Some(Answer::KeyMade(row, _))) => Some(row.prefix),
            _ => None,
        });
        let made_once: HashSet<_> = made_once.collect();
        let mut pairs = HashSet::new();
        for event in history {
            let newest_first: Vec<_> = match &event.answer {
                Some(Answer::Keys(rows)) => {
                    rows.iter().map(|row| row.prefix).filter(|prefix| made_once.contains(prefix)).collect()
                }
                Some(Answer::Tokens(rows)) => rows.iter().map(|row| row.challenge).collect(),
                _ => continue,
            };
            for (n, newer) in newest_first.iter().enumerate() {
                pairs.extend(newest_first[n + 1..].iter().map(|older| (*older, *newer)));
            }
        }
        Self { pairs, is_all_told: is_all_told(history, purged_from) }
    }

    /// Whether a step can't have been: something of this name was made by it, although there was something newer, or
    /// although it would have been told.
    pub(super) fn rules_out(&self, name: Name, before: &User, after: &User) -> bool {
        let is_newer = |other: Name| self.pairs.contains(&(name, other));
        let is_too_late = before.made().any(is_newer);
        let is_hidden = self.is_all_told && is_never_seen(name);
        (is_too_late || is_hidden)
            && !before.made().any(|made| made == name)
            && after.made().any(|made| made == name)
    }
}

/// Whether a history ends with lists of all tokens and keys, and none of them went before without being named.
fn is_all_told(history: &[Event], purged_from: u64) -> bool {
    let goes_unnamed = |call: &Call| matches!(call, Call::DeleteUser | Call::DeleteKey { prefix: None });
    if purged_from != NEVER || history.iter().any(|event| goes_unnamed(&event.call)) {
        return false;
    }
    let is_list = |call: &Call| matches!(call, Call::ListSessions | Call::ListKeys | Call::ListTokens { .. });
    let answered = || history.iter().filter(|event| event.answer.is_some());
    let others_ended = answered().filter(|event| !is_list(&event.call)).map(|event| event.ended).max();
    let is_at_end =
        |list: Call| answered().any(|event| event.call == list && Some(event.began) >= others_ended);
    let purposes = history.iter().filter_map(|event| match event.call {
        Call::Issue { purpose, .. } => Some(purpose),
        _ => None,
    });
    is_at_end(Call::ListKeys) && purposes.into_iter().all(|purpose| is_at_end(Call::ListTokens { purpose }))
}
