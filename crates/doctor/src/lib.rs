//! What the doctor looks at and judges: a host with its daemon, and the files of a certificate.

pub mod certificate;
pub mod checks;
pub mod machine;
pub mod processes;
