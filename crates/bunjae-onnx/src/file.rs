//! Model files: read with limits, written atomically, weights inside or beside.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bunjae_files::{AtomicFile, WriteError, commit_all};
use prost::Message;
use prost::bytes::Bytes;
use thiserror::Error;

use crate::external::{ExternalData, ExternalError, check_location};
use crate::proto::{DATA_LOCATION_EXTERNAL, ModelProto, StringStringEntryProto, TensorProto};
use crate::wire::{self, MAX_MESSAGE_BYTES, WireError};

/// How much a model may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of the model file in bytes, at most [`MAX_MESSAGE_BYTES`].
    pub file_bytes: u64,
    /// Bytes that all tensors stored in other files may take together.
    pub external_bytes: u64,
}

impl Default for Limits {
    /// What protobuf allows, and 8 GiB of external data.
    fn default() -> Self {
        Limits { file_bytes: MAX_MESSAGE_BYTES, external_bytes: 8 << 30 }
    }
}

/// Why a model file could not be read.
#[derive(Debug, Error)]
#[error("cannot read {}: {problem}", path.display())]
pub struct ReadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: ReadProblem,
}

/// What is wrong with a model file.
#[derive(Debug, Error)]
pub enum ReadProblem {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A folder, pipe or device.
    #[error("it is not a regular file")]
    NotAFile,
    /// The contents are no acceptable model.
    #[error("{0}")]
    Wire(#[from] WireError),
}

/// Reads the model at `path`, and with it access to the tensors it keeps in other files.
///
/// # Errors
/// [`ReadError`]: the file cannot be read, passes a limit or is malformed.
pub fn read_model(path: &Path, limits: &Limits) -> Result<(ModelProto, ExternalData), ReadError> {
    let model = read_bytes(path, limits.file_bytes.min(MAX_MESSAGE_BYTES))
        .and_then(|bytes| Ok(wire::decode_model(bytes)?))
        .map_err(|problem| ReadError { path: path.to_owned(), problem })?;
    let folder = path.parent().unwrap_or(Path::new("."));
    Ok((model, ExternalData::in_folder(folder, limits.external_bytes)))
}

fn read_bytes(path: &Path, limit: u64) -> Result<Bytes, ReadProblem> {
    // Asked before opening, because opening a pipe would wait for a writer.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(ReadProblem::NotAFile);
    }
    let too_large = |bytes| ReadProblem::Wire(WireError::TooLarge { bytes, limit });
    if metadata.len() > limit {
        return Err(too_large(metadata.len()));
    }
    // One more than the limit, because the file may have grown since it was measured.
    let bytes = read_up_to(&File::open(path)?, limit + 1, metadata.len())?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes.into())
}

/// Reads at most `limit` bytes, of which about `expected` are likely to be there. Memory that
/// cannot be had is an error, not an abort.
pub(crate) fn read_up_to(file: &File, limit: u64, expected: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let capacity = usize::try_from(expected.min(limit)).map_err(io::Error::other)?;
    bytes.try_reserve_exact(capacity).map_err(io::Error::other)?;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where the weights of a written model go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightStorage {
    /// Into the model file, unless that would pass the two gigabytes protobuf allows.
    #[default]
    Auto,
    /// Into the model file.
    Inside,
    /// Into a second file beside it, named like the model with `.data` appended.
    Beside,
}

/// Why a model could not be written; existing files are untouched.
#[derive(Debug, Error)]
pub enum WriteModelError {
    /// The operating system refused.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The model file alone would pass what protobuf allows.
    #[error(
        "cannot write {}: a model file may have {MAX_MESSAGE_BYTES} bytes, \
         and this one would have {bytes}",
        path.display()
    )]
    TooLarge {
        /// The file that was to be written.
        path: PathBuf,
        /// Its size.
        bytes: usize,
    },
    /// The file's name cannot be recorded in a model.
    #[error("cannot keep weights beside {}: {problem}", path.display())]
    Name {
        /// The model file.
        path: PathBuf,
        /// What is wrong with the name.
        problem: String,
    },
    /// A tensor still refers to a file of the model it came from.
    #[error("tensor {} refers to another file; read its data first", crate::quote(.0))]
    Unresolved(String),
}

