//! lambfold-gateway
