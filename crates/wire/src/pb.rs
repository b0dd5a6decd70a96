//! The generated messages and services, one module per proto package.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

pub mod aeroarc {
    pub mod agent {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/aeroarc.agent.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/aeroarc.agent.v1.serde.rs"));
        }
    }
    pub mod registry {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/aeroarc.registry.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/aeroarc.registry.v1.serde.rs"));
        }
    }
    pub mod relay {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/aeroarc.relay.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/aeroarc.relay.v1.serde.rs"));
        }
    }
}
pub mod omnirelay {
    pub mod api {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/omnirelay.api.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/omnirelay.api.v1.serde.rs"));
        }
    }
    pub mod dev {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/omnirelay.dev.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/omnirelay.dev.v1.serde.rs"));
        }
    }
    pub mod mesh {
        pub mod control {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/omnirelay.mesh.control.v1.rs"));
                include!(concat!(env!("OUT_DIR"), "/omnirelay.mesh.control.v1.serde.rs"));
            }
        }
        pub mod membership {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/omnirelay.mesh.membership.v1.rs"));
                include!(concat!(env!("OUT_DIR"), "/omnirelay.mesh.membership.v1.serde.rs"));
            }
        }
        pub mod transport {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/omnirelay.mesh.transport.v1.rs"));
                include!(concat!(env!("OUT_DIR"), "/omnirelay.mesh.transport.v1.serde.rs"));
            }
        }
    }
    pub mod registers {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/omnirelay.registers.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/omnirelay.registers.v1.serde.rs"));
        }
    }
    pub mod security {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/omnirelay.security.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/omnirelay.security.v1.serde.rs"));
        }
    }
    pub mod store {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/omnirelay.store.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/omnirelay.store.v1.serde.rs"));
        }
    }
}
