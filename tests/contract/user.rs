//! The specification of a user: what each call changes and is answered.

use std::collections::BTreeMap;

use super::keys::{Creation, Keys};
use super::one_time::{Claim, Issue, Tokens};
use super::session::Session;
use super::words::{
    Answer, Call, Counts, ErrorReason as E, Made, Name, Purpose, RevocationReason, Session as SessionNumber,
    TokenState,
};

/// A user and everything of theirs. The default is a user never seen.
///
/// An inactive user never has a live session: whatever makes a user inactive ends them, and nothing is opened for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct User {
    account: Option<Account>,
    pub(super) sessions: BTreeMap<SessionNumber, Session>,
    pub(super) tokens: BTreeMap<Purpose, Tokens>,
    pub(super) keys: Keys,
    /// What credential changes were answered, by their request.
    changes: BTreeMap<u8, (Name, Counts)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Account {
    active: bool,
    version: Name,
}

/// What a credential change leaves alone.
#[derive(Debug, Clone, Copy)]
struct Kept {
    session: Option<SessionNumber>,
    purpose: Option<Purpose>,
    keys: bool,
}

impl User {
    pub fn is_known(&self) -> bool {
        self.account.is_some()
    }

    /// The challenges and prefixes of the user's tokens and keys.
    pub fn made(&self) -> impl Iterator<Item = Name> {
        self.tokens.values().flat_map(Tokens::challenges).chain(self.keys.prefixes())
    }

    /// What the call does and is answered. The server makes up `made`, if it gets that far.
    pub fn step(&self, call: &Call, made: Made) -> (Self, Answer) {
        let mut after = self.clone();
        let answer = after.carry_out(call, made);
        (after, answer)
    }

    fn carry_out(&mut self, call: &Call, made: Made) -> Answer {
        let active = self.account.is_none_or(|account| account.active);
        let no_session = || Answer::refused(E::SessionNotFound);
        match *call {
            Call::Add { session, jti, enabled, strict, version } => {
                if let Some(refusal) = self.may_have_more(version, made) {
                    return refusal;
                }
                if let Some(known) = self.sessions.get(&session) {
                    return known.opened_again(jti, active);
                }
                let opened = Session::open(jti, enabled, strict);
                let answer = Answer::Session(opened.row(true));
                self.sessions.insert(session, opened);
                answer
            }
            Call::Rotate { session, jti, new_jti } => match self.sessions.get_mut(&session) {
                _ if new_jti == Some(jti) => Answer::refused(E::InvalidRequest),
                None => no_session(),
                Some(session) => session.rotate(jti, new_jti, made, active),
            },
            Call::CheckToken { session, jti } => match self.sessions.get(&session) {
                None => Answer::Asked(TokenState::Unknown, None),
                Some(session) => session.check(jti, active),
            },
            Call::CheckSession { session } => Answer::State(
                self.sessions.get(&session).map_or(TokenState::Unknown, |session| session.state(active)),
            ),
            Call::GetSession { session } => match self.sessions.get(&session) {
                None => no_session(),
                Some(session) => Answer::Session(session.row(active)),
            },
            Call::ListSessions => {
                let rows = self.sessions.iter().map(|(number, session)| (*number, session.row(active)));
                Answer::Sessions(rows.collect())
            }
            Call::SetEnabled { session, enabled } => match self.sessions.get_mut(&session) {
                None => no_session(),
                Some(session) => session.set_enabled(enabled, active),
            },
            Call::RevokeSession { session, reason } => {
                Answer::Count(self.sessions.get_mut(&session).map_or(0, |session| session.revoke(reason)))
            }
            Call::RevokeSessions { except, reason } => Answer::Count(self.revoke_sessions(except, reason)),
            Call::Issue { purpose, wanted, max_attempts, keep_existing, request } => {
                let issue = Issue { wanted, max_attempts, keep_existing, request };
                match self.may_have_more(None, made) {
                    Some(refusal) => refusal,
                    None => self.tokens.entry(purpose).or_default().issue(issue, made),
                }
            }
            Call::Consume { purpose, value, names_user, challenge, id } => {
                let claim = Claim { value, names_user, challenge, id };
                match self.tokens.get_mut(&purpose) {
                    None => Tokens::default().consume(claim, active),
                    Some(tokens) => tokens.consume(claim, active),
                }
            }
            Call::CheckSecret { purpose, value } => match self.tokens.get(&purpose) {
                None => Tokens::default().check(value, active),
                Some(tokens) => tokens.check(value, active),
            },
            Call::ListTokens { purpose } => {
                Answer::Tokens(self.tokens.get(&purpose).map_or_else(Vec::new, |tokens| tokens.list(active)))
            }
            Call::RevokeTokens { purpose } => {
                Answer::Count(self.revoke_tokens(|p| purpose.is_none_or(|only| p == only)))
            }
            Call::CreateKey { model, name, replace, request } => match self.may_have_more(None, made) {
                Some(refusal) => refusal,
                None => self.keys.create(Creation { model, name, replace, request }, made),
            },
            Call::Authenticate { key } => self.keys.authenticate(key, active),
            Call::GetKey { prefix } => self.keys.get(prefix, active),
            Call::ListKeys => self.keys.list(active),
            Call::DeleteKey { prefix } => self.keys.delete(prefix),
            Call::CreateUser => {
                let Account { active, version } = self.create(true, made);
                Answer::User { active, version }
            }
            Call::GetUser => match self.account {
                None => Answer::refused(E::UserNotFound),
                Some(Account { active, version }) => {
                    let sessions = self.sessions.values().filter(|session| session.is_live()).count();
                    let tokens = self.tokens.values().map(Tokens::live).sum();
                    let counts = counts(sessions, tokens, self.keys.live());
                    Answer::Counted { active, version, counts }
                }
            },
            Call::SetActive { active } => self.set_active(active, made),
            Call::RevokeCredentials { except, keep, keep_keys, request } => {
                let kept = Kept { session: except, purpose: keep, keys: keep_keys };
                self.change_credentials(kept, request, made)
            }
            Call::DeleteUser => {
                let tokens = self.tokens.values().map(Tokens::all).sum();
                let deleted = counts(self.sessions.len(), tokens, self.keys.all());
                *self = Self::default();
                Answer::Deleted(deleted)
            }
        }
    }

