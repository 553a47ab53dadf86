//! lambfold-poller
