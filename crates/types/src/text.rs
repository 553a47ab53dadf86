//! Taking texts apart at bytes of ASCII, for what is done for every request: `str`'s own patterns look at characters, and
//! cost several times as much on texts as short as these.

/// What stands before the first `byte` in `text`, which is ASCII, and what behind it.
pub fn cut(text: &str, byte: u8) -> Option<(&str, &str)> {
    at(text, memchr::memchr(byte, text.as_bytes())?)
}

/// The same of the last one.
pub fn cut_last(text: &str, byte: u8) -> Option<(&str, &str)> {
    at(text, memchr::memrchr(byte, text.as_bytes())?)
}

/// Around the byte at `index`. `None` if it is a part of a character.
fn at(text: &str, index: usize) -> Option<(&str, &str)> {
    Some((text.get(..index)?, text.get(index + 1..)?))
}

/// So many characters of a text that may be of any length are told.
const TOLD: usize = 64;

/// The first characters of `text`, to tell who sent it what is wrong with it.
pub(crate) fn beginning(text: &str) -> String {
    let end = text.char_indices().nth(TOLD).map_or(text.len(), |(end, _)| end);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_around_the_byte() {
        assert_eq!(cut("a/é/c", b'/'), Some(("a", "é/c")));
        assert_eq!(cut_last("a/é/c", b'/'), Some(("a/é", "c")));
        assert_eq!((cut("/", b'/'), cut_last("", b'/'), cut("abc", b'/')), (Some(("", "")), None, None));
        assert_eq!((beginning(&"é".repeat(70)), beginning("é")), ("é".repeat(64), "é".to_owned()));
        // The second byte of é.
        assert_eq!(cut("é", 0xa9), None);
    }
}
