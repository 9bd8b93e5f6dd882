//! ONNX Runtime as the outside judge: the same file, the same inputs, somebody else's arithmetic.

use std::path::{Path, PathBuf};
use std::process::Command;

use bunjae_tensor::Tensor;

const SCRIPT: &str = include_str!("onnx_runtime.py");

/// A model to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The ONNX file.
    pub model: PathBuf,
    /// The inputs, by name.
    pub inputs: Vec<(String, Tensor)>,
}

/// Runs every job in one Python process and returns the named outputs of each, in the model's order.
/// `python` comes from [`crate::python`], `folder` takes the files that pass between the two.
///
/// # Errors
/// What Python wrote where it failed, or the file that could not be read or written.
pub fn run(
    python: &Path,
    folder: &Path,
    jobs: &[Job],
) -> Result<Vec<Vec<(String, Tensor)>>, String> {
    let write = |path: PathBuf, bytes: &[u8]| {
        std::fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut list = String::new();
    for (at, job) in jobs.iter().enumerate() {
        let own = folder.join(at.to_string());
        std::fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
        let mut lines = String::new();
        for (place, (name, tensor)) in job.inputs.iter().enumerate() {
            let sizes: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
            lines += &format!("{name}\t{}\t{}\n", tensor.dtype(), sizes.join(","));
            write(own.join(format!("in.{place}")), tensor.bytes())?;
        }
        write(own.join("in.txt"), lines.as_bytes())?;
        list += &format!("{}\t{at}\n", job.model.display());
    }
    write(folder.join("jobs.txt"), list.as_bytes())?;
    let script = folder.join("onnx_runtime.py");
    write(script.clone(), SCRIPT.as_bytes())?;
    let output = Command::new(python)
        .arg(&script)
        .arg(folder)
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    (0..jobs.len()).map(|at| read_outputs(&folder.join(at.to_string()))).collect()
}

fn read_outputs(folder: &Path) -> Result<Vec<(String, Tensor)>, String> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let list = String::from_utf8(read("out.txt")?).map_err(|error| error.to_string())?;
    let output = |(place, line): (usize, &str)| {
        let parts: Vec<&str> = line.split('\t').collect();
        let [name, dtype, sizes] = parts.as_slice() else {
            return Err(format!("a line that is no output: {line}"));
        };
        let sizes = sizes.split(',').filter(|size| !size.is_empty()).map(str::parse);
        let shape: Vec<usize> =
            sizes.collect::<Result<_, _>>().map_err(|error| format!("{line}: {error}"))?;
        let tensor = Tensor::from_bytes(dtype.parse()?, &shape, &read(&format!("out.{place}"))?);
        Ok(((*name).to_string(), tensor.map_err(|error| format!("{line}: {error}"))?))
    };
    list.lines().enumerate().map(output).collect()
}
