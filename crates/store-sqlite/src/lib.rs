//! lambfold-store-sqlite
