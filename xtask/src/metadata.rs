//! What `cargo metadata` tells about the workspace: packages, arrows between them, licences.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{Error, cargo, output_of};

/// A package of the workspace or one of its dependencies.
#[derive(Debug, Clone, Deserialize)]
pub struct Package {
    /// The name in its manifest.
    pub name: String,
    /// The version in its manifest.
    pub version: String,
    /// The licence as an SPDX expression, where the manifest gives one.
    pub license: Option<String>,
    /// Where it comes from; `None` for a package of this repository.
    pub source: Option<String>,
    /// Everything it asks for, for all platforms.
    pub dependencies: Vec<Dependency>,
    /// Its library, programs, tests and examples.
    pub targets: Vec<Target>,
    /// Its `Cargo.toml`.
    pub manifest_path: PathBuf,
}

impl Package {
    /// Whether the package belongs to this repository.
    pub fn is_ours(&self) -> bool {
        self.source.is_none()
    }
}

/// A line of a manifest's dependency tables.
#[derive(Debug, Clone, Deserialize)]
pub struct Dependency {
    /// The package asked for.
    pub name: String,
    /// Which table it stands in.
    #[serde(default, deserialize_with = "normal_unless_given")]
    pub kind: DependencyKind,
}

/// The table of a manifest that names a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DependencyKind {
    /// `[dependencies]`
    #[default]
    Normal,
    /// `[dev-dependencies]`: tests, examples and benchmarks only.
    Dev,
    /// `[build-dependencies]`
    Build,
}

/// Cargo writes `null` for a normal dependency.
fn normal_unless_given<'de, D>(deserializer: D) -> Result<DependencyKind, D::Error>
where
    D: serde::Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Something cargo builds from a package.
#[derive(Debug, Clone, Deserialize)]
pub struct Target {
    /// `lib`, `bin`, `test`, `example`, ...
    pub kind: Vec<String>,
    /// The file with the crate root.
    pub src_path: PathBuf,
}

#[derive(Deserialize)]
struct Document {
    packages: Vec<Package>,
}

/// The packages in cargo's answer, by name.
pub fn parse(json: &[u8]) -> Result<Vec<Package>, Error> {
    let Document { mut packages } = serde_json::from_slice(json)?;
    packages.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(packages)
}

/// Every package of the workspace at `root` and of its dependencies, those needed on `platform` alone
/// (a target triple) or, without one, on all platforms.
///
/// The lock file is taken as it is: a stale one is an error.
pub fn load(root: &Path, platform: Option<&str>) -> Result<Vec<Package>, Error> {
    let mut command = cargo();
    command.current_dir(root).args(["metadata", "--format-version=1", "--locked"]);
    if let Some(platform) = platform {
        command.args(["--filter-platform", platform]);
    }
    parse(&output_of(&mut command)?)
}

/// The target triple of this machine.
pub fn host_platform() -> Result<String, Error> {
    let mut command = cargo();
    let output = output_of(command.args(["--version", "--verbose"]))?;
    let text = String::from_utf8_lossy(&output);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Error::Command {
        command: "cargo --version --verbose".to_owned(),
        stderr: format!("no line `host: ...` in {text:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_sources_and_licences_are_read() {
        let json = br#"{"packages": [
            {"name": "b", "version": "1.0.0", "license": "MIT", "source": "registry", "targets": [],
             "manifest_path": "b/Cargo.toml", "dependencies": []},
            {"name": "a", "version": "0.1.0", "license": null, "source": null,
             "manifest_path": "a/Cargo.toml",
             "targets": [{"kind": ["lib"], "src_path": "a/src/lib.rs", "edition": "2024"}],
             "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"},
                              {"name": "d", "kind": "build"}]}],
            "version": 1}"#;
        let packages = parse(json).unwrap();
        assert_eq!([&packages[0].name, &packages[1].name], ["a", "b"]);
        assert!(packages[0].is_ours() && !packages[1].is_ours());
        assert_eq!(packages[1].license.as_deref(), Some("MIT"));
        let kinds: Vec<DependencyKind> =
            packages[0].dependencies.iter().map(|dependency| dependency.kind).collect();
        assert_eq!(kinds, [DependencyKind::Normal, DependencyKind::Dev, DependencyKind::Build]);
    }

    #[test]
    fn an_answer_without_packages_is_an_error() {
        assert!(matches!(parse(br#"{"version": 1}"#), Err(Error::Metadata(_))));
    }
}
