//! Who Lambfold is to registries: Docker's configuration file, as `docker login` writes it without a helper.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::ImageError;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    /// `username:password` in Base64.
    #[serde(default, rename = "auth")]
    both: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

/// Name and password.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Credentials {
    /// As the Basic scheme has them.
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }
}

/// Those that the file has for a registry. It is read each time: tokens in it do not last long.
pub(crate) fn find(file: &Path, host: &str) -> Result<Option<Credentials>, ImageError> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    // No path and no content in what a caller sees.
    let broken = |error: &dyn std::fmt::Display| {
        ImageError::Unavailable(format!("The file of control.registry_credentials cannot be used: {error}."))
    };
    let bytes = std::fs::read(file).map_err(|error| broken(&error.kind()))?;
    let config: DockerConfig =
        serde_json::from_slice(&bytes).map_err(|_| broken(&"it is no JSON of Docker's"))?;
    let of_hub = ["docker.io", "index.docker.io", "registry-1.docker.io"].contains(&host);
    let is_meant = |key: &str| {
        let key = key.split_once("://").map_or(key, |(_, rest)| rest);
        let key = key.split('/').next().unwrap_or_default();
        key == host || (of_hub && key == "index.docker.io")
    };
    let Some((_, found)) = config.auths.iter().find(|(key, _)| is_meant(key)) else { return Ok(None) };
    if found.both.is_empty() {
        let Auth { username, password, .. } = found;
        // Docker Desktop leaves empty entries behind: they stand for nobody.
        if username.is_empty() {
            return Ok(None);
        }
        return Ok(Some(Credentials { username: username.clone(), password: password.clone() }));
    }
    let decoded = STANDARD.decode(&found.both).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) = pair.ok_or_else(|| broken(&"an auth in it is none"))?;
    Ok(Some(Credentials { username: username.to_owned(), password: password.to_owned() }))
}
