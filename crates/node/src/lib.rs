//! Wiring of roles into a running node.
