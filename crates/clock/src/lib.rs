//! The adapters behind [`lambfold_types::Clock`] and [`lambfold_types::Entropy`]: the system's, and the ones
//! that tests wind by hand. The only place that may read the machine's clock or random numbers.

mod manual;
mod system;

pub use manual::{ManualClock, SeededEntropy};
pub use system::{SystemClock, SystemEntropy};