    /// Why nothing more is opened or issued for this user; a user never seen is created.
    fn may_have_more(&mut self, version: Option<Name>, made: Made) -> Option<Answer> {
        if self.account.is_none() && version.is_some() {
            return Some(Answer::refused(E::UserNotFound));
        }
        let account = self.create(true, made);
        if !account.active {
            Some(Answer::refused(E::UserInactive))
        } else if version.is_some_and(|version| version != account.version) {
            Some(Answer::refused(E::CredentialsChanged))
        } else {
            None
        }
    }

    fn create(&mut self, active: bool, made: Made) -> Account {
        *self.account.get_or_insert(Account { active, version: made.version })
    }

    fn revoke_sessions(&mut self, except: Option<SessionNumber>, reason: RevocationReason) -> i64 {
        let others = self.sessions.iter_mut().filter(|(number, _)| Some(**number) != except);
        others.map(|(_, session)| session.revoke(reason)).sum()
    }

    fn revoke_tokens(&mut self, of: impl Fn(Purpose) -> bool) -> i64 {
        self.tokens.iter_mut().filter(|(purpose, _)| of(**purpose)).map(|(_, tokens)| tokens.revoke()).sum()
    }

    /// A suspension ends everything but keys, which it suspends, and moves the version; its end revives nothing else.
    fn set_active(&mut self, active: bool, made: Made) -> Answer {
        let before = self.account;
        let mut account = self.create(active, made);
        account.active = active;
        if !active && before.is_some_and(|before| before.active) {
            account.version = made.version;
        }
        self.account = Some(account);
        let mut ended = Counts::default();
        if !active {
            ended.sessions = self.revoke_sessions(None, RevocationReason::UserDeactivated);
            ended.tokens = self.revoke_tokens(|_| true);
        }
        Answer::Counted { active, version: account.version, counts: ended }
    }

    /// The same request again is answered the same, and ends nothing more.
    fn change_credentials(&mut self, kept: Kept, request: Option<u8>, made: Made) -> Answer {
        let account = self.create(true, made);
        if let Some((version, counts)) = request.and_then(|request| self.changes.get(&request)) {
            return Answer::Counted { active: account.active, version: *version, counts: *counts };
        }
        let account = Account { version: made.version, ..account };
        self.account = Some(account);
        let ended = Counts {
            sessions: self.revoke_sessions(kept.session, RevocationReason::CredentialChange),
            tokens: self.revoke_tokens(|purpose| Some(purpose) != kept.purpose),
            keys: if kept.keys { 0 } else { self.keys.revoke() },
        };
        if let Some(request) = request {
            self.changes.insert(request, (account.version, ended));
        }
        Answer::Counted { active: account.active, version: account.version, counts: ended }
    }
}

fn counts(sessions: usize, tokens: i64, keys: i64) -> Counts {
    Counts { sessions: i64::try_from(sessions).unwrap_or(i64::MAX), tokens, keys }
}
