//! AWS Signature Version 4: who says that they signed a request, for which region and service, and the place where
//! that is verified. On a laptop nothing is: the access key id names the account.

use std::borrow::Cow;

use http::header;
use http::request::Parts;
use lambfold_api::{Fault, Principal};
use lambfold_types::{AccountId, Region, Scope, cut, cut_last};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Signature Version 4A: its scope has no region.
const ALGORITHM_4A: &str = "AWS4-ECDSA-P256-SHA256";

/// A signature as a request carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature<'a> {
    /// Whose key.
    pub access_key_id: Cow<'a, str>,
    /// The day of the scope, `20260131`.
    pub date: Cow<'a, str>,
    /// The region of the scope; empty if the signature holds for many (Version 4A).
    pub region: Cow<'a, str>,
    /// The service of the scope.
    pub service: Cow<'a, str>,
    /// The names of the headers that were signed, with semicolons between.
    pub signed_headers: Cow<'a, str>,
    /// The signature itself, in hexadecimal.
    pub signature: Cow<'a, str>,
    /// Whether it stood in the URL.
    pub presigned: bool,
}

impl<'a> Signature<'a> {
    /// The signature of a request, from its `Authorization` header or its URL. `None` if it is not signed, or not in a
    /// way that is AWS's.
    pub fn of(head: &'a Parts) -> Result<Option<Self>, Fault> {
        if let Some(value) = head.headers.get(header::AUTHORIZATION) {
            return match value.to_str() {
                Ok(text) => Self::from_authorization(text),
                Err(_) => Ok(None),
            };
        }
        match head.uri.query() {
            Some(query) if query.contains("X-Amz-Algorithm") => Self::from_query(query),
            _ => Ok(None),
        }
    }

    /// The signature in an `Authorization` header, or in the gRPC metadata of that name.
    pub fn from_authorization(text: &'a str) -> Result<Option<Self>, Fault> {
        let Some(fields) = text.strip_prefix(ALGORITHM).or_else(|| text.strip_prefix(ALGORITHM_4A)) else {
            return Ok(None);
        };
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        let mut rest = Some(fields);
        while let Some(fields) = rest {
            let (field, others) =
                cut(fields, b',').map_or((fields, None), |(field, rest)| (field, Some(rest)));
            rest = others;
            match cut(field.trim(), b'=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => signed_headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {}
            }
        }
        let missing = |name: &str| incomplete(&format!("Authorization header requires '{name}' parameter."));
        let credential = credential.ok_or_else(|| missing("Credential"))?;
        let scope = Credential::parse(credential)?;
        Ok(Some(Self {
            access_key_id: scope.access_key_id.into(),
            date: scope.date.into(),
            region: scope.region.into(),
            service: scope.service.into(),
            signed_headers: signed_headers.ok_or_else(|| missing("SignedHeaders"))?.into(),
            signature: signature.ok_or_else(|| missing("Signature"))?.into(),
            presigned: false,
        }))
    }

    fn from_query(query: &'a str) -> Result<Option<Self>, Fault> {
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "X-Amz-Credential" => credential = Some(value),
                "X-Amz-SignedHeaders" => signed_headers = Some(value),
                "X-Amz-Signature" => signature = Some(value),
                _ => {}
            }
        }
        let missing = |name: &str| incomplete(&format!("The query string requires '{name}' parameter."));
        let credential = credential.ok_or_else(|| missing("X-Amz-Credential"))?;
        let scope = Credential::parse(&credential)?;
        Ok(Some(Self {
            access_key_id: scope.access_key_id.to_owned().into(),
            date: scope.date.to_owned().into(),
            region: scope.region.to_owned().into(),
            service: scope.service.to_owned().into(),
            signed_headers: signed_headers.ok_or_else(|| missing("X-Amz-SignedHeaders"))?,
            signature: signature.ok_or_else(|| missing("X-Amz-Signature"))?,
            presigned: true,
        }))
    }
}

struct Credential<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
}

impl<'a> Credential<'a> {
    /// From its end: where there is a region, an access key id may have slashes.
    fn read(text: &'a str) -> Option<Self> {
        let (rest, service) = cut_last(text.strip_suffix("/aws4_request")?, b'/')?;
        let (rest, region_or_date) = cut_last(rest, b'/')?;
        let (access_key_id, date, region) = match cut_last(rest, b'/') {
            Some((access_key_id, date)) => (access_key_id, date, Some(region_or_date)),
            None => (rest, region_or_date, None),
        };
        let is_whole =
            [access_key_id, date, service, region.unwrap_or("any")].iter().all(|part| !part.is_empty());
        is_whole.then(|| Self { access_key_id, date, region: region.unwrap_or_default(), service })
    }

    /// `AKID/20260131/us-east-1/sqs/aws4_request`; without a region in Version 4A.
    fn parse(text: &'a str) -> Result<Self, Fault> {
        Self::read(text).ok_or_else(|| {
            incomplete("Credential must have at least 5 slash-separated elements, e.g. keyid/date/region/service/term.")
        })
    }
}

fn incomplete(text: &str) -> Fault {
    Fault::raw("IncompleteSignatureException", "IncompleteSignature", 403, text)
}

/// What a signature covers.
#[derive(Clone, Copy, Debug)]
pub enum Covered<'a> {
    /// An HTTP request.
    Http {
        /// Its head.
        head: &'a Parts,
        /// Its body.
        body: &'a [u8],
    },
    /// A gRPC call: its signature covers no message.
    Rpc,
}

/// Who signed, as far as that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account and region to act in.
    pub scope: Scope,
    /// Who.
    pub principal: Principal,
}

