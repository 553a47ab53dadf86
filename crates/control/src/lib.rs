//! lambfold-control
