//! DNS messages (RFC 1035), as far as a resolver that passes them on must understand them.

use std::net::IpAddr;
use std::time::Duration;

use smoltcp::wire::{DnsFlags, DnsOpcode, DnsPacket, DnsQuestion, DnsRcode, DnsRecord, DnsRecordData};

const HEADER: usize = 12;
/// The longest name as text.
const LONGEST_NAME: usize = 253;
/// Addresses that are read of one response. Programs try a few; a stream has room for four thousand.
const MOST_ADDRESSES: usize = 64;

/// What a query asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// In lower case, without the dot at its end.
    pub(crate) name: String,
    /// The question as it stands in the query: name, type and class.
    bytes: Vec<u8>,
}

/// Reads a query: one question, and no answers.
pub(crate) fn question(query: &[u8]) -> Option<Question> {
    let packet = DnsPacket::new_checked(query).ok()?;
    if packet.flags().contains(DnsFlags::RESPONSE)
        || packet.opcode() != DnsOpcode::Query
        || packet.question_count() != 1
        || packet.answer_record_count() != 0
    {
        return None;
    }
    let (rest, question) = DnsQuestion::parse(packet.payload()).ok()?;
    let length = packet.payload().len() - rest.len();
    let bytes = packet.payload()[..length].to_vec();
    let written = question.name.len();
    let name = name(&packet, question.name)?;
    // As long as it is written out. With a pointer in it, what it means would depend on the rest of the message.
    let plain = if name.is_empty() { 1 } else { name.len() + 2 };
    (written == plain).then_some(Question { name, bytes })
}

fn name(packet: &DnsPacket<&[u8]>, bytes: &[u8]) -> Option<String> {
    let mut name = String::new();
    for label in packet.parse_name(bytes) {
        let label = label.ok()?;
        // Text that could be taken for another name is no name.
        if !label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.') {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.push_str(std::str::from_utf8(label).ok()?);
        if name.len() > LONGEST_NAME {
            return None;
        }
    }
    name.make_ascii_lowercase();
    Some(name)
}

/// Whether `response` answers `question`, as asked with the id `id`.
pub(crate) fn answers(response: &[u8], id: u16, question: &Question) -> bool {
    let Ok(packet) = DnsPacket::new_checked(response) else { return false };
    packet.flags().contains(DnsFlags::RESPONSE)
        && packet.transaction_id() == id
        && packet.question_count() == 1
        && packet
            .payload()
            .get(..question.bytes.len())
            .is_some_and(|bytes| bytes.eq_ignore_ascii_case(&question.bytes))
}

/// Whether there is more than went into a datagram.
pub(crate) fn is_truncated(response: &[u8]) -> bool {
    DnsPacket::new_checked(response).is_ok_and(|packet| packet.flags().contains(DnsFlags::TRUNCATED))
}

/// Whether a server would not or could not answer, which says nothing of what another one knows.
pub(crate) fn is_failure(response: &[u8]) -> bool {
    let codes = [DnsRcode::ServFail, DnsRcode::NotImp, DnsRcode::Refused].map(u8::from);
    response.get(3).is_some_and(|flags| codes.contains(&(flags & 0xf)))
}

/// The first [`MOST_ADDRESSES`] addresses in a response to `question`, and how long each holds.
pub(crate) fn addresses(response: &[u8], question: &Question) -> Vec<(IpAddr, Duration)> {
    let mut found = Vec::new();
    let Ok(packet) = DnsPacket::new_checked(response) else { return found };
    let mut rest = packet.payload().get(question.bytes.len()..).unwrap_or_default();
    for _ in 0..packet.answer_record_count() {
        if found.len() == MOST_ADDRESSES {
            break;
        }
        let Ok((after, record)) = DnsRecord::parse(rest) else { break };
        let address = match record.data {
            DnsRecordData::A(address) => Some(IpAddr::from(address)),
            DnsRecordData::Aaaa(address) => Some(IpAddr::from(address)),
            // The names between the one that was asked for and its addresses do not matter.
            DnsRecordData::Cname(_) | DnsRecordData::Other(..) => None,
        };
        found.extend(address.map(|address| (address, Duration::from_secs(record.ttl.into()))));
        rest = after;
    }
    found
}

/// A message with another id.
pub(crate) fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut message = message.to_vec();
    if let Some(own) = message.get_mut(..2) {
        own.copy_from_slice(&id.to_be_bytes());
    }
    message
}

/// The id of a message.
pub(crate) fn id(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// That there is no such name.
pub(crate) fn no_such_name(query: &[u8], question: &Question) -> Vec<u8> {
    failure(query, question, DnsRcode::NXDomain)
}

/// That nobody could be asked.
pub(crate) fn server_failure(query: &[u8], question: &Question) -> Vec<u8> {
    failure(query, question, DnsRcode::ServFail)
}

fn failure(query: &[u8], question: &Question, code: DnsRcode) -> Vec<u8> {
    let mut message = vec![0; HEADER];
    let asked = DnsPacket::new_unchecked(query).flags();
    let mut packet = DnsPacket::new_unchecked(&mut message[..]);
    packet.set_transaction_id(id(query));
    packet.set_opcode(DnsOpcode::Query);
    packet.set_flags(
        DnsFlags::RESPONSE | DnsFlags::RECURSION_AVAILABLE | (asked & DnsFlags::RECURSION_DESIRED),
    );
    packet.set_question_count(1);
    // The last four bits of the flags, for which the crate has no setter.
    message[3] |= u8::from(code) & 0xf;
    message.extend_from_slice(&question.bytes);
    message
}

#[cfg(test)]
mod tests {
    use super::{MOST_ADDRESSES, addresses, question};

    #[test]
    fn of_a_long_response_the_first_addresses_are_read() {
        let asked = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1];
        let question = question(&asked).unwrap();
        let mut response = asked.to_vec();
        (response[2], response[6], response[7]) = (0x81, 0x0f, 0xff);
        for number in 0..4095_u16 {
            let [high, low] = number.to_be_bytes();
            response.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 203, 0, high, low]);
        }
        let found = addresses(&response, &question);
        assert_eq!(found.len(), MOST_ADDRESSES);
        assert_eq!(found[1].0.to_string(), "203.0.0.1");
    }
}
