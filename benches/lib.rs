//! lambfold-benches
