"""Times a model in ONNX Runtime, a turn for each line of stdin, and answers in lines of JSON.

The job is a JSON file: the model, the number of threads, and the inputs as files of raw numbers. The
outputs of the first run are written the same way.
"""

import json
import os
import sys
import time


def answer(**fields):
    print(json.dumps(fields), flush=True)


try:
    import numpy
    import onnxruntime
except ImportError as error:
    answer(missing=str(error))
    sys.exit()


def peak_resident_bytes():
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


with open(sys.argv[1], encoding="utf-8") as file:
    job = json.load(file)
try:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    begin = time.perf_counter()
    session = onnxruntime.InferenceSession(
        job["model"], options, providers=["CPUExecutionProvider"]
    )
    prepare_ms = 1e3 * (time.perf_counter() - begin)
    feeds = {
        given["name"]: numpy.fromfile(given["file"], given["dtype"]).reshape(given["shape"])
        for given in job["inputs"]
    }
    outputs = []
    for number, result in enumerate(session.run(None, feeds)):
        path = os.path.join(os.path.dirname(sys.argv[1]), f"output-{number}")
        result.astype("float64").tofile(path)
        outputs.append({"file": path, "shape": list(result.shape)})
except Exception as error:
    answer(failed=str(error))
    sys.exit()
answer(version=onnxruntime.__version__, prepare_ms=prepare_ms, outputs=outputs)

for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        begin = time.perf_counter_ns()
        session.run(None, feeds)
        times.append(time.perf_counter_ns() - begin)
    answer(nanoseconds=times, peak_resident_bytes=peak_resident_bytes())
