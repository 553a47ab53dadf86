//! lambfold-api
