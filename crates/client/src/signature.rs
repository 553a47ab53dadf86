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
struct Stamp {
    second: i64,
    time: String,
    scope: String,
    /// Keyed, so that a signature hashes only what it signs.
    mac: Hmac<Sha256>,
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
        let second = now.millis().div_euclid(1000);
        if self.stamp.as_ref().is_none_or(|stamp| stamp.second != second) {
            self.stamp = Some(self.stamp_of(now, second));
        }
        let Some(Stamp { time, scope, mac, .. }) = &self.stamp else { return };
        parts.headers.insert(AMZ_DATE, ascii(time));

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
        let mut digits = [0; 64];
        write!(canonical, "\n{signed}\n{}", hex(&Sha256::digest(body), &mut digits))
            .expect("strings take writes");

        let hashed = hex(&Sha256::digest(canonical), &mut digits);
        let mut mac = mac.clone();
        mac.update(format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}").as_bytes());
        let signature = hex(&mac.finalize().into_bytes(), &mut digits);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.credentials.access_key_id
        );
        parts.headers.insert(header::AUTHORIZATION, ascii(&authorization));
    }

    /// What the requests of `now`'s second have in common; the key is that of the stamp before if the day is.
    fn stamp_of(&self, now: Timestamp, second: i64) -> Stamp {
        let time = now.utc("%Y%m%dT%H%M%SZ");
        let (day, _) = time.split_at(8);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let mac = match &self.stamp {
            Some(before) if before.scope == scope => before.mac.clone(),
            _ => self.signing_key(day),
        };
        Stamp { second, time, scope, mac }
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

/// The digits of a SHA-256, in a buffer of the caller's.
fn hex<'d>(hash: &[u8], digits: &'d mut [u8; 64]) -> &'d str {
    hex::encode_to_slice(hash, digits).expect("a SHA-256 has 64 digits");
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
