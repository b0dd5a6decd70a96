//! Generates what `src/pb.rs` and its neighbours include.

fn main() -> anyhow::Result<()> {
    omnirelay_codegen::ProtoFamily {
        root: "../../proto",
        imported: None,
        name: "omnirelay",
        module: "crate::pb",
        wire: "crate",
        packages: &[".omnirelay", ".aeroarc"],
    }
    .build()
}