/// Weights smaller than this stay in the model file even when the others go beside it.
const MIN_EXTERNAL_BYTES: usize = 1024;

/// External tensors begin at multiples of this, so that the file can be mapped into memory.
const ALIGNMENT: u64 = 4096;

/// Writes `model` to `path`. Either everything is written or existing files stay as they were.
///
/// # Errors
/// [`WriteModelError`].
pub fn write_model(
    path: &Path,
    model: &ModelProto,
    storage: WeightStorage,
) -> Result<(), WriteModelError> {
    write_model_within(path, model, storage, MAX_MESSAGE_BYTES as usize)
}

fn write_model_within(
    path: &Path,
    model: &ModelProto,
    storage: WeightStorage,
    limit: usize,
) -> Result<(), WriteModelError> {
    let unresolved = initializers(model).find(|t| t.data_location == DATA_LOCATION_EXTERNAL);
    if let Some(tensor) = unresolved {
        return Err(WriteModelError::Unresolved(tensor.name.clone()));
    }
    let beside = match storage {
        WeightStorage::Inside => false,
        WeightStorage::Beside => true,
        WeightStorage::Auto => model.encoded_len() > limit,
    };
    if !beside {
        let file = encode_to_file(path, model, limit)?;
        return Ok(file.commit()?);
    }
    let data_path = data_path(path)?;
    let location = data_path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Cloning shares the weights; only the structure is copied.
    let mut model = model.clone();
    let mut data = AtomicFile::create(&data_path)?;
    move_weights(&mut model, location, &mut data)
        .map_err(|source| WriteError { path: data_path.clone(), source })?;
    let file = encode_to_file(path, &model, limit)?;
    Ok(commit_all(vec![data, file])?)
}

fn initializers(model: &ModelProto) -> impl Iterator<Item = &TensorProto> {
    model.graph.iter().flat_map(|graph| &graph.initializer)
}

fn encode_to_file(
    path: &Path,
    model: &ModelProto,
    limit: usize,
) -> Result<AtomicFile, WriteModelError> {
    let bytes = model.encoded_len();
    if bytes > limit {
        return Err(WriteModelError::TooLarge { path: path.to_owned(), bytes });
    }
    let mut file = AtomicFile::create(path)?;
    file.write_all(&model.encode_to_vec())
        .map_err(|source| WriteError { path: path.to_owned(), source })?;
    Ok(file)
}

/// The file beside the model: its name with `.data` appended.
fn data_path(path: &Path) -> Result<PathBuf, WriteModelError> {
    let refuse = |problem: String| WriteModelError::Name { path: path.to_owned(), problem };
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| refuse("its name is not valid UTF-8".to_owned()))?;
    let location = format!("{name}.data");
    check_location(&location).map_err(|error: ExternalError| refuse(error.to_string()))?;
    Ok(path.with_file_name(location))
}

