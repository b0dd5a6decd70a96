//! The surface, proven on a service that only these tests have: nothing was written for it but its proto and
//! its operations.

mod fixture;
mod pb;
mod unary;
