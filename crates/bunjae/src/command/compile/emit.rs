//! Writing a compiled model: as a file, at the end of an executable, in a folder for C.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Emit, Written, shown};
use crate::failure::{Failure, Fallible};
use crate::interrupt::uninterrupted;
use crate::payload;

/// What a program in C includes, and an example of one.
const HEADER: &str = include_str!("../../../../bunjae-capi/include/bunjae.h");
const EXAMPLE: &str = include_str!("../../../../bunjae-capi/examples/example.c");

/// The name of the libraries.
const LIBRARY: &str = "bunjae_capi";

/// The files that a program in C is linked with.
pub(super) struct Libraries {
    files: Vec<PathBuf>,
}

impl Libraries {
    /// Looks in the folder that was given, or in that of this program.
    ///
    /// # Errors
    /// Where there is neither the static nor the shared one, with the command that builds them.
    pub(super) fn find(given: Option<&Path>) -> Fallible<Libraries> {
        let beside = std::env::current_exe().ok();
        let beside = beside.as_deref().and_then(Path::parent).map(Path::to_owned);
        let folders: Vec<PathBuf> = match given {
            Some(folder) => vec![folder.to_owned()],
            None => {
                let beside = beside.into_iter();
                beside.flat_map(|folder| [folder.clone(), folder.join("../lib")]).collect()
            }
        };
        let names = [static_name(), shared_name()];
        for folder in &folders {
            let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
            let files: Vec<PathBuf> = files.into_iter().filter(|file| file.is_file()).collect();
            if !files.is_empty() {
                return Ok(Libraries { files });
            }
        }
        let looked: Vec<String> =
            folders.iter().map(|folder| folder.display().to_string()).collect();
        let [archive, shared] = names;
        Err(Failure::new(format!("neither {archive} nor {shared} is in {}", looked.join(" or ")))
            .hint(
                "`cargo rustc --release -p bunjae-capi --crate-type cdylib,staticlib` puts them into \
                 target/release",
            )
            .hint("`--library` names the folder that they are in"))
    }
}

fn static_name() -> String {
    match cfg!(target_env = "msvc") {
        true => format!("{LIBRARY}.lib"),
        false => format!("lib{LIBRARY}.a"),
    }
}

fn shared_name() -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}{LIBRARY}{DLL_SUFFIX}")
}

/// Refuses a folder that is there and not empty, or that cannot be made.
pub(super) fn check_folder(folder: &Path) -> Fallible<()> {
    let shown = folder.display();
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new(format!("cannot write {shown}: the folder is not empty"))
            .hint("give `--output` the name of a new folder")),
        Err(_) if folder.exists() => {
            Err(Failure::new(format!("cannot write {shown}: it is no folder"))
                .hint("`--emit c` writes a folder"))
        }
        Err(_) if !bunjae_files::folder_of(folder).is_dir() => {
            let above = bunjae_files::folder_of(folder).display();
            Err(Failure::new(format!("cannot write {shown}: there is no folder {above}"))
                .hint("make the folder first"))
        }
        Err(_) => Ok(()),
    }
}

/// Writes a compiled model in the form asked for.
pub(super) fn write(
    emit: Emit,
    target: &Path,
    model: &[u8],
    libraries: Option<&Libraries>,
) -> Fallible<Written> {
    match (emit, libraries) {
        (Emit::C, Some(libraries)) => folder(target, model, libraries),
        (Emit::Exe, _) => executable(target, model),
        _ => {
            uninterrupted(|| bunjae_files::write(target, model)).map_err(Failure::new)?;
            let next = format!("bunjae bench {}", shown(target));
            Ok(Written { bytes: model.len() as u64, next: Some(next) })
        }
    }
}

/// This program with the model at its end.
fn executable(target: &Path, model: &[u8]) -> Fallible<Written> {
    let failure =
        |error: std::io::Error| Failure::new(format!("cannot copy this program: {error}"));
    let own = std::env::current_exe().map_err(failure)?;
    let program = fs::read(&own).map_err(failure)?;
    let whole = payload::attach(program, payload::find(&own)?, model);
    uninterrupted(|| bunjae_files::write(target, &whole)).map_err(Failure::new)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let cannot =
            |error| Failure::new(format!("cannot make {} executable: {error}", target.display()));
        // Whoever may read it may run it.
        let mut permissions = fs::metadata(target).map_err(cannot)?.permissions();
        let mode = permissions.mode();
        permissions.set_mode(mode | (mode & 0o444) >> 2);
        fs::set_permissions(target, permissions).map_err(cannot)?;
    }
    let name = shown(target);
    let name = if name.contains(['/', '\\']) { name } else { format!("./{name}") };
    Ok(Written { bytes: whole.len() as u64, next: Some(format!("{name} PICTURE...")) })
}

/// A folder that appears whole, with all that a program in C needs.
fn folder(target: &Path, model: &[u8], libraries: &Libraries) -> Fallible<Written> {
    let failure =
        |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", target.display()));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The permissions of every new folder rather than those of a secret one.
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    let bytes = uninterrupted(|| -> std::io::Result<u64> {
        let making = builder.tempdir_in(bunjae_files::folder_of(target))?;
        let path = making.path();
        fs::write(path.join("model.bunjae"), model)?;
        fs::write(path.join("bunjae.h"), HEADER)?;
        fs::write(path.join("example.c"), EXAMPLE)?;
        for library in &libraries.files {
            if let Some(name) = library.file_name() {
                fs::copy(library, path.join(name))?;
            }
        }
        let sizes = fs::read_dir(path)?.map(|entry| Ok(entry?.metadata()?.len()));
        let bytes = sizes.sum::<std::io::Result<u64>>()?;
        // An empty folder gives way.
        if target.is_dir() {
            fs::remove_dir(target)?;
        }
        fs::rename(path, target)?;
        // Nothing is left to remove under the temporary name.
        let _ = making.keep();
        Ok(bytes)
    })
    .map_err(failure)?;
    let next = libraries.files.first().and_then(|file| file.file_name()).map(|library| {
        let folder = shown(target);
        let library = library.to_string_lossy();
        format!(
            "cc -I{folder} {folder}/example.c {folder}/{library} -lpthread -ldl -lm -o example && \
             ./example {folder}/model.bunjae"
        )
    });
    Ok(Written { bytes, next })
}
