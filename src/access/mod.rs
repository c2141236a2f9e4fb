//! Who may call: callers, how each is known, and the roles that each has.
//!
//! Without a file of callers everybody who reaches the server may call everything. With one a call is carried out only for
//! a caller of the file that has one of the roles its method asks for.

mod callers;
mod jwt;
mod role;
mod turns;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

pub use callers::{Caller, CallersError};
pub use jwt::{FetchError, KeySetError, KeysError, Unproven};
pub use role::{Admits, Role, Roles, admits};
pub use turns::{Place, Turn};

use crate::config::Config;
use crate::watched::Watched;
use callers::Callers;
use jwt::Keys;
use turns::Turns;

/// Judges calls by the callers of a file, which may change meanwhile.
#[derive(Debug)]
pub struct Access {
    path: PathBuf,
    /// Taken for as long as it takes to copy a pointer.
    callers: RwLock<Arc<Callers>>,
    /// Held by [`Access::follow`].
    watched: Mutex<Watched>,
    /// What JWTs are verified with, if they are taken.
    keys: Option<Keys>,
    /// Who verifies with them now.
    turns: Turns,
    /// Whether callers are asked for certificates.
    asks_for_certificates: bool,
}

/// Why callers can't be told apart.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The file of callers is wrong.
    #[error(transparent)]
    Callers(#[from] CallersError),
    /// The keys of JWTs are.
    #[error(transparent)]
    Keys(#[from] KeysError),
}

/// Why a call isn't carried out.
#[derive(Debug)]
pub enum Denied {
    /// It came without a key, JWT or certificate.
    Nobody,
    /// Its key, JWT or certificate is of no caller here.
    Unknown,
    /// Its JWT wasn't verified before, and is when it is its [turn](Access::turn).
    Unverified,
    /// Its JWT is signed by a key that isn't known; [`Access::look_again`] may find it.
    UnknownKey,
    /// Its caller has none of the roles that the method asks for.
    Role(Arc<Caller>),
}

impl Access {
    /// Reads the configured file of callers, if there is one, and the keys of JWTs where these are in a file.
    ///
    /// # Errors
    /// Everything that is wrong with the file of callers, or what is wrong with the keys.
    pub fn read(config: &Config) -> Result<Option<Self>, AccessError> {
        let (Some(path), jwt) = (config.callers.clone(), &config.jwt) else { return Ok(None) };
        let watched = Mutex::new(Watched::new([&path]));
        let callers = RwLock::new(Arc::new(Callers::read(&path)?));
        let keys = jwt.keys.as_deref().map(|from| Keys::read(from, jwt)).transpose()?;
        let (turns, asks_for_certificates) = (Turns::default(), config.tls_client_ca.is_some());
        let access = Self { path, callers, watched, keys, turns, asks_for_certificates };
        access.warn_of_names_in_vain();
        Ok(Some(access))
    }

    /// Says of callers that are known by what nobody can show here why they will be refused.
    fn warn_of_names_in_vain(&self) {
        let callers = self.callers();
        for (names, caller, can_be_shown, key) in [
            ("certificates", callers.a_certificate(), self.asks_for_certificates, "tls_client_ca"),
            ("subjects", callers.a_subject(), self.keys.is_some(), "jwt.keys"),
        ] {
            if let Some(caller) = caller.filter(|_| !can_be_shown) {
                tracing::warn!(
                    file = %self.path.display(), caller = caller.name,
                    "callers have {names}, but {key} is not set: nobody can be known by them"
                );
            }
        }
    }

    fn callers(&self) -> Arc<Callers> {
        Arc::clone(&self.callers.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Judges a call by what its method admits: who calls, where that has to be known.
    ///
    /// A key or JWT that comes with the call decides alone: a wrong one isn't made good by a certificate. A JWT that wasn't
    /// verified before is only with a turn.
    ///
    /// # Errors
    /// It may not be carried out.
    pub fn judge<'a>(
        &self,
        admits: Admits,
        headers: &HeaderMap,
        names: impl IntoIterator<Item = &'a str>,
        turn: Option<&Turn<'_>>,
    ) -> Result<Option<Arc<Caller>>, Denied> {
        if admits == Admits::Everybody {
            return Ok(None);
        }
        let callers = self.callers();
        let caller = if let Some(value) = headers.get(AUTHORIZATION) {
            let key = bearer(value.as_bytes()).ok_or(Denied::Unknown)?;
            // The look-up's time tells of the digest, from which nobody gets to the key.
            let digest = Sha256::digest(key).into();
            match (callers.of_key(&digest), &self.keys) {
                (None, Some(keys)) => callers.of_subject(&proven(keys, key, &digest, turn)?),
                (caller, _) => caller,
            }
        } else {
            let mut names = names.into_iter().peekable();
            names.peek().ok_or(Denied::Nobody)?;
            names.find_map(|name| callers.of_certificate(name))
        };
        let caller = caller.ok_or(Denied::Unknown)?;
        match admits {
            Admits::Roles(roles) if !caller.roles.has_any(roles) => Err(Denied::Role(caller)),
            _ => Ok(Some(caller)),
        }
    }

    /// Waits until a call that came on the connection which has this place may have its JWT verified.
    pub async fn turn<'a>(&'a self, place: &'a Place) -> Turn<'a> {
        self.turns.take(place).await
    }

    /// Asks where the keys of JWTs are published for newer ones, if that wasn't done a moment ago.
    pub async fn look_again(&self) {
        if let Some(keys) = &self.keys {
            keys.look_again().await;
        }
    }

    /// Keeps callers and keys up to date for as long as it is polled.
    pub async fn follow(&self) {
        let keys = async {
            if let Some(keys) = &self.keys {
                keys.follow().await;
            }
        };
        tokio::join!(self.follow_callers(), keys);
    }

    /// Reads the file again whenever it changes. One that is wrong changes nothing, and the log says so.
    async fn follow_callers(&self) {
        let mut watched = self.watched.lock().await;
        loop {
            watched.changed().await;
            match Callers::read(&self.path) {
                Ok(callers) => {
                    tracing::info!(callers = callers.len(), "callers were read again");
                    *self.callers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(callers);
                    self.warn_of_names_in_vain();
                }
                Err(error) => tracing::error!(%error, "callers stay as they were"),
            }
        }
    }
}

/// Whom a JWT names, whose SHA-256 this is.
fn proven(keys: &Keys, token: &[u8], digest: &[u8; 32], turn: Option<&Turn<'_>>) -> Result<String, Denied> {
    keys.prove(token, digest, turn).map(|known| known.subject).map_err(|why| {
        if why == Unproven::Unverified {
            return Denied::Unverified;
        }
        tracing::debug!(%why, "a JWT proves nothing");
        if why == Unproven::UnknownKey { Denied::UnknownKey } else { Denied::Unknown }
    })
}

/// The key in `Bearer …`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii()).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_key_is_read_as_http_writes_it() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for bad in [&b""[..], b"Bearer", b"Bearer ", b"Basic YTpi", b"abc"] {
            assert_eq!(bearer(bad), None);
        }
    }
}
