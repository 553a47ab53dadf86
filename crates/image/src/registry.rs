//! Registries, by OCI's Distribution API: manifests and blobs, and the tokens that they want to see.
//!
//! Written on an HTTP client because what a registry sends is bounded here: the crates that speak the API read
//! manifests and error texts whole, whatever their size.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use lambfold_api::BoxStream;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use crate::credentials::{self, Credentials};
use crate::digest::Digest;
use crate::error::ImageError;
use crate::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, MAX_BYTES, OCI_INDEX, OCI_MANIFEST};
use crate::reference::Which;
use crate::resolve::Options;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_WITHIN: Duration = Duration::from_secs(30);
const MAX_TOKEN_BYTES: u64 = 256 << 10;
const MAX_REDIRECTS: usize = 5;

/// A repository, and what it wants to see of who asks.
pub(crate) struct Repository {
    client: Client,
    base: String,
    host: String,
    name: String,
    credentials: Option<Credentials>,
    authorization: tokio::sync::Mutex<Option<HeaderValue>>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// The client for all registries.
pub(crate) fn client() -> Result<Client, ImageError> {
    let broken =
        |error: &dyn std::fmt::Display| ImageError::Unavailable(format!("TLS cannot be used: {error}."));
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(READ_WITHIN)
        .redirect(Policy::custom(redirect))
        .build()
        .map_err(|error| broken(&error))
}

/// Registries keep blobs elsewhere and lead there. None leads to what is of this machine or its networks, unless it is
/// itself: what answers there trusts whoever reaches it.
fn redirect(attempt: Attempt<'_>) -> Action {
    let previous = attempt.previous();
    if previous.len() > MAX_REDIRECTS {
        return attempt.error("too many redirects");
    }
    let begun_plain = previous.first().is_some_and(|first| first.scheme() == "http");
    let is_worse = attempt.url().scheme() != "https" || is_inner(attempt.url());
    if is_worse && !begun_plain {
        return attempt.error("a redirect to where registries do not lead");
    }
    attempt.follow()
}

/// Whether an address is literally one that the world outside does not see.
fn is_inner(url: &Url) -> bool {
    let inner = |address: Ipv4Addr| {
        address.is_private() || address.is_loopback() || address.is_link_local() || address.is_unspecified()
    };
    let host = url.host_str().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => inner(address),
        Ok(IpAddr::V6(address)) => {
            let mapped = address.to_ipv4().is_some_and(inner);
            mapped || address.is_unique_local() || address.is_unicast_link_local() || address.is_loopback()
        }
        Err(_) => host.is_empty() || host == "localhost" || host.ends_with(".localhost"),
    }
}

impl Repository {
    /// Asks nobody yet.
    pub(crate) fn open(
        client: Client,
        host: &str,
        name: &str,
        options: &Options,
    ) -> Result<Self, ImageError> {
        let (host, name) = place_of(host, name, options)?;
        let plain = is_of_this_machine(&host) || options.insecure_registries.contains(&host);
        let scheme = if plain { "http" } else { "https" };
        // Where Docker's own registry is.
        let server = if host == "docker.io" { "registry-1.docker.io" } else { &host };
        Ok(Self {
            client,
            base: format!("{scheme}://{server}/v2/{name}"),
            credentials: credentials::find(&options.registry_credentials, &host)?,
            host,
            name,
            authorization: tokio::sync::Mutex::new(None),
        })
    }

