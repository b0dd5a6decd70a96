//! Checks of a host with its daemon, and of the files of a certificate.

pub mod certificate;
pub mod checks;
pub mod machine;
pub mod processes;
