//! Why an image cannot be had.

/// Why an image cannot be had, in words for who named it.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The name is none, or of a kind that is not known.
    #[error("{0}")]
    InvalidName(String),
    /// There is no such image.
    #[error("{0}")]
    NotFound(String),
    /// A setting does not let it be read, or the registry does not.
    #[error("{0}")]
    Denied(String),
    /// It is there, but of a kind that cannot be run.
    #[error("The media type {0:?} is not supported.")]
    MediaType(String),
    /// It is there, but no image that can be run: damaged, too large.
    #[error("{0}")]
    Invalid(String),
    /// The registry does not answer, or a file cannot be read. It may go better another time.
    #[error("{0}")]
    Unavailable(String),
}

/// Where and in what way a document is none, without a word of what it says: whoever asked may not be one who may see it.
pub(crate) fn unreadable(error: &serde_json::Error) -> String {
    let how = match error.classify() {
        serde_json::error::Category::Data => "not what is expected",
        serde_json::error::Category::Eof => "cut off",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "no JSON",
    };
    format!("{how} at line {} column {}", error.line(), error.column())
}
