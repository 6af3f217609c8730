//! control

pub mod admin;
