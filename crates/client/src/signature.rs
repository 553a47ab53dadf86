//! AWS Signature Version 4, for requests with a body that is at hand.

use std::fmt::Write;

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

/// Signs requests of one service in one region. The signing key of a day is derived once.
#[derive(Clone, Debug)]
pub struct Signer {
    credentials: Credentials,
    region: String,
    service: &'static str,
    day: String,
    key: Vec<u8>,
}

const AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
/// Everything but AWS's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

impl Signer {
    /// A signer for `service` in `region`.
    pub fn new(credentials: Credentials, region: &str, service: &'static str) -> Self {
        Self { credentials, region: region.to_owned(), service, day: String::new(), key: Vec::new() }
    }

    /// Adds `x-amz-date` and `Authorization` to a request that has its `host` header.
    pub fn sign(&mut self, parts: &mut Parts, body: &[u8], now: Timestamp) {
        let time = now.utc("%Y%m%dT%H%M%SZ");
        let (day, _) = time.split_at(8);
        if self.day != day {
            self.key = self.signing_key(day);
            day.clone_into(&mut self.day);
        }
        parts.headers.insert(AMZ_DATE, ascii(&time));

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
        write!(canonical, "\n{signed}\n{}", hex::encode(Sha256::digest(body))).expect("strings take writes");

        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let hashed = hex::encode(Sha256::digest(canonical));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
        let signature = hex::encode(hmac(&self.key, to_sign.as_bytes()));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}",
            self.credentials.access_key_id
        );
        parts.headers.insert(header::AUTHORIZATION, ascii(&authorization));
    }

    fn signing_key(&self, day: &str) -> Vec<u8> {
        let secret = format!("AWS4{}", self.credentials.secret_access_key);
        [day, &self.region, self.service, "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| hmac(&key, part.as_bytes()))
    }
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
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
