//! lambfold-testkit
