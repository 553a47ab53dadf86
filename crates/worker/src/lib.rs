//! lambfold-worker
