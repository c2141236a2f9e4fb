//! The specification of a purge: what is over may be gone, at any moment after the purge began. Each thing by itself: a
//! purge goes through the tables in steps, and leaves what somebody holds to the next one.
//!
//! What is over does nothing any more but be asked about. So it is left open what is gone until a call shows it, and then
//! as little is taken to be gone as must be. What lives is never gone, and nothing that is gone comes back.

use super::user::User;
use super::words::{Answer, Call, Counts, Session};

impl User {
    /// The other users that this one may be, where a purge took some of what the call is about.
    pub fn purged(&self, call: &Call, answer: Option<&Answer>) -> Vec<Self> {
        match (call, answer) {
            (
                Call::Add { session, .. }
                | Call::Rotate { session, .. }
                | Call::CheckToken { session, .. }
                | Call::CheckSession { session }
                | Call::GetSession { session }
                | Call::SetEnabled { session, .. },
                _,
            ) => self.without_sessions(|number| number == *session),
            (Call::ListSessions, Some(Answer::Sessions(rows))) => {
                self.without_sessions(|number| rows.iter().all(|(listed, _)| *listed != number))
            }
            (
                Call::Issue { purpose, .. }
                | Call::Consume { purpose, .. }
                | Call::CheckSecret { purpose, .. }
                | Call::ListTokens { purpose },
                _,
            ) => {
                let purged = self.tokens.get(purpose).map(|tokens| tokens.purged(call, answer));
                let with = |tokens| {
                    let mut user = self.clone();
                    user.tokens.insert(*purpose, tokens);
                    user
                };
                purged.into_iter().flatten().map(with).collect()
            }
            (Call::DeleteUser, Some(Answer::Deleted(counts))) => vec![self.with_so_many(*counts)],
            _ => {
                let with = |keys| {
                    let mut user = self.clone();
                    user.keys = keys;
                    user
                };
                self.keys.purged(call, answer).into_iter().map(with).collect()
            }
        }
    }

    /// Without those sessions that are over; none if there are none.
    fn without_sessions(&self, is_meant: impl Fn(Session) -> bool) -> Vec<Self> {
        let mut user = self.clone();
        user.sessions.retain(|number, session| session.is_live() || !is_meant(*number));
        if user.sessions.len() == self.sessions.len() { Vec::new() } else { vec![user] }
    }

    /// With no more of each kind than these, if that many are over. Which ones doesn't matter: all go now.
    fn with_so_many(&self, counts: Counts) -> Self {
        let mut user = self.clone();
        let mut gone = i64::try_from(user.sessions.len()).unwrap_or(i64::MAX) - counts.sessions;
        user.sessions.retain(|_, session| session.is_live() || !is_one_of(&mut gone));
        let mut gone = user.tokens.values().map(super::one_time::Tokens::all).sum::<i64>() - counts.tokens;
        for tokens in user.tokens.values_mut() {
            tokens.lose(&mut gone);
        }
        user.keys.lose(&mut user.keys.all().saturating_sub(counts.keys));
        user
    }
}

/// Counts down while there is something left to count.
pub fn is_one_of(left: &mut i64) -> bool {
    let is_one = *left > 0;
    *left -= i64::from(is_one);
    is_one
}

/// Without the first of some things, without the first two, and so on: one who looks through them in this order finds
/// each in turn, and at last none.
pub fn without_the_first<T: Clone>(things: &[T], in_order: &[usize]) -> Vec<Vec<T>> {
    let without = |gone: &[usize]| {
        let left = things.iter().enumerate().filter(|(n, _)| !gone.contains(n));
        left.map(|(_, thing)| thing.clone()).collect()
    };
    (1..=in_order.len()).map(|n| without(&in_order[..n])).collect()
}
