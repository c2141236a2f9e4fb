//! The specification of a user's API keys. Of the model `Drf` there is one that isn't revoked; of the other several, each
//! with a name that need not be its own alone. Keys of one model are in nobody's way of the other.

use super::purge::{is_one_of, without_the_first};
use super::words::{Answer, Call, ErrorReason as E, KeyModel, KeyRow, Made, Name, TokenState};

/// A key that was made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// What it is called in public.
    prefix: Name,
    /// The key itself.
    text: Name,
    model: KeyModel,
    name: u8,
    /// By a credential change, or replaced by a newer one of its name.
    revoked: bool,
    request: Option<u8>,
}

/// A key, as asked for.
#[derive(Debug, Clone, Copy)]
pub struct Creation {
    pub model: KeyModel,
    pub name: u8,
    pub replace: bool,
    pub request: Option<u8>,
}

/// A user's keys, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Keys {
    made: Vec<Key>,
}

impl Key {
    /// A suspended user's key is suspended: it comes back with the user, unless it was revoked.
    fn state(&self, user_active: bool) -> TokenState {
        if !user_active {
            TokenState::UserInactive
        } else if self.revoked {
            TokenState::Revoked
        } else {
            TokenState::Active
        }
    }

    fn row(&self, user_active: bool) -> KeyRow {
        KeyRow { prefix: self.prefix, model: self.model, name: self.name, state: self.state(user_active) }
    }

    /// Whether it gives way to a new one.
    fn is_replaced_by(&self, new: Creation) -> bool {
        !self.revoked && self.model == new.model && (self.model == KeyModel::Drf || self.name == new.name)
    }

    /// Without a prefix all of the model `Drf` are meant.
    fn is_meant_by(&self, prefix: Option<Name>) -> bool {
        prefix.map_or(self.model == KeyModel::Drf, |prefix| self.prefix == prefix)
    }
}

impl Keys {
    /// Of an active user. The same request again is answered the same key, whatever became of it, for as long as it is
    /// there, also if its server makes keys of another model now; after its deletion it is made anew.
    pub fn create(&mut self, creation: Creation, made: Made) -> Answer {
        let Creation { model, name, replace, request } = creation;
        let earlier = self.made.iter().rev().find(|key| request.is_some() && key.request == request);
        if let Some(earlier) = earlier {
            return Answer::KeyMade(earlier.row(true), earlier.text);
        }
        let mut in_the_way = self.made.iter_mut().filter(|key| key.is_replaced_by(creation)).peekable();
        if model == KeyModel::Drf && !replace && in_the_way.peek().is_some() {
            return Answer::refused(E::AuthTokenExists);
        }
        for key in in_the_way.filter(|_| replace) {
            key.revoked = true;
        }
        let key = Key { prefix: made.name, text: made.value, model, name, revoked: false, request };
        let answer = Answer::KeyMade(key.row(true), key.text);
        self.made.push(key);
        answer
    }

    /// A question: whose key is this, and is it good?
    pub fn authenticate(&self, key: Name, user_active: bool) -> Answer {
        match self.made.iter().find(|made| made.text == key) {
            None => Answer::Authenticated(TokenState::Unknown, None),
            Some(key) => Answer::Authenticated(key.state(user_active), Some(key.row(user_active))),
        }
    }

    /// Of several that are meant the newest.
    pub fn get(&self, prefix: Option<Name>, user_active: bool) -> Answer {
        match self.made.iter().rfind(|key| key.is_meant_by(prefix)) {
            None => Answer::refused(E::AuthTokenNotFound),
            Some(key) => Answer::Key(key.row(user_active)),
        }
    }

    pub fn list(&self, user_active: bool) -> Answer {
        Answer::Keys(self.made.iter().rev().map(|key| key.row(user_active)).collect())
    }

    /// Whatever its state: what was deleted is unknown.
    pub fn delete(&mut self, prefix: Option<Name>) -> Answer {
        let before = self.made.len();
        self.made.retain(|key| !key.is_meant_by(prefix));
        Answer::Count(count(before - self.made.len()))
    }

    /// What a purge may have left, of the keys that a call is about.
    pub fn purged(&self, call: &Call, answer: Option<&Answer>) -> Vec<Self> {
        match (call, answer) {
            (Call::CreateKey { request: Some(request), .. }, _) => {
                self.without(|made| made.request == Some(*request))
            }
            (Call::Authenticate { key }, _) => self.without(|made| made.text == *key),
            (Call::GetKey { prefix } | Call::DeleteKey { prefix }, _) => {
                self.without(|made| made.is_meant_by(*prefix))
            }
            (Call::ListKeys, Some(Answer::Keys(rows))) => {
                let is_listed = |made: &Key| rows.iter().any(|row| row.prefix == made.prefix);
                self.without(|made| !is_listed(made)).pop().into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Without the newest of those that are over and meant, the two newest, and so on.
    fn without(&self, is_meant: impl Fn(&Key) -> bool) -> Vec<Self> {
        let is_over = |n: &usize| self.made[*n].revoked && is_meant(&self.made[*n]);
        let over: Vec<_> = (0..self.made.len()).rev().filter(is_over).collect();
        without_the_first(&self.made, &over).into_iter().map(|made| Self { made }).collect()
    }

    /// Loses so many of those that are over, if there are.
    pub fn lose(&mut self, gone: &mut i64) {
        self.made.retain(|key| !key.revoked || !is_one_of(gone));
    }

    /// Answers how many this ended.
    pub fn revoke(&mut self) -> i64 {
        let live = self.live();
        for key in &mut self.made {
            key.revoked = true;
        }
        live
    }

    pub fn prefixes(&self) -> impl Iterator<Item = Name> {
        self.made.iter().map(|key| key.prefix)
    }

    /// How many are good, or would be if their user were active.
    pub fn live(&self) -> i64 {
        count(self.made.iter().filter(|key| !key.revoked).count())
    }

    pub fn all(&self) -> i64 {
        count(self.made.len())
    }
}

fn count(keys: usize) -> i64 {
    i64::try_from(keys).unwrap_or(i64::MAX)
}
