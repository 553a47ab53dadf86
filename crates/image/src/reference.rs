//! `ImageUri`: names of images in registries, as Docker writes them, and on this machine, as skopeo and podman write
//! them (containers-transports).

use std::fmt;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::ImageError;

const MAX_BYTES: usize = 1024;

/// An image's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// `host[:port]/repository[:tag][@digest]`
    Registry { host: String, repository: String, which: Which },
    /// `oci:directory[:tag][@digest]`, `oci-archive:file.tar[:tag][@digest]`, `docker-archive:file.tar[:name:tag][@digest]`
    Stored { transport: Transport, path: PathBuf, which: Which },
}

/// What kind of thing on this machine an image is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Layout,
    LayoutArchive,
    DockerArchive,
}

impl Transport {
    const ALL: [Self; 3] = [Self::LayoutArchive, Self::Layout, Self::DockerArchive];

    fn prefix(self) -> &'static str {
        match self {
            Self::Layout => "oci",
            Self::LayoutArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
        }
    }
}

/// Which of the images of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Which {
    /// Of a Docker archive the whole name, such as `app:latest`.
    pub(crate) tag: Option<String>,
    /// Beats the tag.
    pub(crate) digest: Option<Digest>,
}

impl Reference {
    pub(crate) fn read(uri: &str) -> Result<Self, ImageError> {
        let wrong = |why: &str| ImageError::InvalidName(format!("{why}."));
        if uri.is_empty() || uri.len() > MAX_BYTES || uri.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(wrong("An image's name has 1 to 1024 characters, and no spaces"));
        }
        let (name, digest) = match uri.rsplit_once('@') {
            Some((name, digest)) => {
                (name, Some(digest.parse::<Digest>().map_err(|error| wrong(&error.to_string()))?))
            }
            None => (uri, None),
        };
        let stored = Transport::ALL.into_iter().find_map(|transport| {
            let rest = name.strip_prefix(transport.prefix())?.strip_prefix(':')?;
            // `oci:5000/repository` would be a registry's, on a host of that name.
            Some((transport, rest)).filter(|(_, rest)| !rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        if let Some((transport, rest)) = stored {
            let (path, tag) = match rest.split_once(':') {
                Some((path, tag)) => (path, Some(tag.to_owned())),
                None => (rest, None),
            };
            if path.is_empty() || tag.as_deref() == Some("") {
                return Err(wrong("The path or the tag is empty"));
            }
            return Ok(Self::Stored { transport, path: path.into(), which: Which { tag, digest } });
        }
        let Some((host, rest)) = name.split_once('/') else {
            return Err(wrong("The name of a registry's host is missing"));
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        if !is_host(host) {
            return Err(wrong("The name of a registry's host is missing"));
        }
        if !repository.split('/').all(is_component) {
            return Err(wrong("The name of the repository is none"));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("The tag is none"));
        }
        // As in Docker: that is what the name stands for.
        let (host, repository) = match host {
            "docker.io" | "index.docker.io" if !repository.contains('/') => {
                ("docker.io".to_owned(), format!("library/{repository}"))
            }
            _ => (host.to_owned(), repository.to_owned()),
        };
        Ok(Self::Registry { host, repository, which: Which { tag, digest } })
    }

    pub(crate) fn which(&self) -> &Which {
        match self {
            Self::Registry { which, .. } | Self::Stored { which, .. } => which,
        }
    }

    /// The same image by its digest; of a Docker archive the name stays, as nothing in it has the digest.
    pub(crate) fn resolved(&self, digest: Digest) -> Self {
        let mut resolved = self.clone();
        let keeps_tag = matches!(self, Self::Stored { transport: Transport::DockerArchive, .. });
        match &mut resolved {
            Self::Registry { which, .. } | Self::Stored { which, .. } => {
                which.digest = Some(digest);
                if !keeps_tag {
                    which.tag = None;
                }
            }
        }
        resolved
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { host, repository, .. } => write!(f, "{host}/{repository}")?,
            Self::Stored { transport, path, .. } => write!(f, "{}:{}", transport.prefix(), path.display())?,
        }
        let Which { tag, digest } = self.which();
        if let Some(tag) = tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A host as Docker tells it from a part of a repository's name: it has a dot or a port, or is `localhost`.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_name = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !name.is_empty()
                && !name.starts_with(['-', '.'])
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        }
    };
    is_name && is_port && (port.is_some() || address.is_some() || name.contains('.') || name == "localhost")
}

fn is_component(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['.', '-', '_'])
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (uri, shown) in [
            ("123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1".to_owned(), None),
            (format!("localhost:5000/app@{digest}"), None),
            (format!("[::1]:5000/app:v1@{digest}"), None),
            ("docker.io/busybox".to_owned(), Some("docker.io/library/busybox")),
            ("oci:/var/images/app".to_owned(), None),
            ("oci:/var/images/app:v1".to_owned(), None),
            (format!("oci-archive:app.tar@{digest}"), None),
            ("docker-archive:/var/app.tar:localhost:5000/app:v1".to_owned(), None),
        ] {
            let reference = Reference::read(&uri).unwrap();
            assert_eq!(reference.to_string(), shown.unwrap_or(&uri));
        }
        let resolved = Reference::read("localhost/app:v1").unwrap().resolved(digest.parse().unwrap());
        assert_eq!(resolved.to_string(), format!("localhost/app@{digest}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for uri in [
            "",
            "app",
            "app:v1",
            "team/app:v1",
            "localhost:0/app",
            "localhost:99999/app",
            "host.example/",
            "host.example/App",
            "host.example/a//b",
            "host.example/../b",
            "host.example/app:",
            "host.example/app:a b",
            "host.example/app@sha256:12",
            "host.example/app@md5:00",
            "user@host.example/app",
            "host.example?x/app",
            "oci:",
            "oci:/dir:",
            "oci:/a\nb",
        ] {
            assert!(matches!(Reference::read(uri), Err(ImageError::InvalidName(_))), "{uri}");
        }
    }
}