    /// The manifest or index, which is what its digest says where one was asked for.
    pub(crate) async fn manifest(&self, which: &Which) -> Result<(Digest, Vec<u8>), ImageError> {
        let by = match (which.digest, &which.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        };
        let accept = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].join(", ");
        let answer = self.get(&format!("manifests/{by}"), &accept).await?;
        let bytes = self.read(answer, MAX_BYTES).await?;
        let digest = Digest::of(&bytes);
        match which.digest {
            Some(wanted) if wanted != digest => Err(crate::stored::damaged(wanted)),
            _ => Ok((digest, bytes)),
        }
    }

    /// A small blob, which is what its digest says.
    pub(crate) async fn document(&self, digest: Digest) -> Result<Vec<u8>, ImageError> {
        let answer = self.get(&format!("blobs/{digest}"), "*/*").await?;
        let bytes = self.read(answer, MAX_BYTES).await?;
        if Digest::of(&bytes) == digest { Ok(bytes) } else { Err(crate::stored::damaged(digest)) }
    }

    /// A blob as it comes.
    pub(crate) async fn blob(
        &self,
        digest: Digest,
    ) -> Result<BoxStream<Result<Bytes, ImageError>>, ImageError> {
        let answer = self.get(&format!("blobs/{digest}"), "*/*").await?;
        let host = self.host.clone();
        Ok(Box::pin(
            answer.bytes_stream().map(move |piece| piece.map_err(|error| unreachable(&host, &error))),
        ))
    }

    async fn get(&self, path: &str, accept: &str) -> Result<Response, ImageError> {
        let url = Url::parse(&format!("{}/{path}", self.base))
            .map_err(|_| ImageError::InvalidName("The image's name makes no address".to_owned()))?;
        let mut authorization = self.authorization.lock().await;
        let answer = self.send(url.clone(), accept, authorization.as_ref()).await?;
        // Who is asked by way of the registry has no claim to its credentials.
        let is_registry = answer.url().origin() == url.origin();
        let answer = if answer.status() == StatusCode::UNAUTHORIZED && is_registry {
            let challenges: Vec<String> = answer
                .headers()
                .get_all(WWW_AUTHENTICATE)
                .iter()
                .filter_map(|value| value.to_str().ok().map(str::to_owned))
                .collect();
            *authorization = Some(self.authorize(&challenges).await?);
            self.send(url, accept, authorization.as_ref()).await?
        } else {
            answer
        };
        drop(authorization);
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.denied()),
            StatusCode::NOT_FOUND => Err(ImageError::NotFound(format!("{} has no such image.", self.host))),
            other => Err(ImageError::Unavailable(format!(
                "The registry {} answered {}.",
                self.host,
                other.as_u16()
            ))),
        }
    }

    async fn send(
        &self,
        url: Url,
        accept: &str,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, ImageError> {
        let mut request = self.client.get(url).header(ACCEPT, accept);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        request.send().await.map_err(|error| unreachable(&self.host, &error))
    }

    /// What a registry asks for: a name and password, or a token that these, or nothing, buy.
    async fn authorize(&self, challenges: &[String]) -> Result<HeaderValue, ImageError> {
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text).map_err(|_| self.denied())?;
            value.set_sensitive(true);
            Ok(value)
        };
        for challenge in challenges.iter().flat_map(|text| read_challenges(text)).collect::<Vec<_>>() {
            match challenge {
                Challenge::Basic => {
                    if let Some(credentials) = &self.credentials {
                        return secret(&credentials.basic());
                    }
                }
                Challenge::Bearer { mut realm, service, scope } => {
                    if realm.scheme() != "https" && !self.base.starts_with("http:") {
                        return Err(self.denied());
                    }
                    if let Some(service) = service {
                        realm.query_pairs_mut().append_pair("service", &service);
                    }
                    let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.name));
                    realm.query_pairs_mut().append_pair("scope", &scope);
                    let basic = self.credentials.as_ref().map(|it| secret(&it.basic())).transpose()?;
                    let answer = self.send(realm, "application/json", basic.as_ref()).await?;
                    if answer.status() != StatusCode::OK {
                        return Err(self.denied());
                    }
                    let token: Token = serde_json::from_slice(&self.read(answer, MAX_TOKEN_BYTES).await?)
                        .map_err(|_| self.denied())?;
                    let token = token.token.or(token.access_token).ok_or_else(|| self.denied())?;
                    return secret(&format!("Bearer {token}"));
                }
            }
        }
        Err(self.denied())
    }

    async fn read(&self, mut answer: Response, limit: u64) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| unreachable(&self.host, &error))? {
            if (bytes.len() + piece.len()) as u64 > limit {
                return Err(ImageError::Invalid("A document of the image is too large.".to_owned()));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn denied(&self) -> ImageError {
        ImageError::Denied(format!(
            "The registry {} does not permit it; control.registry_credentials names a file with credentials.",
            self.host
        ))
    }
}

/// What a registry wants to see.
enum Challenge {
    Basic,
    Bearer { realm: Url, service: Option<String>, scope: Option<String> },
}

fn read_challenges(text: &str) -> Vec<Challenge> {
    let challenges = http_auth::parse_challenges(text).unwrap_or_default();
    let read = |challenge: &http_auth::ChallengeRef<'_>| {
        let parameter = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        if challenge.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok())?;
        let is_bearer = challenge.scheme.eq_ignore_ascii_case("bearer");
        is_bearer.then(|| Challenge::Bearer {
            realm,
            service: parameter("service"),
            scope: parameter("scope"),
        })
    };
    challenges.iter().filter_map(read).collect()
}

