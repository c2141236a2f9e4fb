//! Where the keys come from, a file or an address, and that they are up to date.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::Uri;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::fetch::{Fetch, FetchError};
use super::key_set::{KeySet, KeySetError, Known, Unproven};
use crate::access::Turn;
use crate::config::Jwt;
use crate::watched::Watched;

/// How long after a fetch, whatever came of it, the next one may begin.
const PAUSE: Duration = Duration::from_secs(10);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file can't be read.
    #[error("the keys of JWTs in {0} can't be read: {1}")]
    File(PathBuf, std::io::Error),
    /// The address gives no document.
    #[error("the keys of JWTs can't be fetched: {0}")]
    Fetch(#[from] FetchError),
    /// What is there is no set of keys.
    #[error("the keys of JWTs are wrong: {0}")]
    KeySet(#[from] KeySetError),
}

/// The keys that tokens are verified with.
#[derive(Debug)]
pub(crate) struct Keys {
    source: Source,
    rules: Jwt,
    /// Taken for as long as it takes to copy a pointer.
    current: RwLock<Current>,
}

#[derive(Debug, Clone)]
struct Current {
    keys: Arc<KeySet>,
    /// What they were read from.
    document: Arc<[u8]>,
    /// When that was there last; never at the beginning.
    seen: Option<Instant>,
}

#[derive(Debug)]
enum Source {
    /// The second is held by [`Keys::follow`].
    File(PathBuf, Mutex<Watched>),
    /// The second is when the last fetch began, and held while there is one.
    Address(Box<Fetch>, Mutex<Option<Instant>>),
}

impl Keys {
    /// Reads the file; an address is asked later, by [`Keys::follow`]: a registry starts without it.
    pub(crate) fn read(from: &str, rules: &Jwt) -> Result<Self, KeysError> {
        let source = match from.parse::<Uri>() {
            Ok(url) if url.scheme_str() == Some("https") => {
                Source::Address(Box::new(Fetch::new(url)?), Mutex::new(None))
            }
            _ => Source::File(from.into(), Mutex::new(Watched::new([from]))),
        };
        let current = Current { keys: Arc::new(KeySet::empty(rules)), document: Arc::default(), seen: None };
        let keys = Self { source, rules: rules.clone(), current: RwLock::new(current) };
        if let Source::File(path, _) = &keys.source {
            keys.take(of_file(path)?)?;
        }
        Ok(keys)
    }

    /// Who the bearer of a token is, whose SHA-256 this is.
    pub(crate) fn prove(
        &self,
        token: &[u8],
        digest: &[u8; 32],
        turn: Option<&Turn<'_>>,
    ) -> Result<Known, Unproven> {
        let current = self.current();
        if current.keys_are_too_old(&self.source, self.rules.max_age) {
            return Err(Unproven::UnknownKey);
        }
        current.keys.prove(token, digest, turn)
    }

    /// Keeps the keys up to date for as long as it is polled: a file whenever it changes, an address every so often.
    pub(crate) async fn follow(&self) {
        match &self.source {
            Source::File(path, watched) => {
                let mut watched = watched.lock().await;
                loop {
                    watched.changed().await;
                    self.tell(of_file(path).and_then(|document| self.take(document)));
                }
            }
            Source::Address(..) => loop {
                let seen = self.current().seen;
                if seen.is_none_or(|seen| seen.elapsed() >= self.rules.refresh) {
                    self.look_again().await;
                }
                sleep(PAUSE.min(self.rules.refresh)).await;
            },
        }
    }

    /// Asks the address for newer keys. Nothing happens if it was asked a moment ago: whoever makes up tokens doesn't make
    /// us ask without end.
    pub(crate) async fn look_again(&self) {
        let Source::Address(fetch, last) = &self.source else { return };
        let mut last = last.lock().await;
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return;
        }
        *last = Some(Instant::now());
        let fetched = fetch.get().await.map_err(KeysError::from);
        self.tell(fetched.and_then(|document| self.take(document.into())));
    }

    /// Takes a document of keys.
    fn take(&self, document: Vec<u8>) -> Result<(), KeysError> {
        let is_new = *self.current().document != *document;
        let read = if is_new { Some(KeySet::parse(&document, &self.rules)?) } else { None };
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.seen = Some(Instant::now());
        if let Some(keys) = read {
            tracing::info!(keys = keys.len(), "the keys of JWTs were read");
            (current.keys, current.document) = (Arc::new(keys), document.into());
        }
        Ok(())
    }

    fn tell(&self, taken: Result<(), KeysError>) {
        if let Err(error) = taken {
            let current = self.current();
            let seconds = current.seen.map(|seen| seen.elapsed().as_secs());
            let too_old = current.keys_are_too_old(&self.source, self.rules.max_age);
            let outcome = if too_old { "no JWT is taken" } else { "the keys stay as they were" };
            tracing::error!(%error, last_seen_seconds_ago = seconds, "{outcome}");
        }
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Current {
    /// Whether the address hasn't given the keys for so long that they may be anybody's by now.
    fn keys_are_too_old(&self, source: &Source, max_age: Duration) -> bool {
        matches!(source, Source::Address(..)) && self.seen.is_none_or(|seen| seen.elapsed() > max_age)
    }
}

fn of_file(path: &Path) -> Result<Vec<u8>, KeysError> {
    std::fs::read(path).map_err(|error| KeysError::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn keys_of_an_address_that_is_silent_for_too_long_prove_nothing() {
        let rules = Config::default().jwt;
        let address = Source::Address(
            Box::new(Fetch::new(Uri::from_static("https://localhost/")).unwrap()),
            Mutex::default(),
        );
        let file = Source::File("jwks.json".into(), Mutex::new(Watched::new(["jwks.json"])));
        let seen = |seen| Current { keys: Arc::new(KeySet::empty(&rules)), document: Arc::default(), seen };
        let hour = Duration::from_hours(1);
        let before = |age| Instant::now().checked_sub(age);
        assert!(seen(None).keys_are_too_old(&address, hour));
        assert!(seen(before(hour * 2)).keys_are_too_old(&address, hour));
        assert!(!seen(before(hour / 2)).keys_are_too_old(&address, hour));
        // A file is there or isn't.
        assert!(!seen(before(hour * 2)).keys_are_too_old(&file, hour));

        let rules = Jwt { max_age: hour, ..rules.clone() };
        let proves = |source, age| {
            let current = RwLock::new(seen(before(age)));
            Keys { source, rules: rules.clone(), current }.prove(b"a.b.c", &[0; 32], None).unwrap_err()
        };
        // It isn't even looked at.
        assert_eq!(proves(address, hour * 2), Unproven::UnknownKey);
        assert_eq!(proves(file, hour * 2), Unproven::Unverified);
    }
}
