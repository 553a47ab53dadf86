//! What is known of a shape at run time: for the protocols that cannot go through serde alone (Query, XML, and
//! the members that travel in a URL or header), and for the checks before an operation runs.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::validate::Violations;

/// A generated AWS shape.
pub trait Shape:
    prost::Message + Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The members in the order of the proto.
    const SCHEMA: &'static Schema;

    /// Whether a blob member is the whole body.
    const HAS_PAYLOAD: bool = false;

    /// Adds every broken constraint to `found`.
    fn validate(&self, found: &mut Violations) {
        let _ = found;
    }

    /// The string member of that AWS name.
    fn text(&self, member: &str) -> Option<&str> {
        let _ = member;
        None
    }

    /// Sets the blob member that is the whole body.
    fn set_payload(&mut self, payload: Bytes) {
        let _ = payload;
    }

    /// Takes the blob member that is the whole body.
    fn take_payload(&mut self) -> Option<Bytes> {
        None
    }
}

/// A structure.
#[derive(Debug)]
pub struct Schema {
    /// The shape's name.
    pub name: &'static str,
    /// Its members.
    pub members: &'static [Member],
}

/// A member of a structure.
#[derive(Debug)]
pub struct Member {
    /// The AWS name, as in JSON.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Where it travels in REST.
    pub location: Location,
    /// Its name there: of the header, the query parameter or the path segment.
    pub wire_name: &'static str,
    /// Its name in the Query protocol.
    pub query: QueryName,
}

/// Names of the Query protocol, in which lists and maps are flattened.
#[derive(Debug)]
pub struct QueryName {
    /// Of the member: `Attribute` in `Attribute.1.Name`.
    pub name: &'static str,
    /// Of a map's keys.
    pub key: &'static str,
    /// Of a map's values.
    pub value: &'static str,
}

/// What a member holds. Messages that only wrap a list or map are that list or map here.
#[derive(Debug)]
pub enum Kind {
    /// Text.
    String,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// A number.
    Double,
    /// Seconds since the epoch with a fraction.
    Timestamp,
    /// Bytes.
    Blob,
    /// A structure.
    Structure(fn() -> &'static Schema),
    /// A list.
    List(&'static Kind),
    /// A map with text keys.
    Map(&'static Kind),
}

/// Where a member travels in a REST request or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the JSON body.
    Body,
    /// In the path.
    Path,
    /// In the query string.
    Query,
    /// In a header.
    Header,
    /// It is the status.
    StatusCode,
    /// It is the body.
    Payload,
}
