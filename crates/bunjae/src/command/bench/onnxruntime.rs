//! ONNX Runtime, the other contestant: a Python process that answers line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bunjae_engine::Port;
use bunjae_measure::latency::Contestant;
use bunjae_tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::failure::{Failure, Fallible};

const SCRIPT: &str = include_str!("onnxruntime.py");

/// Which Python runs the script.
const PYTHON: &str = "BUNJAE_PYTHON";

/// A model in ONNX Runtime, ready to run.
pub(super) struct OnnxRuntime {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Holds the files of the job; removed with this.
    _folder: TempDir,
    pub(super) version: String,
    pub(super) prepare_ms: f64,
    /// The results of the first run, as f64.
    pub(super) outputs: Vec<Vec<f64>>,
    pub(super) peak_resident_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Job<'a> {
    model: &'a Path,
    threads: usize,
    inputs: Vec<Given<'a>>,
}

#[derive(Serialize)]
struct Given<'a> {
    name: &'a str,
    dtype: &'static str,
    shape: &'a [usize],
    file: String,
}

/// What the script says first.
#[derive(Deserialize)]
struct Ready {
    missing: Option<String>,
    failed: Option<String>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    prepare_ms: f64,
    #[serde(default)]
    outputs: Vec<Taken>,
}

#[derive(Deserialize)]
struct Taken {
    file: String,
    shape: Vec<usize>,
}

#[derive(Deserialize)]
struct Turn {
    nanoseconds: Vec<u64>,
    peak_resident_bytes: Option<u64>,
}

impl OnnxRuntime {
    /// Starts a process with this model and runs it once on the inputs.
    ///
    /// # Errors
    /// Python or ONNX Runtime are not there, or it cannot run the model.
    pub(super) fn start(
        model: &Path,
        threads: usize,
        ports: &[Port],
        inputs: &[Tensor],
    ) -> Fallible<OnnxRuntime> {
        let folder = tempfile::tempdir()
            .map_err(|error| Failure::new(format!("cannot make a temporary folder: {error}")))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            let written = std::fs::write(&path, bytes);
            written
                .map(|()| path.display().to_string())
                .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
        };
        let mut given = Vec::new();
        for (number, (port, input)) in ports.iter().zip(inputs).enumerate() {
            let file = write(&format!("input-{number}"), input.bytes())?;
            let (name, shape, dtype) = (&*port.name, &*port.shape, numpy(port.dtype));
            given.push(Given { name, dtype, shape, file });
        }
        let job =
            serde_json::to_vec(&Job { model, threads, inputs: given }).map_err(Failure::new)?;
        let job = write("job.json", &job)?;
        let script = write("onnxruntime_turns.py", SCRIPT.as_bytes())?;

        let python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
        let shown = python.to_string_lossy().into_owned();
        let mut child = Command::new(&python)
            .args([script, job])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Failure::new(format!("ONNX Runtime needs Python, and {shown} cannot run: {error}"))
                    .hint(format!("name another Python in {PYTHON}"))
            })?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new(format!("{shown} has neither stdin nor stdout")));
        };
        let mut stdout = BufReader::new(stdout);
        let ready: Ready = answer(&mut stdout)?;
        if let Some(missing) = ready.missing {
            let what = format!("ONNX Runtime is not installed for {shown}: {missing}");
            return Err(Failure::new(what).hint(format!(
                "`{shown} -m pip install onnxruntime` installs it; {PYTHON} names another Python"
            )));
        }
        if let Some(failed) = ready.failed {
            let what = format!("ONNX Runtime cannot run {}: {failed}", model.display());
            return Err(Failure::new(what));
        }
        let outputs = ready.outputs.iter().map(read).collect::<Fallible<_>>()?;
        Ok(OnnxRuntime {
            child,
            stdin: Some(stdin),
            stdout,
            _folder: folder,
            version: ready.version,
            prepare_ms: ready.prepare_ms,
            outputs,
            peak_resident_bytes: None,
        })
    }
}

impl Contestant for OnnxRuntime {
    type Error = Failure;

    fn run(&mut self, runs: usize) -> Fallible<Vec<Duration>> {
        let gone = |error| Failure::new(format!("ONNX Runtime has ended: {error}"));
        if let Some(stdin) = &mut self.stdin {
            writeln!(stdin, "{runs}").and_then(|()| stdin.flush()).map_err(gone)?;
        }
        let turn: Turn = answer(&mut self.stdout)?;
        self.peak_resident_bytes = turn.peak_resident_bytes;
        Ok(turn.nanoseconds.into_iter().map(Duration::from_nanos).collect())
    }
}

impl Drop for OnnxRuntime {
    fn drop(&mut self) {
        // The script ends with its input; whatever else it does is cut short.
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer<T: for<'a> Deserialize<'a>>(stdout: &mut impl BufRead) -> Fallible<T> {
    let mut line = String::new();
    let read = stdout.read_line(&mut line);
    let broken = |what: &dyn std::fmt::Display| {
        Failure::new(format!("the script that runs ONNX Runtime broke off: {what}"))
    };
    match read {
        Ok(0) => Err(broken(&"no answer")),
        Ok(_) => serde_json::from_str(&line).map_err(|error| broken(&error)),
        Err(error) => Err(broken(&error)),
    }
}

fn read(taken: &Taken) -> Fallible<Vec<f64>> {
    let bytes = std::fs::read(&taken.file)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", taken.file)))?;
    let numbers: Vec<f64> =
        bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_ne_bytes(*bytes)).collect();
    if numbers.len() != taken.shape.iter().product::<usize>() {
        return Err(Failure::new(format!("{} is not of shape {:?}", taken.file, taken.shape)));
    }
    Ok(numbers)
}

/// numpy's name of an element type.
fn numpy(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F64 => "float64",
        DType::I8 => "int8",
        DType::U8 => "uint8",
        DType::I32 => "int32",
        DType::I64 => "int64",
    }
}
