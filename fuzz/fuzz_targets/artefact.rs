//! `cargo +nightly fuzz run artefact`: stored networks, longer than the tests do. The checksum is
//! made to fit, as no fuzzer would guess it;
//! `cargo run -p bunjae-engine --example fuzz_seeds -- fuzz/corpus/artefact` gives it networks to begin
//! with.
#![no_main]

#[path = "../../crates/bunjae-engine/tests/fuzz_bodies/artefact.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 128 {
        let length = (bytes.len() as u64).to_le_bytes();
        bytes[24..32].copy_from_slice(&length);
        let checksum = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    }
    body::artefact(&bytes);
});
