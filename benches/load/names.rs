//! What the rows are called. Names are decimal numbers, so that pgbench, which has no strings, can make them too;
//! 19 digits are about as long as the names and jtis of real callers.
//!
//! Session `i` belongs to user `i / 5`. Servers rotate the even sessions and pgbench the odd ones, so that both write
//! to all pages and neither has to know what the other did.

pub const SESSIONS_PER_USER: u64 = 5;
pub const USERS: u64 = 1_000_000_000_000_000_000;
pub const SESSIONS: u64 = 2_000_000_000_000_000_000;
/// Sessions that are over, one beside each of the others.
pub const OVER: u64 = 1_900_000_000_000_000_000;
/// Sessions that a generator adds, and those that pgbench adds.
pub const ADDED: u64 = 2_100_000_000_000_000_000;
pub const ADDED_BY_PGBENCH: u64 = 2_200_000_000_000_000_000;
const JTIS: u64 = 3_000_000_000_000_000_000;
/// The n-th jti of session `i` is `JTIS + n * JTI_STEP + i`.
pub const JTI_STEP: u64 = 100_000_000;
/// Digests of the one-time tokens that pgbench issues, and of those that it consumes.
pub const ISSUED_BY_PGBENCH: u64 = 4_000_000_000_000_000_000;
pub const SECRETS_OF_PGBENCH: u64 = 5_000_000_000_000_000_000;
/// Purpose of the one-time tokens that are issued. Each issue replaces the user's earlier one, so those that are there
/// to be consumed have another.
pub const ISSUED_PURPOSE: &str = "password_reset";
pub const CONSUMED_PURPOSE: &str = "confirm_email";
pub const SECRET_PREFIX: &str = "a-one-time-secret-of-43-";

/// The jti of pgbench's scripts and of the fill: an SQL expression or pgbench's own.
pub fn jti_expression(rotations: &str, session: &str) -> String {
    format!("{JTIS} + ({rotations}) * {JTI_STEP} + {session}")
}

pub fn user(session: u64) -> String {
    (USERS + session / SESSIONS_PER_USER).to_string()
}

pub fn session(session: u64) -> String {
    (SESSIONS + session).to_string()
}

pub fn jti(session: u64, rotations: u32) -> String {
    (JTIS + u64::from(rotations) * JTI_STEP + session).to_string()
}

/// The API key of a session's user: of the model `drf`, since SQL can't make the checksum of the other one.
pub fn key(session: u64) -> String {
    format!("{:040x}", USERS + session / SESSIONS_PER_USER)
}

/// The value of a one-time token that is there to be consumed, as long as a minted one.
pub fn secret(n: u64) -> String {
    format!("{SECRET_PREFIX}{}", SECRETS_OF_PGBENCH + n)
}

/// What every session says of its device: a column of `sessions`, its type, and the value.
pub const CLIENT: [(&str, &str); 12] = [
    ("ip", "203.0.113.77"),
    ("is_mobile", "true"),
    ("is_tablet", "false"),
    ("is_pc", "false"),
    ("is_bot", "false"),
    ("browser", "Chrome Mobile"),
    ("browser_version", "126.0.6478"),
    ("os", "Android"),
    ("os_version", "14"),
    ("device", "Pixel 8 Pro"),
    ("device_brand", "Google"),
    ("device_model", "Pixel 8 Pro"),
];
