//! `include/bunjae.h` says what the crate does.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::path::Path;

use cbindgen::{Builder, Config, EnumConfig, Language, RenameRule};

/// The environment variable that has tests rewrite what they compare with.
const BLESS: &str = "BUNJAE_BLESS";

const ABOUT: &str = "/* Bunjae: models that `bunjae compile` wrote, for programs in C.
 *
 * Generated from the crate bunjae-capi; `BUNJAE_BLESS=1 cargo test -p bunjae-capi` rewrites it.
 *
 * A function that fails returns NULL or BUNJAE_STATUS_ERROR, and bunjae_last_error() says why. Null
 * pointers, wrong lengths and wrong indices are errors. Link with libbunjae_capi and, where that is
 * the static library, with -lpthread -ldl -lm.
 */";

fn header(root: &Path) -> String {
    let sources = ["lib.rs", "error.rs", "model.rs", "session.rs", "classify.rs"];
    let config = Config {
        language: Language::C,
        header: Some(ABOUT.to_owned()),
        include_guard: Some("BUNJAE_H".to_owned()),
        cpp_compat: true,
        documentation: true,
        line_length: 100,
        enumeration: EnumConfig {
            rename_variants: RenameRule::QualifiedScreamingSnakeCase,
            ..EnumConfig::default()
        },
        usize_is_size_t: true,
        ..Config::default()
    };
    let builder = sources.iter().fold(Builder::new().with_config(config), |builder, source| {
        builder.with_src(root.join("src").join(source))
    });
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("include/bunjae.h");
    let header = header(root);
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == header,
        "include/bunjae.h is not what the crate offers; \
         hint: {BLESS}=1 cargo test -p bunjae-capi rewrites it"
    );
}