/// Decides who the caller is.
pub trait Verifier: Send + Sync + 'static {
    /// The caller, or the fault that refuses them.
    fn verify(&self, signature: Option<&Signature<'_>>, covered: Covered<'_>) -> Result<Caller, Fault>;
}

/// A laptop's way: nothing is verified. A 12-digit access key id is the account; every other one, and none, means the
/// default account. The region is that of the credential scope.
#[derive(Clone, Debug, Default)]
pub struct Unverified {
    /// The account and region where a request names none.
    pub default: Scope,
}

impl Verifier for Unverified {
    fn verify(&self, signature: Option<&Signature<'_>>, _: Covered<'_>) -> Result<Caller, Fault> {
        let mut scope = self.default.clone();
        if let Some(signature) = signature {
            if let Ok(account) = signature.access_key_id.parse::<AccountId>() {
                scope.account = account;
            }
            if !signature.region.is_empty() && signature.region != scope.region.as_str() {
                scope.region = signature.region.parse::<Region>().map_err(|_| {
                    Fault::raw(
                        "InvalidSignatureException",
                        "SignatureDoesNotMatch",
                        403,
                        "Credential should be scoped to a valid region.",
                    )
                })?;
            }
        }
        Ok(Caller { principal: Principal::account_root(&scope), scope })
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn caller(authorization: Option<&str>) -> Result<Caller, Fault> {
        let signature = authorization.map(Signature::from_authorization).transpose()?.flatten();
        Unverified::default().verify(signature.as_ref(), Covered::Rpc)
    }

    #[test]
    fn a_header_is_taken_apart() {
        let text = "AWS4-HMAC-SHA256 Credential=123456789012/20260131/eu-west-1/sqs/aws4_request, \
                    SignedHeaders=content-type;host, Signature=abc";
        let signature = Signature::from_authorization(text).unwrap().unwrap();
        assert_eq!((&*signature.access_key_id, &*signature.date), ("123456789012", "20260131"));
        assert_eq!((&*signature.region, &*signature.service), ("eu-west-1", "sqs"));
        assert_eq!((&*signature.signed_headers, &*signature.signature), ("content-type;host", "abc"));
        // A key id may have slashes.
        let slashed = text.replace("123456789012", "a/b");
        assert_eq!(Signature::from_authorization(&slashed).unwrap().unwrap().access_key_id, "a/b");
        // Some clients put no blanks.
        let tight = text.replace(", ", ",");
        assert_eq!(Signature::from_authorization(&tight).unwrap().unwrap(), signature);
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = "/?Action=ListQueues&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=000000000042%2F20260131%2Fus-east-1\
                   %2Fsqs%2Faws4_request&X-Amz-SignedHeaders=host&X-Amz-Signature=abc";
        let (head, ()) = Request::get(url).body(()).unwrap().into_parts();
        let signature = Signature::of(&head).unwrap().unwrap();
        assert_eq!((&*signature.access_key_id, signature.presigned), ("000000000042", true));
        let (head, ()) = Request::get("/?X-Amz-Algorithm=AWS4-HMAC-SHA256").body(()).unwrap().into_parts();
        assert_eq!(Signature::of(&head).unwrap_err().code(), "IncompleteSignatureException");
    }

    #[test]
    fn twelve_digits_are_the_account() {
        let sign = |credential: &str| {
            format!("AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=00")
        };
        let named = caller(Some(&sign("123456789012/20260131/eu-west-1/sqs/aws4_request"))).unwrap();
        assert_eq!(named.scope.to_string(), "123456789012/eu-west-1");
        assert_eq!(named.principal.as_str(), "arn:aws:iam::123456789012:root");
        let key = caller(Some(&sign("AKIAIOSFODNN7EXAMPLE/20260131/eu-west-1/sqs/aws4_request"))).unwrap();
        assert_eq!(key.scope.to_string(), "000000000000/eu-west-1");
        let many_regions = sign("123456789012/20260131/sqs/aws4_request").replace(ALGORITHM, ALGORITHM_4A);
        assert_eq!(caller(Some(&many_regions)).unwrap().scope.to_string(), "123456789012/us-east-1");
        for unsigned in [None, Some(""), Some("Bearer abc"), Some("Basic dXNlcjpw")] {
            assert_eq!(caller(unsigned).unwrap().scope, Scope::default());
        }
    }

    #[test]
    fn half_signatures_are_refused() {
        for text in [
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=, SignedHeaders=host, Signature=0",
            "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=0",
            "AWS4-HMAC-SHA256 Credential=1/2/3/4/aws3_request, SignedHeaders=host, Signature=0",
            "AWS4-HMAC-SHA256 Credential=1/2//4/aws4_request, SignedHeaders=host, Signature=0",
            "AWS4-HMAC-SHA256 Credential=/2/3/aws4_request, SignedHeaders=host, Signature=0",
            "AWS4-HMAC-SHA256 Credential=1/2/3/4/aws4_request, Signature=0",
            "AWS4-HMAC-SHA256 Credential=1/2/3/4/aws4_request, SignedHeaders=host",
        ] {
            assert_eq!(caller(Some(text)).unwrap_err().code(), "IncompleteSignatureException", "{text}");
        }
        let region = "AWS4-HMAC-SHA256 Credential=1/2/NOWHERE!/4/aws4_request, SignedHeaders=h, Signature=0";
        assert_eq!(caller(Some(region)).unwrap_err().http_status(), 403);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "(AWS4-HMAC-SHA256)?[ -~]{0,80}", query in "[!-~&&[^#]]{0,80}") {
            let _ = Signature::from_authorization(&text);
            let url = format!("/?X-Amz-Algorithm=x&X-Amz-Credential={query}");
            if let Ok(request) = Request::get(url).body(()) {
                let _ = Signature::of(&request.into_parts().0);
            }
        }
    }
}
