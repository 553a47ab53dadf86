//! lambfold-config
