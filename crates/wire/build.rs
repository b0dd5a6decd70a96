//! Generates what `src/pb.rs` and its neighbours include.

fn main() -> anyhow::Result<()> {
    omnirelay_codegen::ProtoFamily {
        root: "../../proto",
        imported: None,
        name: "omnirelay",
        module: "crate::pb",
        wire: "crate",
        packages: &[".omnirelay", ".aeroarc"],
        // Of files that the command line is given, and of the configuration.
        read_from_json: &[
            "omnirelay.mesh.control.v1.SnapshotItem",
            "omnirelay.security.v1.AuditExportItem",
            "omnirelay.security.v1.Evidence",
            "omnirelay.security.v1.JoinPolicy",
        ],
    }
    .build()
}
