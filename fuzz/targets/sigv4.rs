//! `Authorization` headers and presigned URLs.

use http::Request;
use lambfold_aws_wire::sigv4::{Covered, Signature, Unverified, Verifier};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Signature::from_authorization(text) {
        Ok(Some(signature)) => {
            verify(&signature);
            let region = if signature.region.is_empty() { "" } else { "/" };
            let header = format!(
                "AWS4-HMAC-SHA256 Credential={}/{}{region}{}/{}/aws4_request, SignedHeaders={}, Signature={}",
                signature.access_key_id,
                signature.date,
                signature.region,
                signature.service,
                signature.signed_headers,
                signature.signature,
            );
            assert_eq!(Signature::from_authorization(&header), Ok(Some(signature)), "{header}");
        }
        Ok(None) => assert!(!text.starts_with("AWS4-HMAC-SHA256"), "a signature was overlooked"),
        Err(fault) => assert_eq!(fault.http_status(), 403),
    }
    if let Ok(request) = Request::get(format!("/?{text}")).body(()) {
        let (head, ()) = request.into_parts();
        match Signature::of(&head) {
            Ok(Some(signature)) => {
                assert!(signature.presigned);
                verify(&signature);
            }
            Ok(None) => {}
            Err(fault) => assert_eq!(fault.http_status(), 403),
        }
    }
}

fn verify(signature: &Signature<'_>) {
    let caller = Unverified::default().verify(Some(signature), Covered::Rpc);
    if let Ok(caller) = caller {
        let asked = signature.region.as_ref();
        assert!(asked.is_empty() || asked == caller.scope.region.as_str(), "another region");
    }
}
