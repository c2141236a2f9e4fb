//! The names that a server may have made up, of those that turn up in a history.

use std::collections::{HashMap, HashSet};

use super::history::Event;
use super::user::User;
use super::words::{Answer, Call, Made, Name, Value, Which};

/// The names that turn up in a history and are nobody's for sure, with the first answer that told each.
pub(super) struct NamesSeen {
    jtis: Vec<(Name, u64)>,
    versions: Vec<(Name, u64)>,
    challenges: Vec<(Name, u64)>,
    prefixes: Vec<(Name, u64)>,
    /// Issues with a request: what any copy of it was answered.
    issued: HashMap<u8, Vec<(Name, Name)>>,
    /// The same of API keys.
    keys: HashMap<u8, Vec<(Name, Name)>>,
    /// API keys that were presented and known. Somebody was told, perhaps in an answer that counts for nothing.
    presented: Vec<(Name, Name)>,
}

/// When each jti was first in an answer.
fn first_told(history: &[Event]) -> HashMap<Name, u64> {
    let mut first: HashMap<Name, u64> = HashMap::new();
    for Event { answer, ended, .. } in history {
        let rows: Vec<_> = match answer {
            Some(Answer::Session(row) | Answer::Rotated(_, row) | Answer::Asked(_, Some(row))) => vec![row],
            Some(Answer::Sessions(rows)) => rows.iter().map(|(_, row)| row).collect(),
            _ => Vec::new(),
        };
        for row in rows {
            first.entry(row.jti).and_modify(|told| *told = (*told).min(*ended)).or_insert(*ended);
        }
    }
    first
}

impl NamesSeen {
    pub(super) fn of(history: &[Event]) -> Self {
        let (mut jtis, mut versions, mut challenges) = (Vec::new(), Vec::new(), Vec::new());
        let (mut prefixes, mut presented) = (Vec::new(), Vec::new());
        let mut keys: HashMap<u8, Vec<(Name, Name)>> = HashMap::new();
        let mut owned = HashSet::new();
        let first_told = first_told(history);
        let mut issued: HashMap<u8, Vec<(Name, Name)>> = HashMap::new();
        for Event { call, answer, began, ended, .. } in history {
            // What a caller presents it made up, or was told before.
            match call {
                Call::Add { jti, version, .. } => {
                    owned.insert(*jti);
                    versions.extend(version.map(|version| (version, *began)));
                }
                Call::Rotate { jti, new_jti, .. } => {
                    // Somebody else's rotation sent again brings what the server made.
                    owned.extend(new_jti.filter(|new| first_told.get(new).is_none_or(|told| told > began)));
                    jtis.push((*jti, *began));
                }
                Call::CheckToken { jti, .. } => jtis.push((*jti, *began)),
                Call::Consume { challenge: Some(challenge), .. } => challenges.push((*challenge, *began)),
                Call::GetKey { prefix: Some(prefix) } | Call::DeleteKey { prefix: Some(prefix) } => {
                    prefixes.push((*prefix, *began));
                }
                _ => {}
            }
            let Some(answer) = answer else { continue };
            if let (Call::Authenticate { key }, Answer::Authenticated(_, Some(row))) = (call, answer) {
                presented.push((row.prefix, *key));
            }
            match answer {
                Answer::Session(row) | Answer::Rotated(_, row) | Answer::Asked(_, Some(row)) => {
                    jtis.push((row.jti, *ended));
                }
                Answer::Sessions(rows) => jtis.extend(rows.iter().map(|(_, row)| (row.jti, *ended))),
                Answer::Claimed(row) => challenges.push((row.challenge, *ended)),
                Answer::Tokens(rows) => challenges.extend(rows.iter().map(|row| (row.challenge, *ended))),
                Answer::Issued(row, value) => {
                    let Call::Issue { request, .. } = call else { continue };
                    let value = match value.which {
                        Which::Made(value) => value,
                        Which::Own(_) => row.challenge,
                    };
                    match request {
                        Some(request) => issued.entry(*request).or_default().push((row.challenge, value)),
                        None => drop(owned.insert(row.challenge)),
                    }
                }
                Answer::Key(row) | Answer::Authenticated(_, Some(row)) => prefixes.push((row.prefix, *ended)),
                Answer::Keys(rows) => prefixes.extend(rows.iter().map(|row| (row.prefix, *ended))),
                Answer::KeyMade(row, key) => match call {
                    Call::CreateKey { request: Some(request), .. } => {
                        keys.entry(*request).or_default().push((row.prefix, *key));
                    }
                    _ => drop(owned.insert(row.prefix)),
                },
                Answer::User { version, .. } => versions.push((*version, *ended)),
                Answer::Counted { version, .. } => match call {
                    Call::RevokeCredentials { request: None, .. } => drop(owned.insert(*version)),
                    _ => versions.push((*version, *ended)),
                },
                _ => {}
            }
        }
        for names in [&mut jtis, &mut versions, &mut challenges, &mut prefixes] {
            names.retain(|(name, _)| !owned.contains(name));
            names.sort_unstable();
            names.dedup_by_key(|(name, _)| *name);
        }
        presented.retain(|(prefix, _)| !owned.contains(prefix));
        for pairs in issued.values_mut().chain(keys.values_mut()).chain([&mut presented]) {
            pairs.sort_unstable();
            pairs.dedup();
        }
        Self { jtis, versions, challenges, prefixes, issued, keys, presented }
    }