/// Which registry and repository are meant, if they may be asked.
fn place_of(host: &str, name: &str, options: &Options) -> Result<(String, String), ImageError> {
    if is_ecr(host) {
        if options.ecr_registry.is_empty() {
            return Err(ImageError::Denied(format!(
                "{host} is Amazon's; the setting control.ecr_registry names the registry that stands for it."
            )));
        }
        return Ok(match options.ecr_registry.split_once('/') {
            Some((host, folder)) => (host.to_owned(), format!("{}/{name}", folder.trim_matches('/'))),
            None => (options.ecr_registry.clone(), name.to_owned()),
        });
    }
    if options.registries.iter().any(|permitted| permitted == "*" || permitted == host) {
        Ok((host.to_owned(), name.to_owned()))
    } else {
        Err(ImageError::Denied(format!("The setting control.image_registries does not name {host}.")))
    }
}

/// `123456789012.dkr.ecr.us-east-1.amazonaws.com`
fn is_ecr(host: &str) -> bool {
    let mut parts = host.split('.');
    let account = parts.next().unwrap_or_default();
    account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && parts.next() == Some("dkr")
        && parts.next().is_some_and(|part| part.starts_with("ecr"))
        && parts.any(|part| part == "amazonaws")
}

/// Registries there rarely have a certificate.
fn is_of_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    };
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn unreachable(host: &str, error: &reqwest::Error) -> ImageError {
    let reason = if error.is_timeout() {
        "does not answer in time"
    } else if error.is_connect() {
        "cannot be reached"
    } else if error.is_redirect() {
        "redirects too often"
    } else {
        "broke off its answer"
    };
    ImageError::Unavailable(format!("The registry {host} {reason}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ecr_lead_to_the_registry_that_stands_for_it() {
        let ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com";
        let mut options = Options { registries: vec!["*".into()], ..Options::default() };
        assert!(
            matches!(place_of(ecr, "app", &options), Err(ImageError::Denied(text)) if text.contains("ecr_registry"))
        );
        options.ecr_registry = "localhost:5000".into();
        assert_eq!(place_of(ecr, "app", &options).unwrap(), ("localhost:5000".into(), "app".into()));
        options.ecr_registry = "registry.example/mirror/".into();
        assert_eq!(place_of(ecr, "a/b", &options).unwrap(), ("registry.example".into(), "mirror/a/b".into()));
        assert_eq!(place_of("public.ecr.aws", "x", &options).unwrap().0, "public.ecr.aws");
        options.registries = vec!["ghcr.io".into()];
        assert!(place_of("ghcr.io", "x", &options).is_ok());
        assert!(matches!(place_of("evil.example", "x", &options), Err(ImageError::Denied(_))));
    }

    #[test]
    fn only_registries_of_this_machine_are_spoken_to_without_tls() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000"] {
            assert!(is_of_this_machine(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1:5000", "registry.example", "[2001:db8::1]:5000"] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }
}
