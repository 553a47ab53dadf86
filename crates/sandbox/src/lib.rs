//! lambfold-sandbox
