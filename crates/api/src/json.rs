//! How shapes look in AWS JSON where serde's defaults differ: blobs are base64, `null` is absence.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};

/// A list or map member that is `null` counts as absent.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn decode<E: serde::de::Error>(text: &str) -> Result<Bytes, E> {
    STANDARD.decode(text).map(Bytes::from).map_err(|_| E::custom("not base64"))
}

/// A blob member.
pub mod blob {
    use super::{Bytes, Deserialize, Deserializer, Engine, STANDARD, decode};
    use serde::Serializer;

    /// Writes base64.
    pub fn serialize<S: Serializer>(blob: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        match blob {
            Some(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    /// Reads base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        Option::<std::borrow::Cow<'_, str>>::deserialize(deserializer)?.map(|text| decode(&text)).transpose()
    }
}

/// A list of blobs.
pub mod blobs {
    use super::{Bytes, Deserialize, Deserializer, Engine, STANDARD, decode};
    use serde::Serializer;

    /// Writes base64.
    pub fn serialize<S: Serializer>(blobs: &[Bytes], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(blobs.iter().map(|blob| STANDARD.encode(blob)))
    }

    /// Reads base64.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bytes>, D::Error> {
        let texts = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
        texts.iter().map(|text| decode(text)).collect()
    }
}
