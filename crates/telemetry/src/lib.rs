//! lambfold-telemetry
