//! URLs of functions.

use serde::{Deserialize, Serialize};

/// A URL of a function, or of one of its aliases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionUrl {
    /// The first label of its host name: 32 characters, never given twice.
    pub url_id: String,
    /// `AuthType`
    pub auth_type: String,
    /// `InvokeMode`
    pub invoke_mode: String,
    /// `Cors`; `None` where the function answers for itself.
    pub cors: Option<Cors>,
    /// `CreationTime`, as AWS writes it.
    pub created: String,
    /// `LastModifiedTime`, as AWS writes it.
    pub last_modified: String,
}

/// `Cors`: what was given is shown again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// `AllowCredentials`
    pub allow_credentials: Option<bool>,
    /// `AllowHeaders`
    pub allow_headers: Option<Vec<String>>,
    /// `AllowMethods`
    pub allow_methods: Option<Vec<String>>,
    /// `AllowOrigins`
    pub allow_origins: Option<Vec<String>>,
    /// `ExposeHeaders`
    pub expose_headers: Option<Vec<String>>,
    /// `MaxAge`, in seconds.
    pub max_age: Option<u32>,
}
