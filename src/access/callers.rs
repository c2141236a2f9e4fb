//! The file of callers:
//!
//! ```toml
//! [auth-service]
//! roles = ["checker", "issuer"]
//! certificates = ["spiffe://example.org/ns/prod/sa/auth"]   # names in a client certificate
//! subjects = ["auth@example.org"]                          # in the claim of a JWT that names its bearer
//! keys_sha256 = ["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]   # of bearer keys
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::{Role, Roles};

/// A digest of a key.
type KeyDigest = [u8; 32];

/// Somebody who may call.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name in the file.
    pub name: String,
    /// What it may do.
    pub roles: Roles,
}

/// What is wrong with a file of callers, all of it.
#[derive(Debug, thiserror::Error)]
#[error("the callers in {path} are wrong: {}", problems.join("; "))]
pub struct CallersError {
    path: PathBuf,
    problems: Vec<String>,
}

/// All callers, by what they are known by.
#[derive(Debug, Default)]
pub(super) struct Callers {
    count: usize,
    by_certificate: HashMap<String, Arc<Caller>>,
    by_subject: HashMap<String, Arc<Caller>>,
    by_key: HashMap<KeyDigest, Arc<Caller>>,
}

/// A caller as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    roles: Vec<String>,
    #[serde(default)]
    certificates: Vec<String>,
    #[serde(default)]
    subjects: Vec<String>,
    #[serde(default)]
    keys_sha256: Vec<String>,
}

impl Callers {
    pub(super) fn read(path: &Path) -> Result<Self, CallersError> {
        let read = std::fs::read_to_string(path).map_err(|error| vec![format!("can't be read: {error}")]);
        read.and_then(|text| Self::parse(&text))
            .map_err(|problems| CallersError { path: path.to_owned(), problems })
    }

    fn parse(text: &str) -> Result<Self, Vec<String>> {
        let entries: BTreeMap<String, Entry> = toml::from_str(text).map_err(|error| {
            // Not the error's own text: it shows the line, and somebody may have put a key itself there.
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            vec![format!("{} at line {}", error.message(), before.matches('\n').count() + 1)]
        })?;
        let mut callers = Self { count: entries.len(), ..Self::default() };
        let mut problems = Vec::new();
        if entries.is_empty() {
            problems.push("there is none".to_owned());
        }
        for (name, entry) in entries {
            let found = callers.add(&name, entry);
            problems.extend(found.into_iter().map(|problem| format!("{name:?}: {problem}")));
        }
        if problems.is_empty() { Ok(callers) } else { Err(problems) }
    }

    fn add(&mut self, name: &str, entry: Entry) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=64).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            problems.push("a name has 1 to 64 characters, none of them a control character".to_owned());
        }
        let mut roles = Vec::new();
        for name in &entry.roles {
            match Role::ALL.into_iter().find(|role| role.name() == name) {
                Some(role) => roles.push(role),
                None => problems
                    .push(format!("{name:?} is no role; there are {}", Role::ALL.map(Role::name).join(", "))),
            }
        }
        if entry.roles.is_empty() {
            problems.push("has no roles".to_owned());
        }
        if entry.certificates.is_empty() && entry.subjects.is_empty() && entry.keys_sha256.is_empty() {
            problems
                .push("nobody can be it: it has neither certificates, subjects nor keys_sha256".to_owned());
        }
        let caller = Arc::new(Caller { name: name.to_owned(), roles: Roles::of(&roles) });
        for (what, names, known) in [
            ("a certificate's name", entry.certificates, &mut self.by_certificate),
            ("a subject", entry.subjects, &mut self.by_subject),
        ] {
            for name in names {
                if name.is_empty() {
                    problems.push(format!("{what} is empty"));
                }
                if let Some(other) = known.insert(name.clone(), Arc::clone(&caller)) {
                    problems.push(format!("{name:?} is {:?} already", other.name));
                }
            }
        }
        for (number, text) in (1..).zip(entry.keys_sha256) {
            match digest(&text) {
                None => problems.push(format!(
                    "key {number} of keys_sha256 is not a SHA-256 in 64 hexadecimal digits (make it with: \
                     printf %s \"$KEY\" | sha256sum)"
                )),
                Some(digest) => {
                    if let Some(other) = self.by_key.insert(digest, Arc::clone(&caller)) {
                        problems.push(format!("key {number} of keys_sha256 is {:?}'s already", other.name));
                    }
                }
            }
        }
        problems
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn of_key(&self, digest: &KeyDigest) -> Option<Arc<Caller>> {
        self.by_key.get(digest).cloned()
    }

    pub(super) fn of_subject(&self, subject: &str) -> Option<Arc<Caller>> {
        self.by_subject.get(subject).cloned()
    }

    /// Somebody who is known by a certificate, if anybody is.
    pub(super) fn a_certificate(&self) -> Option<&Caller> {
        self.by_certificate.values().next().map(Arc::as_ref)
    }

    /// Somebody who is known by a JWT's subject, if anybody is.
    pub(super) fn a_subject(&self) -> Option<&Caller> {
        self.by_subject.values().next().map(Arc::as_ref)
    }

    pub(super) fn of_certificate(&self, name: &str) -> Option<Arc<Caller>> {
        self.by_certificate.get(name).cloned()
    }
}

