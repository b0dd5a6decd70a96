//! The generated messages and service of the fixture.
#![allow(missing_docs, dead_code, clippy::all, clippy::pedantic)]

pub mod fixture {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/fixture/fixture.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/fixture/fixture.v1.serde.rs"));
    }
}

include!(concat!(env!("OUT_DIR"), "/fixture/bounded.rs"));
