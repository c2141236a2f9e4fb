//! A set of public keys (JWKS), and what they prove of a token.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::on_ring;
use crate::access::Turn;
use crate::config::Jwt;

/// Keys that a set may have at most.
const KEYS_MAX: usize = 100;
/// Longest token that is looked at, in bytes.
const TOKEN_MAX: usize = 8 * 1024;
/// Tokens that are remembered: a signature costs about as much processor as the call itself.
const REMEMBERED: usize = 10_000;

/// Public keys of an issuer.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: HashMap<String, Key>,
    /// What was proven, by the token's digest. It ends with the set, so a key that is gone proves nothing any more.
    proven: Cache<[u8; 32], Known>,
    claim: String,
    leeway: Duration,
}

#[derive(Debug)]
struct Key {
    key: DecodingKey,
    /// What a token has to be, with the algorithms that this key is for.
    validation: Validation,
}

/// Who a token says that its bearer is.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// The claim that names the caller.
    pub(crate) subject: String,
    /// In seconds since 1970; issuers may write a fraction.
    expires: f64,
}

/// Why a token proves nothing; it says nothing of the token's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It has to wait for its turn.
    #[error("not verified yet")]
    Unverified,
    /// It isn't one, or signed by an algorithm that isn't taken.
    #[error("not a JWT that is taken here")]
    Malformed,
    /// It is signed by a key that isn't in the set; a newer set may have it.
    #[error("signed by a key that isn't known")]
    UnknownKey,
    /// The key is for another algorithm.
    #[error("signed by an algorithm that its key isn't for")]
    Algorithm,
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Signature,
    /// It is over.
    #[error("expired")]
    Expired,
    /// It isn't good yet.
    #[error("not good yet")]
    Early,
    /// It comes from another issuer.
    #[error("of another issuer")]
    Issuer,
    /// It is meant for somebody else.
    #[error("meant for another audience")]
    Audience,
    /// It lacks `exp`, `iss`, `aud` or the claim that names the caller.
    #[error("a claim is missing or of another type")]
    Claim,
}

/// What is wrong with a set of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// It isn't JSON with a list `keys`.
    #[error("not a JSON Web Key Set: line {0}, column {1}")]
    Json(usize, usize),
    /// There are too many.
    #[error("{0} keys, but {KEYS_MAX} are the most")]
    TooMany(usize),
    /// None can verify a signature.
    #[error(
        "none of its {0} keys is one to verify signatures with (RSA, P-256, P-384 or Ed25519, with a kid)"
    )]
    Unusable(usize),
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

impl KeySet {
    /// One without keys, that proves nothing.
    pub(super) fn empty(rules: &Jwt) -> Self {
        Self {
            keys: HashMap::new(),
            proven: Cache::new(REMEMBERED),
            claim: rules.claim.clone(),
            leeway: rules.leeway,
        }
    }

