//! What callers do: mostly what a good client does, often at the wrong moment, and some of it what a thief would.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::words::{
    Answer, Call, ErrorReason, KeyModel, Name, Names, Purpose, RevocationReason, Session, TokenState, Value,
    Wanted, Which,
};

/// What a user's callers are mostly about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Rotations of few sessions.
    Sessions,
    /// One-time tokens.
    OneTime,
    /// Everything, and mostly what ends everything.
    User,
    /// API keys.
    Keys,
}

impl Theme {
    pub const ALL: [Self; 4] = [Self::Sessions, Self::OneTime, Self::User, Self::Keys];
}

/// What callers know of their user between them. It may be out of date: nobody waits for the others.
#[derive(Debug, Default)]
pub struct Known {
    /// The models of API keys that there are servers of.
    models: Vec<KeyModel>,
    open: Vec<Open>,
    /// All sessions ever opened.
    opened: Session,
    values: Vec<(Purpose, Value, Name)>,
    /// Prefixes and keys.
    keys: Vec<(Name, Name)>,
    versions: Vec<Name>,
    suspended: bool,
    jtis: u32,
}

/// A session, as far as is known.
#[derive(Debug)]
struct Open {
    session: Session,
    /// The last one that anybody was told is the last here.
    jtis: Vec<Name>,
}

/// Beginnings of calls, with how often each comes.
type Weights = &'static [(u32, Kind)];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Add,
    Rotate,
    CheckToken,
    CheckSession,
    GetSession,
    ListSessions,
    SetEnabled,
    RevokeSession,
    RevokeSessions,
    Issue,
    Consume,
    CheckSecret,
    ListTokens,
    RevokeTokens,
    CreateKey,
    Authenticate,
    GetKey,
    ListKeys,
    DeleteKey,
    CreateUser,
    GetUser,
    SetActive,
    RevokeCredentials,
    DeleteUser,
}

const SESSIONS: Weights = &[
    (40, Kind::Add),
    (500, Kind::Rotate),
    (80, Kind::CheckToken),
    (160, Kind::CheckSession),
    (50, Kind::GetSession),
    (20, Kind::ListSessions),
    (40, Kind::SetEnabled),
    (25, Kind::RevokeSession),
    (8, Kind::RevokeSessions),
    (10, Kind::GetUser),
];
const ONE_TIME: Weights = &[
    (200, Kind::Issue),
    (440, Kind::Consume),
    (120, Kind::CheckSecret),
    (80, Kind::ListTokens),
    (30, Kind::RevokeTokens),
    (15, Kind::RevokeCredentials),
    (10, Kind::SetActive),
    (20, Kind::GetUser),
];
const USER: Weights = &[
    (190, Kind::Add),
    (220, Kind::Rotate),
    (40, Kind::CheckToken),
    (120, Kind::CheckSession),
    (30, Kind::GetSession),
    (40, Kind::ListSessions),
    (20, Kind::SetEnabled),
    (30, Kind::RevokeSession),
    (60, Kind::RevokeSessions),
    (60, Kind::Issue),
    (60, Kind::Consume),
    (20, Kind::ListTokens),
    (10, Kind::RevokeTokens),
    (30, Kind::CreateKey),
    (60, Kind::Authenticate),
    (20, Kind::CreateUser),
    (60, Kind::GetUser),
    (40, Kind::SetActive),
    (50, Kind::RevokeCredentials),
    (15, Kind::DeleteUser),
];

const KEYS: Weights = &[
    (180, Kind::CreateKey),
    (480, Kind::Authenticate),
    (40, Kind::GetKey),
    (50, Kind::ListKeys),
    (60, Kind::DeleteKey),
    (45, Kind::RevokeCredentials),
    (20, Kind::SetActive),
    (30, Kind::GetUser),
    (8, Kind::DeleteUser),
];

/// How many sessions are kept open.
const OPEN_MAX: usize = 3;
const PURPOSES: Purpose = 2;
/// The code that nobody is issued.
const WRONG: u8 = 9;

