//! lambfold-dispatcher
