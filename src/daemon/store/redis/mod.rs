//! The registry on a Redis that the daemons of a mesh share.

pub mod advice;
pub mod link;
pub mod url;