impl Known {
    /// Nothing yet, but what servers there are.
    pub fn of_servers(models: Vec<KeyModel>) -> Self {
        Self { models, ..Self::default() }
    }

    /// A jti that nobody has used before.
    fn new_jti(&mut self, names: &mut Names) -> Name {
        self.jtis += 1;
        names.of(&format!("jti-{}", self.jtis))
    }

    /// The sessions thought to be open.
    pub fn open_sessions(&self) -> Vec<Session> {
        self.open.iter().map(|open| open.session).collect()
    }

    /// All purposes.
    pub fn purposes() -> impl Iterator<Item = Purpose> {
        0..PURPOSES
    }

    /// Takes note of an answer.
    pub fn learn(&mut self, call: &Call, answer: &Answer) {
        match (call, answer) {
            (
                Call::Add { session, .. } | Call::Rotate { session, .. } | Call::GetSession { session },
                Answer::Session(row) | Answer::Rotated(_, row),
            ) => {
                if row.state == TokenState::Revoked {
                    self.close(*session);
                } else if let Some(open) = self.open.iter_mut().find(|open| open.session == *session)
                    && !open.jtis.contains(&row.jti)
                {
                    open.jtis.push(row.jti);
                }
            }
            (Call::CheckSession { session }, Answer::State(TokenState::Revoked | TokenState::Unknown))
            | (
                Call::Rotate { session, .. } | Call::SetEnabled { session, .. },
                Answer::Refused(
                    ErrorReason::SessionRevoked | ErrorReason::TokenReplayed | ErrorReason::SessionNotFound,
                    _,
                ),
            ) => self.close(*session),
            (_, Answer::Refused(ErrorReason::UserInactive, _)) => self.suspended = true,
            (Call::Issue { purpose, .. }, Answer::Issued(row, value)) => {
                self.values.push((*purpose, *value, row.challenge));
            }
            (_, Answer::KeyMade(row, key)) => {
                let pair = (row.prefix, *key);
                // The one that was spoken of last is the last here.
                self.keys.retain(|known| *known != pair);
                self.keys.push(pair);
            }
            (_, Answer::User { active, version } | Answer::Counted { active, version, .. }) => {
                self.suspended = !active;
                if self.versions.last() != Some(version) {
                    self.versions.push(*version);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, session: Session) {
        self.open.retain(|open| open.session != session);
    }

    /// A caller's next call.
    pub fn next(&mut self, theme: Theme, rng: &mut StdRng, names: &mut Names) -> Call {
        if self.suspended && rng.random_ratio(1, 4) {
            self.suspended = false;
            return Call::SetActive { active: true };
        }
        let weights = match theme {
            Theme::Sessions => SESSIONS,
            Theme::OneTime => ONE_TIME,
            Theme::User => USER,
            Theme::Keys => KEYS,
        };
        let kind = draw(weights, rng);
        self.call(kind, rng, names)
    }

    fn call(&mut self, kind: Kind, rng: &mut StdRng, names: &mut Names) -> Call {
        let purpose = rng.random_range(0..PURPOSES);
        match kind {
            Kind::Add => self.add(rng, names),
            Kind::Rotate => self.rotate(rng, names),
            Kind::CheckToken => {
                let Some(open) = self.some_open(rng) else { return self.add(rng, names) };
                let (session, jti) = (open.session, open.jtis[rng.random_range(0..open.jtis.len())]);
                Call::CheckToken { session, jti }
            }
            Kind::CheckSession => Call::CheckSession { session: self.some_session(rng) },
            Kind::GetSession => Call::GetSession { session: self.some_session(rng) },
            Kind::ListSessions => Call::ListSessions,
            Kind::SetEnabled => {
                Call::SetEnabled { session: self.some_session(rng), enabled: rng.random_ratio(3, 4) }
            }
            Kind::RevokeSession => {
                Call::RevokeSession { session: self.some_session(rng), reason: reason(rng) }
            }
            Kind::RevokeSessions => Call::RevokeSessions { except: self.spared(rng), reason: reason(rng) },
            Kind::Issue => issue(purpose, rng),
            Kind::Consume => self.consume(purpose, rng),
            Kind::CheckSecret => {
                let (purpose, value, _) = self.some_value(purpose, rng);
                Call::CheckSecret { purpose, value }
            }
            Kind::ListTokens => Call::ListTokens { purpose },
            Kind::RevokeTokens => Call::RevokeTokens { purpose: rng.random_bool(0.5).then_some(purpose) },
            Kind::CreateKey => self.create_key(rng),
            Kind::Authenticate => {
                self.some_key(rng).map_or_else(|| self.create_key(rng), |(_, key)| Call::Authenticate { key })
            }
            Kind::GetKey => self.some_prefix(rng).map_or(Call::ListKeys, |prefix| Call::GetKey { prefix }),
            Kind::ListKeys => Call::ListKeys,
            Kind::DeleteKey => {
                self.some_prefix(rng).map_or(Call::ListKeys, |prefix| Call::DeleteKey { prefix })
            }
            Kind::CreateUser => Call::CreateUser,
            Kind::GetUser => Call::GetUser,
            Kind::SetActive => Call::SetActive { active: rng.random_ratio(1, 4) },
            Kind::RevokeCredentials => Call::RevokeCredentials {
                except: self.spared(rng),
                keep: rng.random_ratio(1, 3).then_some(purpose),
                keep_keys: rng.random_ratio(1, 3),
                request: rng.random_ratio(1, 3).then(|| rng.random_range(0..4)),
            },
            Kind::DeleteUser => Call::DeleteUser,
        }
    }

    fn some_open(&self, rng: &mut StdRng) -> Option<&Open> {
        (!self.open.is_empty()).then(|| &self.open[rng.random_range(0..self.open.len())])
    }

    /// Mostly one that is open.
    fn some_session(&self, rng: &mut StdRng) -> Session {
        let any = if self.opened == 0 { 0 } else { rng.random_range(0..self.opened) };
        if rng.random_ratio(1, 20) { any } else { self.some_open(rng).map_or(any, |open| open.session) }
    }

    fn spared(&self, rng: &mut StdRng) -> Option<Session> {
        rng.random_ratio(1, 3).then(|| self.some_session(rng))
    }

    /// Opens another session, or the same again.
    fn add(&mut self, rng: &mut StdRng, names: &mut Names) -> Call {
        let strict = rng.random_ratio(1, 4);
        let enabled = !rng.random_ratio(1, 12);
        let version = if rng.random_ratio(1, 3) && !self.versions.is_empty() {
            let latest = self.versions.len() - 1;
            let n = if rng.random_ratio(1, 8) { rng.random_range(0..=latest) } else { latest };
            Some(self.versions[n])
        } else {
            None
        };
        if self.open.len() >= OPEN_MAX || rng.random_ratio(1, 10) || self.opened == Session::MAX {
            let again = self.some_open(rng).map(|open| (open.session, open.jtis[0]));
            if let Some((session, jti)) = again {
                return Call::Add { session, jti, enabled, strict, version };
            }
        }
        let (session, jti) = (self.opened, self.new_jti(names));
        self.opened = self.opened.saturating_add(1);
        self.open.push(Open { session, jtis: vec![jti] });
        Call::Add { session, jti, enabled, strict, version }
    }

    /// Mostly the jti that anybody was told last; now and then one before it, or one that never was.
    fn rotate(&mut self, rng: &mut StdRng, names: &mut Names) -> Call {
        let foreign = rng.random_ratio(1, 200).then(|| self.new_jti(names));
        let fresh = self.new_jti(names);
        let Some(open) = self.some_open(rng) else { return self.add(rng, names) };
        let n = open.jtis.len();
        let back = match rng.random_range(0..100) {
            0..87 => 1,
            87..98 => 2,
            _ => 3,
        };
        let jti = foreign.unwrap_or_else(|| open.jtis[n.saturating_sub(back)]);
        let new_jti = match rng.random_range(0..100) {
            0..70 => Some(fresh),
            70..82 => None,
            // The pair of the last rotation, if the jti is the one before it.
            82..97 => Some(open.jtis[n - 1]),
            _ => Some(open.jtis[n.saturating_sub(2)]),
        };
        // What is refused at once isn't worth many calls.
        let is_refused_at_once = new_jti == Some(jti) && !rng.random_ratio(1, 10);
        let new_jti = if is_refused_at_once { Some(fresh) } else { new_jti };
        Call::Rotate { session: open.session, jti, new_jti }
    }

    fn some_value(&self, purpose: Purpose, rng: &mut StdRng) -> (Purpose, Value, Option<Name>) {
        if self.values.is_empty() || rng.random_ratio(1, 6) {
            let value = Value { is_code: rng.random_ratio(3, 4), which: Which::Own(rng.random_range(0..5)) };
            return (purpose, value, None);
        }
        let recent = self.values.len().min(4);
        let (purpose, value, challenge) = self.values[self.values.len() - 1 - rng.random_range(0..recent)];
        (purpose, value, Some(challenge))
    }

    /// One of the last that anybody was told.
    fn some_key(&self, rng: &mut StdRng) -> Option<(Name, Name)> {
        let recent = self.keys.len().min(3);
        (recent > 0).then(|| self.keys[self.keys.len() - 1 - rng.random_range(0..recent)])
    }

    /// What to call a key by: its prefix, or nothing, where the one of 40 digits is meant.
    #[expect(clippy::option_option, reason = "to have no key is not to name none")]
    fn some_prefix(&self, rng: &mut StdRng) -> Option<Option<Name>> {
        if self.models.contains(&KeyModel::Drf) && rng.random_ratio(1, 3) {
            return Some(None);
        }
        self.some_key(rng).map(|(prefix, _)| Some(prefix))
    }

    /// A request that comes again is the same in everything, but perhaps sent to a server of the other model.
    fn create_key(&self, rng: &mut StdRng) -> Call {
        let model = self.models[rng.random_range(0..self.models.len())];
        let request = rng.random_ratio(1, 3).then(|| rng.random_range(0..4));
        let (name, replace) = match request {
            Some(request) => (request % 2, request >= 2),
            None => (rng.random_range(0..2), rng.random()),
        };
        Call::CreateKey { model, name, replace, request }
    }

    fn consume(&self, purpose: Purpose, rng: &mut StdRng) -> Call {
        let (purpose, value, challenge) = if rng.random_ratio(1, 4) {
            // A guess that is never right.
            (purpose, Value { is_code: true, which: Which::Own(WRONG) }, None)
        } else {
            self.some_value(purpose, rng)
        };
        Call::Consume {
            purpose,
            value,
            names_user: rng.random_ratio(if value.is_code { 49 } else { 25 }, 50),
            challenge: challenge.filter(|_| value.is_code && rng.random_ratio(1, 3)),
            id: rng.random_bool(0.6).then(|| rng.random_range(0..3)),
        }
    }
}

/// A request that comes again is the same in everything.
fn issue(purpose: Purpose, rng: &mut StdRng) -> Call {
    let request = rng.random_ratio(1, 3).then(|| rng.random_range(0..6));
    let kind = request.map_or_else(|| rng.random_range(0..8), |request| request % 4);
    let own = |is_code| Wanted::Own(Value { is_code, which: Which::Own(kind % 3) });
    let wanted = match kind {
        0 | 4 => Wanted::Secret,
        1 => Wanted::Digits,
        2 | 5 | 6 => own(true),
        _ => own(false),
    };
    Call::Issue {
        purpose,
        wanted,
        max_attempts: 3,
        keep_existing: request.is_none() && rng.random_ratio(1, 3),
        request,
    }
}

fn reason(rng: &mut StdRng) -> RevocationReason {
    if rng.random() { RevocationReason::Logout } else { RevocationReason::Administrative }
}

fn draw(weights: Weights, rng: &mut StdRng) -> Kind {
    let all: u32 = weights.iter().map(|(weight, _)| weight).sum();
    let mut left = rng.random_range(0..all);
    for (weight, kind) in weights {
        if left < *weight {
            return *kind;
        }
        left -= weight;
    }
    unreachable!("the weights add up")
}
