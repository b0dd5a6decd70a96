//! Archive of a support bundle: a compressed tar whose first file says what the others are.
//!
//! Nothing of one is ever unpacked into the file system, so its paths are names and lead nowhere. What a stranger made is read within
//! bounds: how many files, how many bytes of each and of all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use omnirelay_store::whole_file::write_whole;
use omnirelay_wire::reasons;
use tar::{Archive, Builder, EntryType, Header};

use super::manifest::{BundleManifest, MANIFEST};
use crate::frame::error::{CliError, chain};

/// The most files of a bundle.
const FILES_MAX: usize = 50_000;
/// How large all its files may be together, and its manifest, in bytes.
const UNPACKED_BYTES_MAX: u64 = 256 * 1024 * 1024;
const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What an archive has besides its files: a head and a rest of a block for each.
const HEADS_BYTES_MAX: u64 = 1024 * FILES_MAX as u64;

/// Files of a bundle by their paths in it, without the manifest.
pub(crate) type BundleFiles = BTreeMap<String, Vec<u8>>;

/// Writes a bundle that nobody else may read, all of it or nothing.
///
/// # Errors
/// Usage where there is a file already, unless it is forced; what keeps the file from being written.
pub(crate) fn write(
    path: &Path,
    manifest: &BundleManifest,
    files: &BundleFiles,
    force: bool,
) -> Result<u64, CliError> {
    check_free(path, force)?;
    let packed = packed(manifest, files);
    let written = packed.and_then(|packed| write_whole(path, &packed).map(|()| packed.len() as u64));
    written.map_err(|error| {
        CliError::local(reasons::OUTPUT, format!("cannot write `{}`", path.display()), &error)
    })
}

/// # Errors
/// When there is a file already, and it is not to be written over.
pub(crate) fn check_free(path: &Path, force: bool) -> Result<(), CliError> {
    match path.symlink_metadata() {
        Ok(_) if !force => Err(CliError::not_written_over(path)),
        Ok(found) if found.is_dir() => Err(CliError::usage(format!("{} is a folder", path.display()))),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn packed(manifest: &BundleManifest, files: &BundleFiles) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    add(&mut archive, MANIFEST, &serde_json::to_vec_pretty(manifest)?)?;
    for (name, bytes) in files {
        add(&mut archive, name, bytes)?;
    }
    archive.into_inner()?.finish()
}

fn add(archive: &mut Builder<impl Write>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, bytes)
}

/// Reads a bundle.
///
/// # Errors
/// `BUNDLE_UNREADABLE` when it is none, is damaged or is larger than bundles are.
pub(crate) fn read(path: &Path) -> Result<(BundleManifest, BundleFiles), CliError> {
    let refuse = |cause: String| {
        CliError::new(reasons::BUNDLE_UNREADABLE, format!("`{}` is no support bundle", path.display()))
            .cause(cause)
            .hint("have it made, or sent, anew: omnirelay support bundle FILE")
    };
    let file = File::open(path).map_err(|error| {
        CliError::new(reasons::BUNDLE_UNREADABLE, format!("cannot read `{}`", path.display()))
            .cause(chain(&error))
    })?;
    unpacked(BufReader::new(file)).map_err(|error| refuse(chain(&error)))
}

