//! Signatures as Standard Webhooks (<https://www.standardwebhooks.com>) wants them: HMAC-SHA-256 over id, time and body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::config::Secret;

/// What a secret in base64 begins with.
const PREFIX: &str = "whsec_";

/// Signs posts with a secret.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// Signs with a secret: `whsec_` and base64, or any other text, whose bytes are the key.
    ///
    /// # Errors
    /// Behind `whsec_` stands no base64.
    pub fn new(secret: &Secret) -> Result<Signer, String> {
        let text = secret.expose();
        let key = match text.strip_prefix(PREFIX) {
            Some(rest) => STANDARD.decode(rest).map_err(|_| {
                format!("the secret begins with `{PREFIX}`, and what follows is no base64; write it as the receiver shows it")
            })?,
            None => text.as_bytes().to_vec(),
        };
        Hmac::new_from_slice(&key).map(Signer).map_err(|e| e.to_string())
    }

    /// The signature of a body that is sent under an id at a time, in seconds since 1970.
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        // The example of its reference libraries.
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let signer = Signer::new(&secret).expect("it is a secret");
        let body = br#"{"test": 2432232314}"#;
        let signature = signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert!(Signer::new(&Secret::new("whsec_no base64".to_owned())).is_err());
        assert!(Signer::new(&Secret::new("any text".to_owned())).is_ok());
    }
}
