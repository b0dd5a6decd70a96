//! PKCS#12 files, from a good one with changes in it: they are opened, or refused in words.
#![no_main]

use libfuzzer_sys::fuzz_target;
use omnirelay_pki::pkcs12;

/// As `openssl pkcs12 -export -iter 1` writes it, under the password `a`; of a key that is used nowhere.
const GOOD: &[u8] = include_bytes!("pkcs12.p12");

fuzz_target!(|given: (Vec<(u16, u8)>, &[u8], &str)| {
    let (changes, whole, password) = given;
    let _ = pkcs12::open(whole, password);
    let mut file = GOOD.to_vec();
    for (at, byte) in changes {
        let at = usize::from(at) % file.len();
        file[at] = byte;
    }
    match pkcs12::open(&file, "a") {
        Ok(contents) => assert!(!contents.certificates.is_empty() && !contents.key_pem.is_empty()),
        Err(_) => assert_ne!(file, GOOD, "nothing was changed"),
    }
});