fn unpacked(file: impl Read) -> io::Result<(BundleManifest, BundleFiles)> {
    let mut archive = Archive::new(GzDecoder::new(file).take(UNPACKED_BYTES_MAX + HEADS_BYTES_MAX));
    let (mut manifest, mut files, mut left) = (None, BundleFiles::new(), UNPACKED_BYTES_MAX);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name =
            String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| garbled("a name is no text"))?;
        if entry.header().entry_type() != EntryType::Regular {
            return Err(garbled(&format!("`{name}` is no file")));
        }
        let most = if manifest.is_none() { MANIFEST_BYTES_MAX } else { left };
        if entry.size() > most {
            return Err(garbled(&format!("`{name}` is larger than {most} bytes")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        left -= bytes.len() as u64;
        match &manifest {
            None if name != MANIFEST => return Err(garbled(&format!("it does not begin with {MANIFEST}"))),
            None => manifest = Some(serde_json::from_slice::<BundleManifest>(&bytes)?),
            Some(_) if files.len() >= FILES_MAX => {
                return Err(garbled(&format!("more than {FILES_MAX} files")));
            }
            Some(_) if files.contains_key(&name) => {
                return Err(garbled(&format!("two files are called `{name}`")));
            }
            Some(_) => drop(files.insert(name, bytes)),
        }
    }
    Ok((manifest.ok_or_else(|| garbled("there is nothing in it"))?, files))
}

fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::bundle::manifest::BundledNode;

    fn manifest() -> BundleManifest {
        let node = BundledNode { node_id: "a".to_owned(), address: "http://127.0.0.1:1".to_owned() };
        BundleManifest { nodes: vec![node], ..BundleManifest::default() }
    }

    /// An archive of files with these heads and contents.
    fn archive(files: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, kind, bytes) in files {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            archive.append(&header, *bytes).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    /// A compressed stream that says of a file that it has so many bytes, and has as many noughts.
    fn bomb(size: u64) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_path(MANIFEST).unwrap();
        header.set_size(size);
        header.set_cksum();
        let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
        compressed.write_all(header.as_bytes()).unwrap();
        io::copy(&mut io::repeat(0).take(size.min(64 * 1024 * 1024)), &mut compressed).unwrap();
        compressed.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read_and_nobody_else_can() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        let long = format!("{}/{}.json", "n".repeat(63), "x".repeat(200));
        let files = BundleFiles::from([("a/b.json".to_owned(), b"{}".to_vec()), (long, vec![7; 100_000])]);
        write(&path, &manifest(), &files, false).unwrap();
        assert_eq!(read(&path).unwrap(), (manifest(), files));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_file_that_is_there_is_written_over_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        std::fs::write(&path, "mine").unwrap();
        let refused = write(&path, &manifest(), &BundleFiles::new(), false).unwrap_err();
        assert_eq!((refused.exit() as u8, std::fs::read(&path).unwrap()), (2, b"mine".to_vec()));
        write(&path, &manifest(), &BundleFiles::new(), true).unwrap();
        assert_eq!(read(&path).unwrap().0, manifest());
        let nowhere = folder.path().join("none/a.tar.gz");
        assert_eq!(write(&nowhere, &manifest(), &BundleFiles::new(), true).unwrap_err().exit() as u8, 1);
    }

    #[test]
    fn what_is_no_bundle_is_refused_with_what_is_wrong() {
        let said = serde_json::to_vec(&manifest()).unwrap();
        let nested =
            [b"{\"nodes\":".to_vec(), vec![b'['; 100_000], vec![b']'; 100_000], b"}".to_vec()].concat();
        let cut = archive(&[(MANIFEST, EntryType::Regular, &said), ("a", EntryType::Regular, &[7; 9000])]);
        let garbage: Vec<u8> = (0..5000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let cases: Vec<(&str, Vec<u8>, &str)> = vec![
            ("nothing", Vec::new(), ""),
            ("garbage", garbage, ""),
            (
                "no archive",
                {
                    let mut text = GzEncoder::new(Vec::new(), Compression::fast());
                    text.write_all(&b"hello ".repeat(1000)).unwrap();
                    text.finish().unwrap()
                },
                "",
            ),
            ("an empty archive", archive(&[]), "there is nothing in it"),
            (
                "no manifest",
                archive(&[("a", EntryType::Regular, b"{}")]),
                "does not begin with manifest.json",
            ),
            ("no JSON", archive(&[(MANIFEST, EntryType::Regular, b"{")]), "ends within"),
            ("nested JSON", archive(&[(MANIFEST, EntryType::Regular, &nested)]), "a list is there"),
            ("cut off", cut[..cut.len() - 20].to_vec(), ""),
            (
                "a link",
                archive(&[(MANIFEST, EntryType::Regular, &said), ("/etc/passwd", EntryType::Symlink, b"")]),
                "`/etc/passwd` is no file",
            ),
            (
                "one name twice",
                archive(&[
                    (MANIFEST, EntryType::Regular, &said),
                    ("a", EntryType::Regular, b"1"),
                    ("a", EntryType::Regular, b"2"),
                ]),
                "two files are called `a`",
            ),
            ("a large manifest", bomb(MANIFEST_BYTES_MAX + 1), "larger than"),
            ("a size that is no size", bomb(u64::MAX / 2), "larger than"),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (what, bytes, cause) in cases {
            let path = folder.path().join("garbage");
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).expect_err(what);
            assert!(error.is(reasons::BUNDLE_UNREADABLE) && error.exit() as u8 == 2, "{what}");
            let said = error.body().cause.clone().unwrap_or_default();
            assert!(said.contains(cause) && !said.is_empty(), "{what}: {said}");
        }
        assert!(read(&folder.path().join("none")).unwrap_err().is(reasons::BUNDLE_UNREADABLE));
    }

    #[test]
    fn the_bytes_and_files_of_a_bundle_are_bounded() {
        let said = serde_json::to_vec(&manifest()).unwrap();
        let large = vec![0; 100 * 1024 * 1024];
        let names = ["a", "b", "c"];
        let mut files = vec![(MANIFEST, EntryType::Regular, said.as_slice())];
        files.extend(names.map(|name| (name, EntryType::Regular, large.as_slice())));
        let error = unpacked(archive(&files).as_slice()).unwrap_err().to_string();
        assert!(error.contains("`c` is larger than"), "{error}");
        let names: Vec<String> = (0..=FILES_MAX).map(|at| format!("f{at}")).collect();
        let mut files = vec![(MANIFEST, EntryType::Regular, said.as_slice())];
        files.extend(names.iter().map(|name| (name.as_str(), EntryType::Regular, &b""[..])));
        let error = unpacked(archive(&files).as_slice()).unwrap_err().to_string();
        assert!(error.contains("more than 50000 files"), "{error}");
    }
}
