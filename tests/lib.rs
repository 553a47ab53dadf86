//! lambfold-tests
