//! Where container images come from: registries, OCI layout directories, and archives as `docker save` and other tools
//! write them. Mirrors what AWS Lambda does of Amazon ECR.
//!
//! [`Images::resolve`] reads an image's manifest and configuration and says which layers it has; [`Images::layer`]
//! brings a layer's blob. Everything that comes from outside is bounded, and belongs to the digest by which it was asked
//! for, or is refused: manifests and configurations here, layers by who reads them to their end (their digest is in
//! [`Layer`]).
//!
//! Not here: what is in a layer (`lambfold_package`), and how an image is run (`lambfold_worker`).

mod credentials;
mod digest;
mod error;
mod manifest;
mod place;
mod reference;
mod registry;
mod resolve;
mod stored;

pub use digest::Digest;
pub use error::ImageError;
pub use resolve::{Image, Images, Layer, Options};
