//! What `jsonwebtoken` verifies signatures with: ring, which TLS uses too. It never signs, and knows no HMAC.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// The algorithms that a token may be signed by: asymmetric ones.
pub(super) const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Has `jsonwebtoken` verify by ring, in the whole process.
pub(super) fn install() {
    // It is there already: somebody else's in this process, or ours.
    let _ = PROVIDER.install_default();
}

/// How a signature is looked at.
enum Method {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn VerificationAlgorithm),
}

struct OnRing {
    algorithm: Algorithm,
    method: Method,
    key: DecodingKey,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what jsonwebtoken wants")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let method = match algorithm {
        Algorithm::RS256 => Method::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Method::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Method::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Method::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Method::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Method::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Method::Curve(&signature::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Method::Curve(&signature::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Method::Curve(&signature::ED25519),
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    Ok(Box::new(OnRing { algorithm: *algorithm, method, key: key.clone() }))
}

impl Verifier<Vec<u8>> for OnRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let good = match (&self.method, self.key.kind()) {
            (Method::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Method::Curve(algorithm), DecodingKeyKind::SecretOrDer(point)) => {
                UnparsedPublicKey::new(*algorithm, point).verify(message, signature)
            }
            _ => Err(ring::error::Unspecified),
        };
        good.map_err(|ring::error::Unspecified| Error::new())
    }
}

impl JwtVerifier for OnRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by openssl: the modulus of a key, and its signatures of `a message`.
    const MODULUS: &str = "rSpvJrSWaC5CcogzkXzECS4C6gz2ymd3rrHnzp4dy1o_50Sifah_TZG6oP8e0oWQAF5PFu740Ga2oyeN_m5wog34xz\
        nz3ks1ggkia5L_v8Big60aajCpdr5ehg6uS0eGP6U4Mcw10pnTB_F8MOKwT6ZoMjoMpjdOHlk19Uwr-TvfLCDLKPbH\
        SFZgecaSb-4T5QU3N8Gj0lUC-wrtxZai6WTlK7yxBTNe2m7kCM6RTfSCMuQs-Bb6Hxg3vuHX7PAJd0ak211FstUPQc\
        AXmSLDCKDIFuTPfr7x7PBeEXplMJ5JuYigzeA4IhIJf7moI--HAJ-2T9xLWPWpkGc6X1_qjQ";
    const RS256: &str = "FLZU6J1ZgaHZlpx18DCvO_HlbVN0Bqkri26VGYZR762tmWTRzBKIEzwgkW0S9RHxqUtS0-T7OR-pztuFqulUAYQP8Y\
        b3cEekFDQgD-0iC-SklZIzstF4A0Yp0Dk7oUQ1t7ja5V5QNABEXqJfvvtDOmi9YR1CrIc2f5nwWJOHHnDr8Qoq2qPt\
        133_CISNXRDfluKFLpv4G1JcGwW3iQndwAHjL1F92GKwdzqirWHtY700F7j5eTt24rrYIrYTjOe7TAFlXGEDwzPfFn\
        LM-WYnSMm5UlouvudIIEYnB3dqP8LMNOTpIF-V6wD9UHSgqaAtlVKbLhUvBGJ_DnvF8v0zEA";
    const PS256: &str = "W490iKws-B2Me6SDkwZd-HA0v752nKSod6wuqghnfRlbXgcXBxHpqEhpkpAJqix7-v5cH_pnivoRIuQZjuqCURBTv8\
        MmdcgK0Ksty666sxEyTFZiX040ohizGGbnMl1n0Df-Ur9hTIIDb6HyHtHerC54pkQsQawhgZF9YjjO1-gpOsk8WwcW\
        7V0C_fWvjtdctF3UcDKBzK1Xef9sOx-kkhW07UiJK58FAoioxrjFhswv9_06-U2FPRfU4-T8PWikSCRLgfXrG4JNBV\
        ANUa4OFC2QFuzjzgP8e7ScPU_Vkrf5Tzdyu3gnhS7nxKtc3mCSXHCU3SUNzWfqtcuj3NK55Q";

    #[test]
    fn signatures_by_rsa_are_verified_by_their_algorithm_only() {
        install();
        let key = DecodingKey::from_rsa_components(MODULUS, "AQAB").unwrap();
        let is_good = |signature: &str, message: &str, algorithm| {
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, algorithm).unwrap_or(false)
        };
        assert!(is_good(RS256, "a message", Algorithm::RS256));
        assert!(is_good(PS256, "a message", Algorithm::PS256));
        for wrong in
            [Algorithm::PS256, Algorithm::RS384, Algorithm::ES256, Algorithm::EdDSA, Algorithm::HS256]
        {
            assert!(!is_good(RS256, "a message", wrong), "{wrong:?}");
        }
        assert!(!is_good(RS256, "another message", Algorithm::RS256));
        assert!(!is_good(PS256, "another message", Algorithm::PS256));
    }
}
