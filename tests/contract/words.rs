//! Calls and answers, in the contract's words and without gRPC.

pub use token_registry::proto::{ErrorReason, RevocationReason, RotationOutcome, TokenState};

/// One of a user's sessions, by number.
pub type Session = u8;
/// One of the purposes of one-time tokens, by number.
pub type Purpose = u8;

/// A text that somebody made up: a jti, a credential version, a challenge, a value, an API key or its prefix. Its text is in [`Names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub u32);

/// The texts of a history's names.
#[derive(Debug, Default)]
pub struct Names {
    texts: Vec<String>,
    numbers: std::collections::HashMap<String, Name>,
}

impl Names {
    /// The name of a text.
    pub fn of(&mut self, text: &str) -> Name {
        if let Some(name) = self.numbers.get(text) {
            return *name;
        }
        let name = Name(u32::try_from(self.texts.len()).expect("a history has few names"));
        self.texts.push(text.to_owned());
        self.numbers.insert(text.to_owned(), name);
        name
    }

    /// The text of a name.
    pub fn text(&self, name: Name) -> &str {
        self.texts.get(name.0 as usize).map_or("(never seen)", String::as_str)
    }
}

/// The value of a one-time token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value {
    /// Whether it is short, so that guesses at it are counted.
    pub is_code: bool,
    pub which: Which,
}

/// Which value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// The server made it.
    Made(Name),
    /// The caller's own, by number.
    Own(u8),
}

/// What kind of API keys a server makes: that is its configuration. It answers about keys of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyModel {
    /// One key a user, of 40 digits.
    Drf,
    /// Several, each with a name that need not be its own alone.
    Prefixed,
}

/// What a caller asks for as the value of a one-time token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    Secret,
    Digits,
    Own(Value),
}

impl Wanted {
    pub fn is_code(self) -> bool {
        match self {
            Self::Secret => false,
            Self::Digits => true,
            Self::Own(value) => value.is_code,
        }
    }
}

/// A call about one user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Call {
    /// `strict`: with a rotation grace of 0; otherwise one that outlasts the history.
    Add {
        session: Session,
        jti: Name,
        enabled: bool,
        strict: bool,
        version: Option<Name>,
    },
    Rotate {
        session: Session,
        jti: Name,
        new_jti: Option<Name>,
    },
    CheckToken {
        session: Session,
        jti: Name,
    },
    CheckSession {
        session: Session,
    },
    GetSession {
        session: Session,
    },
    ListSessions,
    SetEnabled {
        session: Session,
        enabled: bool,
    },
    RevokeSession {
        session: Session,
        reason: RevocationReason,
    },
    RevokeSessions {
        except: Option<Session>,
        reason: RevocationReason,
    },
    Issue {
        purpose: Purpose,
        wanted: Wanted,
        max_attempts: u8,
        keep_existing: bool,
        request: Option<u8>,
    },
    Consume {
        purpose: Purpose,
        value: Value,
        names_user: bool,
        challenge: Option<Name>,
        id: Option<u8>,
    },
    CheckSecret {
        purpose: Purpose,
        value: Value,
    },
    ListTokens {
        purpose: Purpose,
    },
    RevokeTokens {
        purpose: Option<Purpose>,
    },
    /// An API key, called so, asked for from a server that makes keys of this model.
    CreateKey {
        model: KeyModel,
        name: u8,
        replace: bool,
        request: Option<u8>,
    },
    Authenticate {
        key: Name,
    },
    /// Without a prefix, which only a server of the model `Drf` takes: the newest of that model.
    GetKey {
        prefix: Option<Name>,
    },
    ListKeys,
    /// Without a prefix, which only a server of the model `Drf` takes: all of that model.
    DeleteKey {
        prefix: Option<Name>,
    },
    CreateUser,
    GetUser,
    SetActive {
        active: bool,
    },
    RevokeCredentials {
        except: Option<Session>,
        keep: Option<Purpose>,
        keep_keys: bool,
        request: Option<u8>,
    },
    DeleteUser,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// Not carried out; the second is the reason of the revocation that a refusal tells of.
    Refused(ErrorReason, RevocationReason),
    /// The row of a session.
    Session(SessionRow),
    Rotated(RotationOutcome, SessionRow),
    /// The state of a jti, with the session's row if there is one.
    Asked(TokenState, Option<SessionRow>),
    /// The state of a session or of a secret.
    State(TokenState),
    Sessions(Vec<(Session, SessionRow)>),
    /// How many were revoked, or deleted.
    Count(i64),
    /// A token was issued, with this value.
    Issued(TokenRow, Value),
    /// A token was claimed.
    Claimed(TokenRow),
    /// Newest first.
    Tokens(Vec<TokenRow>),
    /// The row of an API key.
    Key(KeyRow),
    /// A key was made: its row, and the key itself.
    KeyMade(KeyRow, Name),
    /// The state of a key that was presented, with its row if it is known.
    Authenticated(TokenState, Option<KeyRow>),
    /// Newest first.
    Keys(Vec<KeyRow>),
    User {
        active: bool,
        version: Name,
    },
    /// A user and counts: of what lives, or of what was revoked.
    Counted {
        active: bool,
        version: Name,
        counts: Counts,
    },
    Deleted(Counts),
    /// Something that the contract has no word for.
    Wrong(String),
}

