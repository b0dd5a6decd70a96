//! Table of the files of the page, made of the folder they are in: each as it is, packed by gzip, and with its tag.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use xxhash_rust::xxh64::xxh64;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("files");
    let out = env::var("OUT_DIR")?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        names.push(entry?.file_name().into_string().map_err(|name| format!("{}", name.display()))?);
    }
    names.sort();
    let mut table = String::from("&[\n");
    for name in names {
        let path = folder.join(&name);
        let bytes = fs::read(&path)?;
        // Both are of this reading, whatever becomes of the file meanwhile.
        let plain = Path::new(&out).join(&name);
        let packed = Path::new(&out).join(format!("{name}.gz"));
        fs::write(&plain, &bytes)?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        fs::write(&packed, encoder.finish()?)?;
        let tag = format!("\"{:016x}\"", xxh64(&bytes, 0));
        writeln!(
            table,
            "    PageFile {{ name: {name:?}, bytes: include_bytes!({:?}), packed: include_bytes!({:?}), tag: {tag:?} }},",
            plain.display().to_string(),
            packed.display().to_string(),
        )?;
    }
    table.push_str("]\n");
    fs::write(Path::new(&out).join("files.rs"), table)?;
    Ok(())
}
