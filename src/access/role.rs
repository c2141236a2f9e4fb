//! Roles, and which of them each method asks for.

use std::fmt;

use Role::{Admin, Checker, Inspector, Issuer};

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Asks whether a session or token is good: what a resource server does on every request.
    Checker,
    /// Opens, rotates and closes sessions, issues and consumes: what an authentication service does.
    Issuer,
    /// Ends or removes everything of a user, purges, counts.
    Admin,
    /// Looks: at rows, at lists, at the services themselves by reflection.
    Inspector,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Checker, Issuer, Admin, Inspector];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Checker => "checker",
            Issuer => "issuer",
            Admin => "admin",
            Inspector => "inspector",
        }
    }
}

/// A set of roles.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// These.
    #[must_use]
    pub fn of(roles: &[Role]) -> Self {
        Self(roles.iter().fold(0, |set, role| set | 1 << *role as u8))
    }

    /// Whether any of these is among them.
    #[must_use]
    pub fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Role::ALL.into_iter().filter(|role| self.has_any(Self::of(&[*role]))).map(Role::name);
        f.debug_list().entries(names).finish()
    }
}

/// Whom a method admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admits {
    /// Whoever reaches the server.
    Everybody,
    /// Every caller that is known.
    EveryCaller,
    /// Callers with one of these roles.
    Roles(Roles),
}

/// Which roles may call what. A method of the registry that isn't here admits nobody; a test sees to it that all are.
const RULES: &[(&str, &[Role])] = &[
    ("WhitelistService/AddRefreshToken", &[Issuer]),
    ("WhitelistService/RotateRefreshToken", &[Issuer]),
    ("WhitelistService/CheckRefreshToken", &[Checker, Issuer]),
    ("WhitelistService/CheckSession", &[Checker, Issuer]),
    ("WhitelistService/BatchCheckSessions", &[Checker, Issuer]),
    ("WhitelistService/GetRefreshToken", &[Inspector]),
    ("WhitelistService/ListRefreshTokens", &[Inspector]),
    ("WhitelistService/SetRefreshTokenEnabled", &[Issuer]),
    ("WhitelistService/RevokeSession", &[Issuer, Admin]),
    ("WhitelistService/RevokeUserSessions", &[Admin]),
    ("WhitelistService/WatchRevocations", &[Checker]),
    ("GenericTokenService/IssueGenericToken", &[Issuer]),
    ("GenericTokenService/ConsumeGenericToken", &[Issuer]),
    ("GenericTokenService/CheckGenericToken", &[Checker, Issuer]),
    ("GenericTokenService/ListGenericTokens", &[Inspector]),
    ("GenericTokenService/RevokeGenericTokens", &[Issuer, Admin]),
    ("AuthTokenService/CreateAuthToken", &[Issuer]),
    ("AuthTokenService/AuthenticateAuthToken", &[Checker, Issuer]),
    ("AuthTokenService/GetAuthToken", &[Inspector]),
    ("AuthTokenService/ListAuthTokens", &[Inspector]),
    ("AuthTokenService/DeleteAuthToken", &[Issuer, Admin]),
    // A login reads the credential version first.
    ("UserService/CreateUser", &[Issuer, Admin]),
    ("UserService/GetUser", &[Issuer, Inspector]),
    ("UserService/SetUserActive", &[Admin]),
    ("UserService/RevokeCredentials", &[Admin]),
    ("UserService/DeleteUser", &[Admin]),
    ("MaintenanceService/PurgeExpired", &[Admin]),
    ("MaintenanceService/GetStatistics", &[Admin]),
];

/// Whom a method admits, by its service's full name and its own.
#[must_use]
pub fn admits(service: &str, method: &str) -> Admits {
    if service == "grpc.health.v1.Health" {
        return Admits::Everybody;
    }
    if service.starts_with("grpc.reflection.") {
        return Admits::Roles(Roles::of(&[Inspector]));
    }
    if service == "envoy.service.auth.v3.Authorization" {
        return Admits::Roles(Roles::of(&[Checker]));
    }
    let service = service.strip_prefix("tokenregistry.v1.").unwrap_or_default();
    let rule = RULES.iter().find(|(path, _)| path.split_once('/') == Some((service, method)));
    Admits::Roles(Roles::of(rule.map_or(&[], |(_, roles)| roles)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::methods;

    #[test]
    fn every_method_has_a_rule() {
        for method in methods::all() {
            assert_ne!(method.admits, Admits::Roles(Roles::default()), "{method:?} admits nobody");
        }
    }
}
