//! Settings of the logs service.

/// Settings of the logs service.
#[derive(Clone, Debug)]
pub struct Options {
    /// The size of all events that are kept, in bytes as AWS counts them; the oldest go first.
    pub most_bytes: u64,
    /// Bytes that may wait to be written; what comes beyond is refused.
    pub most_waiting_bytes: usize,
    /// Live tails at once, of all accounts together. Each looks at everything that comes in.
    pub most_live_tails: usize,
    /// Live tails at once, of each account (AWS: 15).
    pub most_live_tails_of_account: usize,
}

impl Default for Options {
    /// 1 GiB, 32 MiB, 256, 15.
    fn default() -> Self {
        Self {
            most_bytes: 1 << 30,
            most_waiting_bytes: 32 << 20,
            most_live_tails: 256,
            most_live_tails_of_account: 15,
        }
    }
}
