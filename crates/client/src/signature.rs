//! AWS Signature Version 4, for requests with a body that is at hand.

use std::fmt::{self, Write};

use hmac::{Hmac, Mac};
use http::request::Parts;
use http::{HeaderName, HeaderValue, header};
use lambfold_types::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// Who signs. On a laptop any secret will do and the access key id is the account.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The access key id; a 12-digit one is the account.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { access_key_id: "000000000000".into(), secret_access_key: "test".into() }
    }
}

/// Signs requests of one service in one region. The signing key of a day is derived once, as SDKs do, and the time is
/// written once a second: a load generator signs tens of thousands of requests in one.
#[derive(Clone)]
pub struct Signer {
    credentials: Credentials,
    region: String,
    service: &'static str,
    stamp: Option<Stamp>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("region", &self.region)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// What signatures of one second have in common.
#[derive(Clone)]
pub struct Stamp {
    second: i64,
    time: String,
    scope: String,
    /// Of the day: keyed, so that a signature hashes only what it signs.
    key: Hmac<Sha256>,
    /// The same, with what all signatures of the second begin with.
    mac: Hmac<Sha256>,
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamp").field("time", &self.time).field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Stamp {
    /// What stands in `X-Amz-Date`.
    pub fn time(&self) -> &str {
        &self.time
    }

    /// What follows the access key id in `Credential`: day, region, service.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The signature of a canonical request, in hexadecimal.
    pub fn signature(&self, canonical: &str) -> [u8; 64] {
        let mut mac = self.mac.clone();
        mac.update(&sha256_hex(canonical.as_bytes()));
        hex(&mac.finalize().into_bytes())
    }
}

/// The SHA-256 of `bytes` in hexadecimal: how a body stands in its canonical request.
pub fn sha256_hex(bytes: &[u8]) -> [u8; 64] {
    hex(&Sha256::digest(bytes))
}

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// Everything but AWS's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

impl Signer {
    /// A signer for `service` in `region`.
    pub fn new(credentials: Credentials, region: &str, service: &'static str) -> Self {
        Self { credentials, region: region.to_owned(), service, stamp: None }
    }

    /// Adds `x-amz-date` and `Authorization` to a request that has its `host` header.
    pub fn sign(&mut self, parts: &mut Parts, body: &[u8], now: Timestamp) {
        let access_key_id = self.credentials.access_key_id.clone();
        let stamp = self.stamp(now);
        parts.headers.insert(AMZ_DATE, ascii(stamp.time()));

        let mut names: Vec<&str> = parts
            .headers
            .keys()
            .map(HeaderName::as_str)
            .filter(|name| matches!(*name, "host" | "content-type") || name.starts_with("x-amz-"))
            .collect();
        names.sort_unstable();
        let signed = names.join(";");

        let mut canonical = String::with_capacity(512);
        write!(canonical, "{}\n{}\n{}\n", parts.method, path(parts), query(parts))
            .expect("strings take writes");
        for name in &names {
            let value = parts.headers.get(*name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            writeln!(canonical, "{name}:{}", value.trim()).expect("strings take writes");
        }
        write!(canonical, "\n{signed}\n{}", text(&sha256_hex(body))).expect("strings take writes");

        let scope = stamp.scope();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, SignedHeaders={signed}, Signature={}",
            text(&stamp.signature(&canonical))
        );
        parts.headers.insert(header::AUTHORIZATION, ascii(&authorization));
    }

    /// Whose signatures they are.
    pub fn access_key_id(&self) -> &str {
        &self.credentials.access_key_id
    }

    /// What signs requests of `now`'s second.
    pub fn stamp(&mut self, now: Timestamp) -> &Stamp {
        let second = now.millis().div_euclid(1000);
        let before = self.stamp.take_if(|stamp| stamp.second != second);
        if self.stamp.is_none() {
            self.stamp = Some(self.stamp_of(now, second, before));
        }
        self.stamp.as_ref().expect("it was just made")
    }

    /// The stamp of `now`'s second; the key is that of the stamp before if the day is.
    fn stamp_of(&self, now: Timestamp, second: i64, before: Option<Stamp>) -> Stamp {
        let time = now.utc("%Y%m%dT%H%M%SZ");
        let (day, _) = time.split_at(8);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let key = match before {
            Some(before) if before.scope == scope => before.key,
            _ => self.signing_key(day),
        };
        let mut mac = key.clone();
        mac.update(format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n").as_bytes());
        Stamp { second, time, scope, key, mac }
    }

    fn signing_key(&self, day: &str) -> Hmac<Sha256> {
        let secret = keyed(format!("AWS4{}", self.credentials.secret_access_key).as_bytes());
        [day, &self.region, self.service, "aws4_request"].iter().fold(secret, |mut mac, part| {
            mac.update(part.as_bytes());
            keyed(&mac.finalize().into_bytes())
        })
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hex(hash: &[u8]) -> [u8; 64] {
    let mut digits = [0; 64];
    hex::encode_to_slice(hash, &mut digits).expect("a SHA-256 has 64 digits");
    digits
}

fn text(digits: &[u8; 64]) -> &str {
    std::str::from_utf8(digits).expect("digits are ASCII")
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("dates, scopes and signatures are plain ASCII")
}

/// The path as it stands in the request, encoded once more, as every service but S3 wants it.
fn path(parts: &Parts) -> String {
    utf8_percent_encode(parts.uri.path(), SEGMENT).to_string()
}

fn query(parts: &Parts) -> String {
    let mut pairs: Vec<String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The example `get-vanilla-query-order-key-case` of AWS's published SigV4 test suite.
    #[test]
    fn signs_as_the_published_example() {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
        };
        let mut signer = Signer::new(credentials, "us-east-1", "service");
        let request =
            Request::get("/?Param2=value2&Param1=value1").header("host", "example.amazonaws.com").body(());
        let (mut parts, ()) = request.unwrap().into_parts();
        signer.sign(&mut parts, b"", Timestamp::from_millis(1_440_938_160_000));
        assert_eq!(parts.headers["x-amz-date"], "20150830T123600Z");
        assert_eq!(
            parts.headers["authorization"],
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
    }
}
