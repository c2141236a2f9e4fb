//! Why sessions end before their time.

/// Why a session ended before its time. The numbers are those of `tokenregistry.v1.RevocationReason`, in the
/// database too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(i16)]
pub enum RevocationReason {
    /// No reason was given.
    #[default]
    Unspecified = 0,
    /// The person logged out.
    Logout = 1,
    /// A jti that was rotated away was presented again.
    Replay = 2,
    /// The person's credentials changed.
    CredentialChange = 3,
    /// The user was suspended.
    UserDeactivated = 4,
    /// An administrator ended it.
    Administrative = 5,
    /// The user had too many sessions.
    SessionLimit = 6,
}

impl RevocationReason {
    /// All reasons.
    pub const ALL: [Self; 7] = [
        Self::Unspecified,
        Self::Logout,
        Self::Replay,
        Self::CredentialChange,
        Self::UserDeactivated,
        Self::Administrative,
        Self::SessionLimit,
    ];

    /// The reason of this number, if there is one.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| i32::from(reason.number()) == number)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i16 {
        self as i16
    }

    /// Its name, as in `REVOCATION_REASON_…`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::Logout => "LOGOUT",
            Self::Replay => "REPLAY",
            Self::CredentialChange => "CREDENTIAL_CHANGE",
            Self::UserDeactivated => "USER_DEACTIVATED",
            Self::Administrative => "ADMINISTRATIVE",
            Self::SessionLimit => "SESSION_LIMIT",
        }
    }

    /// Whether only the registry itself may give this reason.
    #[must_use]
    pub fn is_the_registrys_own(self) -> bool {
        matches!(self, Self::Replay | Self::SessionLimit)
    }
}