/// Moves the raw bytes of large initializers to `data` and leaves references to `location`.
fn move_weights(model: &mut ModelProto, location: &str, data: &mut impl Write) -> io::Result<()> {
    let mut end = 0u64;
    let tensors = model.graph.iter_mut().flat_map(|graph| &mut graph.initializer);
    for tensor in tensors {
        let Some(bytes) = tensor.raw_data.take_if(|bytes| bytes.len() >= MIN_EXTERNAL_BYTES) else {
            continue;
        };
        let offset = end.next_multiple_of(ALIGNMENT);
        io::copy(&mut io::repeat(0).take(offset - end), data)?;
        data.write_all(&bytes)?;
        end = offset + bytes.len() as u64;
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        tensor.data_location = DATA_LOCATION_EXTERNAL;
        tensor.external_data = vec![
            entry("location", location.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", bytes.len().to_string()),
        ];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::GraphProto;
    use crate::tensor_data::{self, DataType};

    fn model_with_weights(sizes: &[usize]) -> ModelProto {
        let initializer = sizes
            .iter()
            .enumerate()
            .map(|(i, &n)| {
                let bytes: Vec<u8> = (0..n).map(|k| (k * 7 + i) as u8).collect();
                tensor_data::write(&format!("w{i}"), DataType::Uint8, &[n], bytes.into())
            })
            .collect();
        let graph = GraphProto { initializer, ..GraphProto::default() };
        ModelProto { ir_version: 8, graph: Some(graph), ..ModelProto::default() }
    }

    fn weights(path: &Path) -> Vec<Bytes> {
        let (model, mut external) = read_model(path, &Limits::default()).unwrap();
        initializers(&model).map(|t| tensor_data::read(t, &mut external).unwrap().bytes).collect()
    }

    #[test]
    fn weights_written_beside_the_model_are_aligned_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        let sizes = [5000, 3, 1024, 4096, 0];
        let model = model_with_weights(&sizes);
        write_model(&path, &model, WeightStorage::Inside).unwrap();
        let inside = weights(&path);
        write_model(&path, &model, WeightStorage::Beside).unwrap();
        assert_eq!(weights(&path), inside);

        let (written, _) = read_model(&path, &Limits::default()).unwrap();
        let entries: Vec<Vec<(&str, &str)>> = initializers(&written)
            .map(|t| t.external_data.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect())
            .collect();
        let at = |offset, length| {
            vec![("location", "net.onnx.data"), ("offset", offset), ("length", length)]
        };
        let expected =
            vec![at("0", "5000"), vec![], at("8192", "1024"), at("12288", "4096"), vec![]];
        assert_eq!(entries, expected);
        let size = fs::metadata(folder.path().join("net.onnx.data")).unwrap().len();
        assert_eq!(size, 12288 + 4096);
    }

    #[test]
    fn weights_move_beside_a_model_that_would_be_too_large() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        let model = model_with_weights(&[3000, 3000]);
        // 2 GB of weights would prove no more than 6 kB against a smaller limit.
        write_model_within(&path, &model, WeightStorage::Auto, 7000).unwrap();
        assert!(!folder.path().join("net.onnx.data").exists());
        write_model_within(&path, &model, WeightStorage::Auto, 5000).unwrap();
        assert!(folder.path().join("net.onnx.data").exists());
        assert_eq!(weights(&path).iter().map(Bytes::len).collect::<Vec<_>>(), [3000, 3000]);

        let old = fs::read(&path).unwrap();
        let error = write_model_within(&path, &model, WeightStorage::Inside, 5000).unwrap_err();
        assert!(matches!(error, WriteModelError::TooLarge { bytes: 6000.., .. }), "{error}");
        let error = write_model_within(&path, &model, WeightStorage::Beside, 50).unwrap_err();
        assert!(matches!(error, WriteModelError::TooLarge { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), old);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_model_whose_weights_were_not_fetched_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        write_model(&path, &model_with_weights(&[2000]), WeightStorage::Beside).unwrap();
        let (model, _) = read_model(&path, &Limits::default()).unwrap();
        let copy = folder.path().join("copy.onnx");
        let error = write_model(&copy, &model, WeightStorage::Auto).unwrap_err();
        assert_eq!(error.to_string(), "tensor `w0` refers to another file; read its data first");
        assert!(!copy.exists());
    }

    #[test]
    fn files_that_are_no_models_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        let message = |bytes: &[u8], limits: &Limits| {
            fs::write(&path, bytes).unwrap();
            read_model(&path, limits).unwrap_err().problem.to_string()
        };
        let limits = Limits::default();
        assert_eq!(message(b"", &limits), "the file is empty");
        assert_eq!(
            message(b"PK\x03\x04\x14\0\x08\x08", &limits),
            "this is a zip archive (such as a PyTorch or Keras checkpoint), not an ONNX model"
        );
        assert_eq!(
            message(b"version https://git-lfs.github.com/spec/v1\n", &limits),
            "this is a Git LFS pointer (the model itself was not downloaded), not an ONNX model"
        );
        assert_eq!(
            message(&[8; 100], &Limits { file_bytes: 99, ..limits }),
            "the model has 100 bytes, more than the 99 a model may have"
        );
        assert_eq!(
            read_model(folder.path(), &limits).unwrap_err().problem.to_string(),
            "it is not a regular file"
        );
        let missing = read_model(&folder.path().join("none.onnx"), &limits).unwrap_err();
        assert!(matches!(missing.problem, ReadProblem::Io(_)), "{missing}");
    }
}
