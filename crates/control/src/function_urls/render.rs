//! URLs as the API shows them, and as the gateway is told.

use std::net::IpAddr;

use lambfold_api::CallContext;
use lambfold_api::control as wire;
use lambfold_api::lambda::Cors as CorsShape;
use lambfold_types::Timestamp;

use crate::record::{Cors, Function};

/// The default `InvokeMode`.
pub(super) const BUFFERED: &str = "BUFFERED";

/// `2026-01-31T23:59:59.000Z`, as Lambda writes times of URLs.
pub(super) fn timestamp(at: Timestamp) -> String {
    at.utc("%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// The URL, on the host that the client used. Where that is the loopback's address it is `localhost`, of which clients
/// know that it may have names in front.
pub(super) fn url(ctx: &CallContext, url_id: &str) -> String {
    let endpoint = ctx.endpoint.as_str();
    let (scheme, authority) = endpoint.split_once("://").unwrap_or(("http", endpoint));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let host =
        if address.is_ok_and(|it| it.is_loopback() || it.is_unspecified()) { "localhost" } else { host };
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{url_id}.lambda-url.{}.{host}{port}/", ctx.scope.region)
}

/// What was given; `None` if that is nothing.
pub(super) fn read_cors(given: CorsShape) -> Option<Cors> {
    let cors = Cors {
        allow_credentials: given.allow_credentials,
        allow_headers: given.allow_headers.map(|list| list.items),
        allow_methods: given.allow_methods.map(|list| list.items),
        allow_origins: given.allow_origins.map(|list| list.items),
        expose_headers: given.expose_headers.map(|list| list.items),
        max_age: given.max_age.and_then(|seconds| u32::try_from(seconds).ok()),
    };
    (cors != Cors::default()).then_some(cors)
}

pub(super) fn cors(cors: Cors) -> CorsShape {
    CorsShape {
        allow_credentials: cors.allow_credentials,
        allow_headers: cors.allow_headers.map(Into::into),
        allow_methods: cors.allow_methods.map(Into::into),
        allow_origins: cors.allow_origins.map(Into::into),
        expose_headers: cors.expose_headers.map(Into::into),
        max_age: cors.max_age.and_then(|seconds| i32::try_from(seconds).ok()),
    }
}

/// The URLs of a function for those that answer at them.
pub(crate) fn wire(function: &Function) -> wire::FunctionUrls {
    let Function { scope, name, record } = function;
    let urls = record.urls.iter().map(|(qualifier, url)| wire::FunctionUrl {
        url_id: url.url_id.clone(),
        qualifier: qualifier.clone(),
        auth_type: url.auth_type.clone(),
        invoke_mode: url.invoke_mode.clone(),
        cors: url.cors.as_ref().map(|cors| wire::Cors {
            allow_credentials: cors.allow_credentials.unwrap_or_default(),
            allow_headers: cors.allow_headers.clone().unwrap_or_default(),
            allow_methods: cors.allow_methods.clone().unwrap_or_default(),
            allow_origins: cors.allow_origins.clone().unwrap_or_default(),
            expose_headers: cors.expose_headers.clone().unwrap_or_default(),
            max_age: cors.max_age,
        }),
    });
    wire::FunctionUrls {
        account: scope.account.to_string(),
        region: scope.region.to_string(),
        function_name: name.to_string(),
        incarnation: record.incarnation.clone(),
        urls: urls.collect(),
    }
}

#[cfg(test)]
mod tests {
    use lambfold_api::Endpoint;
    use lambfold_types::Scope;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn urls_lead_back_the_way_the_client_came() {
        for (host, expected) in [
            ("127.0.0.1:4566", "http://x.lambda-url.us-east-1.localhost:4566/"),
            ("[::1]:4566", "http://x.lambda-url.us-east-1.localhost:4566/"),
            ("lambfold.example", "http://x.lambda-url.us-east-1.lambfold.example/"),
        ] {
            let endpoint = Endpoint::new("http", host).unwrap();
            let ctx = CallContext { endpoint, ..CallContext::internal(Scope::default(), Uuid::nil()) };
            assert_eq!(url(&ctx, "x"), expected);
        }
    }
}
