//! lambfold-queue
