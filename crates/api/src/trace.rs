//! Trace context, in the two forms that callers use: W3C `traceparent` and AWS's `X-Amzn-Trace-Id`.

use std::fmt::Write;
use std::sync::Arc;

use lambfold_types::{Entropy, Timestamp};

/// X-Ray's own headers have some two hundred bytes. They travel with messages, beside what is counted.
const LONGEST_HEADER: usize = 1024;

/// The place of a call in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: u128,
    /// The span that the next one is a child of.
    pub span_id: u64,
    /// Whether spans are kept.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads `00-<32 hex>-<16 hex>-<2 hex>` (W3C Trace Context). Later versions may have more fields.
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(5, '-');
        let version = parts.next().filter(|it| it.len() == 2 && *it != "ff" && is_hex(it))?;
        let trace = parts.next().filter(|it| it.len() == 32 && is_hex(it))?;
        let span = parts.next().filter(|it| it.len() == 16 && is_hex(it))?;
        let flags = parts.next().filter(|it| it.len() == 2 && is_hex(it))?;
        if version == "00" && parts.next().is_some() {
            return None;
        }
        Self::new(
            u128::from_str_radix(trace, 16).ok()?,
            u64::from_str_radix(span, 16).ok()?,
            u8::from_str_radix(flags, 16).ok()? & 1 == 1,
        )
    }

    /// Reads `Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=1`. Without a parent the root's own last half
    /// stands in, so that the trace can be continued.
    pub fn from_amzn(text: &str) -> Option<Self> {
        let (mut trace, mut span, mut sampled) = (None, None, false);
        for (key, value) in text.split(';').filter_map(|part| part.trim().split_once('=')) {
            match key {
                "Root" => {
                    let (time, rest) = value.strip_prefix("1-")?.split_once('-')?;
                    let sound = time.len() == 8 && rest.len() == 24 && is_hex(time) && is_hex(rest);
                    trace = sound.then(|| u128::from_str_radix(&format!("{time}{rest}"), 16).ok())?;
                }
                "Parent" if value.len() == 16 && is_hex(value) => span = u64::from_str_radix(value, 16).ok(),
                "Sampled" => sampled = value == "1",
                _ => {}
            }
        }
        let trace = trace?;
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
        Self::new(trace, span.unwrap_or(trace as u64), sampled)
    }

    /// An `X-Amzn-Trace-Id` to pass on unchanged, with what [`from_amzn`](Self::from_amzn) does not read (`Lineage`, `Self`).
    pub fn header(text: &str) -> Option<Arc<str>> {
        (text.len() <= LONGEST_HEADER && Self::from_amzn(text).is_some()).then(|| text.into())
    }

    /// A new trace that nobody keeps: functions get a trace header with every invocation, as on AWS. The trace begins with
    /// the seconds of `now`, which X-Ray's form has first; the rest is random.
    pub fn unsampled(now: Timestamp, entropy: &dyn Entropy) -> Self {
        let mut trace_id = [0; 16];
        let mut span_id = [0; 8];
        entropy.fill(&mut trace_id[4..]);
        entropy.fill(&mut span_id);
        let seconds = u32::try_from(now.secs()).unwrap_or(u32::MAX);
        trace_id[..4].copy_from_slice(&seconds.to_be_bytes());
        // Zero is no id.
        let trace_id = u128::from_be_bytes(trace_id).max(1);
        Self { trace_id, span_id: u64::from_be_bytes(span_id).max(1), sampled: false }
    }

    fn new(trace_id: u128, span_id: u64, sampled: bool) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled })
    }

    /// As W3C `traceparent`.
    pub fn to_traceparent(self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }

    /// As `X-Amzn-Trace-Id`, which is also what `AWSTraceHeader` and `_X_AMZN_TRACE_ID` hold.
    pub fn to_amzn(self) -> String {
        let trace = format!("{:032x}", self.trace_id);
        let mut text = String::with_capacity(74);
        let (time, rest) = trace.split_at(8);
        write!(text, "Root=1-{time}-{rest};Parent={:016x};Sampled={}", self.span_id, u8::from(self.sampled))
            .expect("strings take writes");
        text
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use lambfold_types::{Entropy, Timestamp};

    use super::TraceContext;

    struct Same(u8);

    impl Entropy for Same {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn a_trace_that_nobody_keeps_begins_with_the_time() {
        let at = Timestamp::from_millis(0x5759_e988 * 1000);
        let trace = TraceContext::unsampled(at, &Same(0xab));
        assert_eq!(
            trace.to_amzn(),
            "Root=1-5759e988-abababababababababababab;Parent=abababababababab;Sampled=0"
        );
        let least = TraceContext::unsampled(Timestamp::from_millis(0), &Same(0));
        assert_eq!(TraceContext::from_amzn(&least.to_amzn()), Some(least), "no id is zero");
    }

    #[test]
    fn both_forms_say_the_same() {
        let parent = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
        let amzn = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let context = TraceContext::from_traceparent(parent).unwrap();
        assert_eq!(context.to_traceparent(), parent);
        assert_eq!(context.to_amzn(), amzn);
        assert_eq!(TraceContext::from_amzn(amzn), Some(context));
    }

    #[test]
    fn garbage_is_no_trace() {
        for text in [
            "",
            "00",
            "00-0-0-0",
            "00-00000000000000000000000000000000-53995c3f42cd8ad8-01",
            "ff-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01-more",
            "00-5759E988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
        ] {
            assert_eq!(TraceContext::from_traceparent(text), None, "{text}");
        }
        for text in [
            "",
            "Root=",
            "Root=1-5759e988",
            "Root=1-ééééééééé-bd862e3fe1be46a994272793",
            "Parent=53995c3f42cd8ad8",
        ] {
            assert_eq!(TraceContext::from_amzn(text), None, "{text}");
        }
    }
}