    /// Reads a set; keys that are of no use here are left out.
    pub(super) fn parse(json: &[u8], rules: &Jwt) -> Result<Self, KeySetError> {
        on_ring::install();
        let published: Published =
            serde_json::from_slice(json).map_err(|error| KeySetError::Json(error.line(), error.column()))?;
        let count = published.keys.len();
        if count > KEYS_MAX {
            return Err(KeySetError::TooMany(count));
        }
        let usable = |key: Value| usable(&serde_json::from_value(key).ok()?, rules);
        let keys: HashMap<_, _> = published.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err(KeySetError::Unusable(count));
        }
        Ok(Self { keys, ..Self::empty(rules) })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Who the bearer of a token is, whose SHA-256 this is. One that isn't remembered is verified only with a turn.
    pub(super) fn prove(
        &self,
        token: &[u8],
        digest: &[u8; 32],
        turn: Option<&Turn<'_>>,
    ) -> Result<Known, Unproven> {
        if let Some(known) = self.proven.get(digest) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let is_over = known.expires + self.leeway.as_secs_f64() < now.as_secs_f64();
            return if is_over { Err(Unproven::Expired) } else { Ok(known) };
        }
        let known = self.verify(token, turn.ok_or(Unproven::Unverified)?)?;
        self.proven.insert(*digest, known.clone());
        Ok(known)
    }

    fn verify(&self, token: &[u8], _turn: &Turn<'_>) -> Result<Known, Unproven> {
        if token.len() > TOKEN_MAX {
            return Err(Unproven::Malformed);
        }
        let header = decode_header(token).map_err(|_| Unproven::Malformed)?;
        // What must be understood and isn't.
        if header.crit.is_some() || !on_ring::ALGORITHMS.contains(&header.alg) {
            return Err(Unproven::Malformed);
        }
        let id = header.kid.ok_or(Unproven::Malformed)?;
        let Key { key, validation } = self.keys.get(&id).ok_or(Unproven::UnknownKey)?;
        let claims = decode::<Map<String, Value>>(token, key, validation)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidAlgorithm => Unproven::Algorithm,
                ErrorKind::InvalidSignature => Unproven::Signature,
                ErrorKind::ExpiredSignature => Unproven::Expired,
                ErrorKind::ImmatureSignature => Unproven::Early,
                ErrorKind::InvalidIssuer => Unproven::Issuer,
                ErrorKind::InvalidAudience => Unproven::Audience,
                ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Unproven::Claim,
                _ => Unproven::Malformed,
            })?
            .claims;
        let subject = claims.get(&self.claim).and_then(Value::as_str).ok_or(Unproven::Claim)?;
        let expires = claims.get("exp").and_then(Value::as_f64).ok_or(Unproven::Claim)?;
        Ok(Known { subject: subject.to_owned(), expires })
    }
}

/// A key that signatures can be verified with, by its id.
fn usable(published: &Jwk, rules: &Jwt) -> Option<(String, Key)> {
    if published.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return None;
    }
    let of_kind: &[Algorithm] = match &published.algorithm {
        AlgorithmParameters::RSA(_) => &on_ring::ALGORITHMS[..6],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[Algorithm::ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        _ => return None,
    };
    let algorithms = match published.common.key_algorithm {
        None => of_kind.to_vec(),
        Some(said) => vec![algorithm(said).filter(|algorithm| of_kind.contains(algorithm))?],
    };
    let mut validation = Validation::new(*algorithms.first()?);
    validation.algorithms = algorithms;
    validation.leeway = rules.leeway.as_secs();
    validation.validate_nbf = true;
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_issuer(rules.issuer.as_slice());
    validation.set_audience(rules.audience.as_slice());
    let key = DecodingKey::from_jwk(published).ok()?;
    Some((published.common.key_id.clone()?, Key { key, validation }))
}

fn algorithm(of: KeyAlgorithm) -> Option<Algorithm> {
    Some(match of {
        KeyAlgorithm::RS256 => Algorithm::RS256,
        KeyAlgorithm::RS384 => Algorithm::RS384,
        KeyAlgorithm::RS512 => Algorithm::RS512,
        KeyAlgorithm::PS256 => Algorithm::PS256,
        KeyAlgorithm::PS384 => Algorithm::PS384,
        KeyAlgorithm::PS512 => Algorithm::PS512,
        KeyAlgorithm::ES256 => Algorithm::ES256,
        KeyAlgorithm::ES384 => Algorithm::ES384,
        KeyAlgorithm::EdDSA => Algorithm::EdDSA,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_token_that_is_remembered_ends_all_the_same() {
        let rules = Jwt { leeway: Duration::from_secs(30), ..Config::default().jwt };
        let set = KeySet::empty(&rules);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        for (digest, expires) in [([1; 32], now + 60.0), ([2; 32], now - 5.0), ([3; 32], now - 60.0)] {
            set.proven.insert(digest, Known { subject: "api".to_owned(), expires });
        }
        let prove = |digest| set.prove(b"a token", &[digest; 32], None).map(|known| known.subject);
        assert_eq!(prove(1), Ok("api".to_owned()));
        assert_eq!(prove(2), Ok("api".to_owned()), "within the leeway");
        assert_eq!(prove(3), Err(Unproven::Expired));
        assert_eq!(prove(4), Err(Unproven::Unverified), "what isn't remembered waits for its turn");
    }
}
