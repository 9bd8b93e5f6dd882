"""One engine with a Python interface, one model, one process; see peers-rs/src/main.rs for what it says.

usage: python worker.py ENGINE MODEL INPUT.f32 1x3x128x128 THREADS
"""
import json
import sys
import time

BEGIN = time.perf_counter()


def openvino(path, x, threads):
    import openvino as ov

    options = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }
    core = ov.Core()
    model = core.read_model(path)
    model.reshape(list(x.shape))
    request = core.compile_model(model, "CPU", options).create_infer_request()
    request.set_input_tensor(ov.Tensor(x))
    return request.infer, lambda: request.get_output_tensor().data


def onnxruntime(path, x, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    held = []

    def run():
        held[:] = session.run(None, {name: x})

    return run, lambda: held[0]


def ncnn(path, x, threads):
    import ncnn as library
    import numpy as np

    net = library.Net()
    options = net.opt
    options.num_threads = threads
    options.use_vulkan_compute = False
    options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
    options.use_bf16_storage = False
    net.load_param(path.replace(".onnx", ".ncnn.param"))
    net.load_model(path.replace(".onnx", ".ncnn.bin"))
    picture = library.Mat(x[0])
    held = []

    def run():
        extractor = net.create_extractor()
        extractor.input("in0", picture)
        held[:] = [np.array(extractor.extract("out0")[1])]

    return run, lambda: held[0]


def litert(path, x, threads):
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    model = Interpreter(model_path=path.replace(".onnx", ".tflite"), num_threads=threads)
    model.allocate_tensors()
    given, result = model.get_input_details()[0], model.get_output_details()[0]["index"]
    # The converter turns pictures to NHWC.
    fits = tuple(given["shape"]) == x.shape
    model.set_tensor(given["index"], x if fits else np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    return model.invoke, lambda: model.get_tensor(result)


ENGINES = {"openvino": openvino, "onnxruntime": onnxruntime, "ncnn": ncnn, "litert": litert}


def resident():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def main():
    engine, path, given, shape, threads = sys.argv[1:]
    import numpy as np

    x = np.fromfile(given, dtype="<f4").reshape([int(n) for n in shape.split("x")])
    run, result = ENGINES[engine](path, x, int(threads))
    run()
    output = np.asarray(result(), dtype=np.float32).ravel().tolist()
    load = 1e3 * (time.perf_counter() - BEGIN)
    print(json.dumps({"load_ms": load, "rss_kib": resident(), "output": output}), flush=True)
    for line in sys.stdin:
        budget, times, begin = int(line) / 1e3, [], time.perf_counter()
        while time.perf_counter() - begin < budget or len(times) < 5:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        times.sort()
        print(json.dumps({"median_ms": 1e3 * times[len(times) // 2], "runs": len(times)}), flush=True)


if __name__ == "__main__":
    main()
