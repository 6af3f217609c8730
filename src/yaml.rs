//! YAML documents.