    /// What the server may have made up in a call. At least one: what doesn't matter is never seen.
    pub(super) fn made(&self, event: &Event, n: usize, user: &User) -> Vec<Made> {
        let never_seen = Name(NEVER_SEEN - u32::try_from(n).unwrap_or_default());
        let nothing = Made { name: never_seen, value: never_seen, version: never_seen };
        let later = |names: &[(Name, u64)]| {
            let later = names.iter().filter(|(_, told)| *told > event.began).map(|(name, _)| *name);
            later.chain([never_seen]).collect::<Vec<_>>()
        };
        let versions = |all: Vec<Made>| {
            if user.is_known() {
                return all;
            }
            let versions = later(&self.versions);
            all.iter()
                .flat_map(|made| versions.iter().map(|version| Made { version: *version, ..*made }))
                .collect()
        };
        match (&event.call, &event.answer) {
            (Call::Rotate { new_jti: None, .. }, Some(Answer::Rotated(_, row))) => {
                vec![Made { name: row.jti, ..nothing }]
            }
            (Call::Rotate { new_jti: None, .. }, None) => {
                later(&self.jtis).into_iter().map(|name| Made { name, ..nothing }).collect()
            }
            (Call::Issue { .. }, Some(Answer::Issued(row, Value { which, .. }))) => {
                let value = match which {
                    Which::Made(value) => *value,
                    Which::Own(_) => never_seen,
                };
                versions(vec![Made { name: row.challenge, value, ..nothing }])
            }
            (Call::CreateKey { .. }, Some(Answer::KeyMade(row, key))) => {
                versions(vec![Made { name: row.prefix, value: *key, ..nothing }])
            }
            (Call::Issue { request, .. } | Call::CreateKey { request, .. }, None) => {
                let (told, seen, presented) = match event.call {
                    Call::Issue { .. } => (&self.issued, &self.challenges, &[][..]),
                    _ => (&self.keys, &self.prefixes, &self.presented[..]),
                };
                let copies = request.and_then(|request| told.get(&request)).into_iter().flatten();
                let copies = copies.chain(presented);
                let mut all: Vec<_> =
                    copies.map(|(name, value)| Made { name: *name, value: *value, ..nothing }).collect();
                all.extend(later(seen).into_iter().map(|name| Made { name, ..nothing }));
                versions(all)
            }
            (Call::Add { .. } | Call::Issue { .. } | Call::CreateKey { .. }, _) => versions(vec![nothing]),
            (_, Some(Answer::User { version, .. } | Answer::Counted { version, .. })) => {
                vec![Made { version: *version, ..nothing }]
            }
            (Call::CreateUser | Call::SetActive { .. } | Call::RevokeCredentials { .. }, None) => {
                later(&self.versions).into_iter().map(|version| Made { version, ..nothing }).collect()
            }
            _ => vec![nothing],
        }
    }
}

/// Whether a name is one of those.
pub(super) fn is_never_seen(name: Name) -> bool {
    name.0 > NEVER_SEEN - NEVER_SEEN_MAX
}

/// The first of the names that are never seen.
const NEVER_SEEN: u32 = u32::MAX;
/// More of them than a history has calls.
const NEVER_SEEN_MAX: u32 = 1 << 20;
