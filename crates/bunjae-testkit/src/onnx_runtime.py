"""Runs models in ONNX Runtime for a test.

usage: onnx_runtime.py FOLDER

FOLDER/jobs.txt has a line per run: the model's path, a tab, and the folder of its tensors. That
folder's in.txt has a line per input: name, element type, sizes (comma-separated), separated by tabs;
its values lie in in.N, N being the line's place from 0. The outputs are written in the same form as
out.txt and out.N. Graph optimisations are off, so that what runs is what the file says.
"""

import pathlib
import sys

import numpy
import onnxruntime

DTYPES = {
    "f32": numpy.float32,
    "f64": numpy.float64,
    "i8": numpy.int8,
    "u8": numpy.uint8,
    "i32": numpy.int32,
    "i64": numpy.int64,
}
NAMES = {numpy.dtype(dtype): name for name, dtype in DTYPES.items()}


def read_inputs(folder):
    inputs = {}
    for place, line in enumerate((folder / "in.txt").read_text().splitlines()):
        name, dtype, sizes = line.split("\t")
        shape = [int(size) for size in sizes.split(",") if size]
        values = numpy.fromfile(folder / f"in.{place}", dtype=DTYPES[dtype])
        inputs[name] = values.reshape(shape)
    return inputs


def run(model, folder):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    results = session.run(None, read_inputs(folder))
    lines = []
    for place, (output, value) in enumerate(zip(session.get_outputs(), results)):
        sizes = ",".join(str(size) for size in value.shape)
        lines.append(f"{output.name}\t{NAMES[value.dtype]}\t{sizes}\n")
        numpy.ascontiguousarray(value).tofile(folder / f"out.{place}")
    (folder / "out.txt").write_text("".join(lines))


def main():
    root = pathlib.Path(sys.argv[1])
    for line in (root / "jobs.txt").read_text().splitlines():
        model, folder = line.split("\t")
        run(model, root / folder)


main()
