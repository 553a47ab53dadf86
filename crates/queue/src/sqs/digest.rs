//! The MD5 digests with which SDKs check what they sent and got (facts, SQS §5.3).

use md5::{Digest, Md5};

/// An attribute as the digest sees it.
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) data_type: &'a str,
    pub(super) value: Value<'a>,
}

/// Strings and numbers are transported as text, all else as bytes.
pub(super) enum Value<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// Of a body.
pub(super) fn body(body: &[u8]) -> [u8; 16] {
    Md5::digest(body).into()
}

/// A digest as SDKs read it: hexadecimal, in lower case.
pub(super) fn text<const N: usize>(digest: [u8; N]) -> String {
    let mut digits = vec![0; 2 * N];
    // `hex::encode` makes it character by character, and that shows.
    hex::encode_to_slice(digest, &mut digits).expect("a byte has two digits");
    String::from_utf8(digits).expect("digits are ASCII")
}

/// Of attributes, which come in ascending order of their names; `None` if there are none.
pub(super) fn attributes<'a>(attributes: impl Iterator<Item = Attribute<'a>>) -> Option<String> {
    let mut md5 = Md5::new();
    let mut any = false;
    for attribute in attributes {
        any = true;
        part(&mut md5, attribute.name.as_bytes());
        part(&mut md5, attribute.data_type.as_bytes());
        match attribute.value {
            Value::Text(text) => {
                md5.update([1]);
                part(&mut md5, text.as_bytes());
            }
            Value::Binary(bytes) => {
                md5.update([2]);
                part(&mut md5, bytes);
            }
        }
    }
    any.then(|| text::<16>(md5.finalize().into()))
}

fn part(md5: &mut Md5, bytes: &[u8]) {
    md5.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    md5.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str, &str)]) -> String {
        let attribute = |(name, data_type, text): &(&'static str, &'static str, &'static str)| Attribute {
            name,
            data_type,
            value: Value::Text(text),
        };
        let pairs: Vec<(&'static str, &'static str, &'static str)> = pairs
            .iter()
            .map(|(a, b, c)| (&*a.to_string().leak(), &*b.to_string().leak(), &*c.to_string().leak()))
            .collect();
        attributes(pairs.iter().map(attribute)).unwrap()
    }

    /// Vectors recorded from AWS.
    #[test]
    fn vectors() {
        assert_eq!(hex::encode(body(b"message")), "78e731027d8fd50ed642340b7c9a63b3");
        assert_eq!(of(&[("timestamp", "Number", "1493147359900")]), "235c5c510d26fb653d073faed50ae77c");
        assert_eq!(of(&[("Hello", "String", "There")]), "a311262e065454b75da111d535b8dacd");
        assert_eq!(
            of(&[("General", "String", "Kenobi"), ("Hello", "String", "There")]),
            "fca026605781cb4126a1e9044df24232"
        );
        assert_eq!(
            of(&[("General", "String", "Kenobi"), ("Hello", "String", "There"), ("Help.Me", "String", "Me")]),
            "4c360f3fdafd970e05fae2f149d997f5"
        );
        let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        assert_eq!(of(&[("AWSTraceHeader", "String", trace)]), "5ae4d5d7636402d80f4eb6d213245a88");
        let bytes = b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01";
        let binary = Attribute { name: "attr1", data_type: "Binary", value: Value::Binary(bytes) };
        assert_eq!(attributes([binary].into_iter()).unwrap(), "8cbe4db156db8a94db8b801b7addb984");
        assert_eq!(attributes(std::iter::empty()), None);
    }
}
