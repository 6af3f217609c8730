//! Parsing Canonical Form and fingerprints.