fn digest(text: &str) -> Option<KeyDigest> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut digest = KeyDigest::default();
    if pairs.len() != digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn callers_are_found_by_what_they_are_known_by() {
        let text = format!(
            "[auth]\nroles = ['checker', 'issuer']\nkeys_sha256 = ['{EMPTY}']\n\
             [api]\nroles = ['checker']\ncertificates = ['spiffe://example.org/api', 'api.example.org']\n\
             subjects = ['api@example.org']"
        );
        let callers = Callers::parse(&text).unwrap();
        assert_eq!(callers.len(), 2);
        let auth = callers.of_key(&digest(EMPTY).unwrap()).unwrap();
        assert_eq!((auth.name.as_str(), auth.roles), ("auth", Roles::of(&[Role::Checker, Role::Issuer])));
        assert_eq!(callers.of_certificate("api.example.org").unwrap().name, "api");
        assert!(callers.of_certificate("example.org").is_none());
        assert_eq!(callers.of_subject("api@example.org").unwrap().name, "api");
        assert!(
            callers.of_subject("api.example.org").is_none()
                && callers.of_certificate("api@example.org").is_none()
        );
        assert!(callers.of_key(&KeyDigest::default()).is_none());
    }

    #[test]
    fn all_mistakes_are_told_and_no_key() {
        let text = format!(
            "[a]\nroles = ['chekker']\n[b]\nroles = []\nkeys_sha256 = ['hunter2', '{EMPTY}']\n\
             [c]\nroles = ['admin']\nkeys_sha256 = ['{EMPTY}', '{}']\n['']\nroles = ['admin']\ncertificates = ['']\nsubjects = ['']",
            "é".repeat(32)
        );
        let problems = Callers::parse(&text).unwrap_err().join("\n");
        for part in [
            "\"a\": \"chekker\" is no role; there are checker, issuer, admin, inspector",
            "\"a\": nobody can be it",
            "\"b\": has no roles",
            "\"b\": key 1 of keys_sha256 is not a SHA-256",
            "\"c\": key 1 of keys_sha256 is \"b\"'s already",
            "\"c\": key 2 of keys_sha256 is not a SHA-256",
            "\"\": a name has 1 to 64 characters",
            "\"\": a certificate's name is empty",
            "\"\": a subject is empty",
        ] {
            assert!(problems.contains(part), "{part} is not in {problems}");
        }
        assert!(!problems.contains("hunter2"), "{problems}");
        let problems = Callers::parse("[a]\nroles = []\nkey = 'hunter2'").err().unwrap().join("\n");
        assert!(problems.contains("line 3") && !problems.contains("hunter2"), "{problems}");
        assert_eq!(Callers::parse("").unwrap_err(), ["there is none"]);
    }
}
