//! lambfold-aws-wire
