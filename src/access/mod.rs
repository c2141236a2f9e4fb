//! Who may call: callers, how each is known, and the roles that each has.
//!
//! Without a file of callers everybody who reaches the server may call everything. With one a call is carried out only for
//! a caller of the file that has one of the roles its method asks for.

mod callers;
mod role;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

pub use callers::{Caller, CallersError};
pub use role::{Admits, Role, Roles, admits};

use crate::watched::Watched;
use callers::Callers;

/// Judges calls by the callers of a file, which may change meanwhile.
#[derive(Debug)]
pub struct Access {
    path: PathBuf,
    /// Taken for as long as it takes to copy a pointer.
    callers: RwLock<Arc<Callers>>,
    /// Held by [`Access::follow`].
    watched: Mutex<Watched>,
}

/// Why a call isn't carried out.
#[derive(Debug)]
pub enum Denied {
    /// It came without a key or certificate.
    Nobody,
    /// Its key or certificate is of no caller here.
    Unknown,
    /// Its caller has none of the roles that the method asks for.
    Role(Arc<Caller>),
}

impl Access {
    /// Reads the file of callers.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(path: PathBuf) -> Result<Self, CallersError> {
        let watched = Mutex::new(Watched::new([&path]));
        let callers = RwLock::new(Arc::new(Callers::read(&path)?));
        Ok(Self { path, callers, watched })
    }

    /// Judges a call by what its method admits: who calls, where that has to be known.
    ///
    /// A key that comes with the call decides alone: a wrong one isn't made good by a certificate.
    ///
    /// # Errors
    /// It may not be carried out.
    pub fn judge<'a>(
        &self,
        admits: Admits,
        headers: &HeaderMap,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Option<Arc<Caller>>, Denied> {
        if admits == Admits::Everybody {
            return Ok(None);
        }
        let callers = Arc::clone(&self.callers.read().unwrap_or_else(PoisonError::into_inner));
        let caller = if let Some(value) = headers.get(AUTHORIZATION) {
            let key = bearer(value.as_bytes()).ok_or(Denied::Unknown)?;
            // The look-up's time tells of the digest, from which nobody gets to the key.
            callers.of_key(&Sha256::digest(key).into())
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

    /// Reads the file again whenever it changes, for as long as it is polled. A file that is wrong changes nothing, and
    /// the log says so.
    pub async fn follow(&self) {
        let mut watched = self.watched.lock().await;
        loop {
            watched.changed().await;
            match Callers::read(&self.path) {
                Ok(callers) => {
                    tracing::info!(callers = callers.len(), "callers were read again");
                    *self.callers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(callers);
                }
                Err(error) => tracing::error!(%error, "callers stay as they were"),
            }
        }
    }
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