/// What of a session's row is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionRow {
    pub jti: Name,
    pub enabled: bool,
    pub state: TokenState,
    pub rotations: i64,
    pub graces: i64,
    /// Why it was revoked; unspecified while it isn't.
    pub reason: RevocationReason,
}

/// What of a one-time token's row is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenRow {
    pub challenge: Name,
    pub state: TokenState,
    pub attempts: i32,
    pub max_attempts: i32,
}

/// What of an API key's row is told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRow {
    pub prefix: Name,
    /// As its prefix tells.
    pub model: KeyModel,
    pub name: u8,
    pub state: TokenState,
}

/// How many of a user's things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Counts {
    pub sessions: i64,
    pub tokens: i64,
    pub keys: i64,
}

/// What the server makes up in a call, if the call gets that far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Made {
    /// A jti, a challenge or a key's prefix.
    pub name: Name,
    /// A one-time value or a key.
    pub value: Name,
    /// A credential version.
    pub version: Name,
}

impl Answer {
    pub fn refused(reason: ErrorReason) -> Self {
        Self::Refused(reason, RevocationReason::Unspecified)
    }
}

impl Call {
    /// Whether it never changes anything.
    pub fn is_question(&self) -> bool {
        matches!(
            self,
            Self::CheckToken { .. }
                | Self::CheckSession { .. }
                | Self::GetSession { .. }
                | Self::ListSessions
                | Self::CheckSecret { .. }
                | Self::ListTokens { .. }
                | Self::Authenticate { .. }
                | Self::GetKey { .. }
                | Self::ListKeys
                | Self::GetUser
        )
    }

    /// Whether a call that was answered like this changed nothing.
    pub fn changed_nothing(&self, answer: &Answer) -> bool {
        let guess_was_charged = matches!(self, Self::Consume { value, .. } if value.is_code);
        match answer {
            Answer::Refused(ErrorReason::TokenReplayed, _) => false,
            Answer::Refused(ErrorReason::TokenNotFound, _) => !guess_was_charged,
            Answer::Refused(..) | Answer::Count(0) => true,
            _ => self.is_question(),
        }
    }

    /// The model of API keys of the servers that take it; `None`: all do.
    pub fn model(&self) -> Option<KeyModel> {
        match self {
            Self::CreateKey { model, .. } => Some(*model),
            Self::GetKey { prefix: None } | Self::DeleteKey { prefix: None } => Some(KeyModel::Drf),
            _ => None,
        }
    }

    /// Whether it makes a user known who wasn't.
    pub fn may_create_user(&self) -> bool {
        matches!(self, Self::Add { version: None, .. } | Self::Issue { .. } | Self::CreateKey { .. })
    }
}
