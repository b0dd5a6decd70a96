//! Generates what `src/lib.rs` includes.

fn main() -> anyhow::Result<()> {
    let files = protox::compile(["orders.proto"], ["proto"])?;
    println!("cargo::rerun-if-changed=proto");
    Ok(tonic_prost_build::configure().compile_fds(files)?)
}
