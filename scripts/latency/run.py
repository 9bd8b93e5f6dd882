"""Measures every engine on every model in one session and writes docs/results/latency.md.

usage: python run.py --native PROGRAM --ort-library FILE [--bunjae PROGRAM] [--rounds N] [--slice MS]
                     [--models M0,M1] [--skip latency,cold,widths] [--page FILE]

PROGRAM is peers-rs/target/release/latency-peers, FILE the libonnxruntime.so of the onnxruntime
package. What each part measured is kept as JSON in $LATENCY_MODELS/results, so that a part can be
measured alone and the page written again from all of them. `README.md` says how to install the rest.
"""
import argparse
import json
import os
import re
import select
import signal
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

import models
import page

HERE = Path(__file__).resolve().parent
PYTHON = ["openvino", "onnxruntime", "ncnn", "litert"]
NATIVE = ["bunjae", "tract", "rten"]
ENGINES = ["bunjae", *PYTHON, "tract", "rten"]
# For how long a worker may load or measure.
PATIENCE = 120.0
CORES = {1: "1", 2: "0,1"}


class Worker:
    """A process with one engine and one model, on fixed cores."""

    def __init__(self, engine, spec, threads, options):
        self.words = command(engine, spec, threads, options)
        environment = environment_for(threads, options)
        self.process = subprocess.Popen(
            self.words,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.ready = self.answer()
        self.process.send_signal(signal.SIGSTOP)

    def answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.process.kill()
            words = self.process.stderr.read().strip().splitlines()
            raise RuntimeError(words[-1] if words else f"no answer in {PATIENCE} s")
        return json.loads(line)

    def measure(self, milliseconds):
        """Runs for so long, and is stopped before and after: threads of some engines keep a core busy
        for a while after a run, which the next engine's turn would pay for."""
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(f"{milliseconds}\n")
        self.process.stdin.flush()
        median = self.answer()["median_ms"]
        self.process.send_signal(signal.SIGSTOP)
        return median

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            stream.close()


def command(engine, spec, threads, options):
    shape = "x".join(map(str, spec.shape))
    path = models.folder() / f"{spec.name}.onnx"
    given = models.folder() / f"{spec.name}.f32"
    if not given.exists():
        models.input_of(spec).astype("<f4").tofile(given)
    program = [sys.executable, str(HERE / "worker.py")] if engine in PYTHON else [options.native]
    pinned = ["taskset", "-c", CORES[threads], *program]
    return [*pinned, engine, str(path), str(given), shape, str(threads)]


def environment_for(threads, options):
    count = str(threads)
    extra = {"OMP_NUM_THREADS": count, "RTEN_NUM_THREADS": count}
    return {**os.environ, **extra, "ORT_DYLIB_PATH": options.ort_library}


def macs(path):
    """Multiply-adds of convolutions and linear layers at batch 1, and their number of weights."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    graph = model.graph
    weights = {weight.name: list(weight.dims) for weight in graph.initializer}
    shapes = {}
    for value in [*graph.value_info, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        shapes[value.name] = [d.dim_value if d.dim_value else 1 for d in dims]
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            kernel = weights[node.input[1]]
            _, channels, height, width = shapes[node.output[0]]
            total += channels * height * width * kernel[1] * kernel[2] * kernel[3]
        elif node.op_type in ("Gemm", "MatMul") and node.input[1] in weights:
            rows, columns = weights[node.input[1]]
            total += rows * columns
    return total


def peak(options, threads):
    """Multiply-adds per second: the best of one core, times the cores."""
    words = ["taskset", "-c", "1", options.native, "peak", "300"]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    return found["isa"], found["macs_per_second"] * threads


def latency(options, specs):
    """Rounds over all engines, each round beginning with another one."""
    found = {"started": time.strftime("%Y-%m-%d %H:%M"), "models": {}}
    isa, best = peak(options, 1)
    for spec in specs:
        entry = {"macs": macs(models.folder() / f"{spec.name}.onnx"), "threads": {}}
        for threads in (1, 2):
            workers, failures = {}, {}
            for engine in ENGINES:
                try:
                    workers[engine] = Worker(engine, spec, threads, options)
                except (RuntimeError, OSError) as error:
                    failures[engine] = str(error)[:200]
            names = list(workers)
            medians = {name: [] for name in names}
            for name in names:
                workers[name].measure(options.slice // 4)
            for number in range(options.rounds):
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    time.sleep(0.005)
                    medians[name].append(workers[name].measure(options.slice))
            reference = workers["onnxruntime"].ready["output"] if "onnxruntime" in workers else None
            results = {}
            for name in names:
                output = workers[name].ready["output"]
                results[name] = {
                    "ms": statistics.median(medians[name]),
                    "best_ms": min(medians[name]),
                    "rounds_ms": medians[name],
                    "rss_kib": workers[name].ready["rss_kib"],
                    "difference": largest_difference(output, reference),
                }
                workers[name].close()
            scale = max(abs(value) for value in reference) if reference else None
            entry["threads"][str(threads)] = {
                "engines": results,
                "failures": failures,
                "scale": scale,
            }
            line = ", ".join(f"{name} {results[name]['ms']:.4f}" for name in names)
            print(f"{spec.name} {threads}: {line}", flush=True)
            for name, why in failures.items():
                print(f"{spec.name} {threads}: {name} failed: {why}", flush=True)
        found["models"][spec.name] = entry
        _, again = peak(options, 1)
        best = max(best, again)
    found["isa"], found["peak"] = isa, best
    found["rounds"], found["slice_ms"] = options.rounds, options.slice
    return found


def largest_difference(output, reference):
    if reference is None or len(output) != len(reference):
        return None
    return max(abs(a - b) for a, b in zip(output, reference))


def picture(path, size):
    """A BMP of a colour ramp, for the program as a user starts it."""
    row = bytes(7 * at % 256 for at in range(3 * size))
    header = struct.pack("<IHHI", 54 + size * len(row), 0, 0, 54)
    form = struct.pack("<IiiHHIIiiII", 40, size, size, 1, 24, 0, 0, 2835, 2835, 0, 0)
    path.write_bytes(b"BM" + header + form + size * row)


def compiled(options, spec):
    """Where `bunjae compile` has put the model."""
    path = models.folder() / f"{spec.name}.bunjae"
    onnx = models.folder() / f"{spec.name}.onnx"
    subprocess.run([options.bunjae, "compile", onnx, "-o", path], capture_output=True, check=True)
    return path


def predict(options, spec, path):
    """`bunjae predict` on one picture, which is decoded as well."""
    given = models.folder() / f"{spec.shape[3]}.bmp"
    if not given.exists():
        # A multiple of 4, so that rows of a BMP need no padding.
        picture(given, spec.shape[3])
    words = ["predict", str(path), str(given), "--preprocess", "imagenet", "--threads", "1"]
    return ["taskset", "-c", "1", options.bunjae, *words]


def cold(options, specs):
    """From the start of the process to its end after one answer, files in the page cache, one core."""
    engines = ["bunjae", "ort", "tract", "rten", *PYTHON]
    if options.bunjae:
        engines = ["compiled", "predict", *engines]
    found = {}
    for spec in specs:
        times = {engine: [] for engine in engines}
        memory, ready = {}, {}
        if options.bunjae:
            ready["predict"] = predict(options, spec, models.folder() / f"{spec.name}.onnx")
            ready["compiled"] = predict(options, spec, compiled(options, spec))
        for number in range(options.starts + 1):
            for engine in list(times):
                words = ready.get(engine) or command(engine, spec, 1, options)
                begin = time.perf_counter()
                done = subprocess.run(
                    words,
                    env=environment_for(1, options),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                )
                spent = 1e3 * (time.perf_counter() - begin)
                if done.returncode != 0:
                    print(f"cold {spec.name} {engine}: {done.stderr.strip()[-200:]}", flush=True)
                    del times[engine]
                    continue
                # The first start fills the page cache.
                if number > 0:
                    times[engine].append(spent)
                if engine not in ready:
                    memory[engine] = json.loads(done.stdout)["rss_kib"]
        found[spec.name] = {
            engine: {"ms": statistics.median(times[engine]), "rss_kib": memory.get(engine)}
            for engine in times
        }
        line = ", ".join(f"{e} {v['ms']:.1f} ms {v['rss_kib']} KiB" for e, v in found[spec.name].items())
        print(f"cold {spec.name}: {line}", flush=True)
    return found


def baseline():
    """Resident memory of Python with nothing but numpy, in KiB."""
    code = (
        "import numpy\n"
        "for line in open('/proc/self/status'):\n"
        "    if line.startswith('VmRSS:'): print(line.split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


def widths(options):
    words = ["taskset", "-c", "1", options.native, "widths", "90"]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def machine(options):
    from importlib.metadata import version

    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"model name\s*:\s*(.*)", info).group(1)
    family = re.search(r"cpu family\s*:\s*(.*)", info).group(1)
    model = re.search(r"model\s*:\s*(.*)", info).group(1)
    flags = re.search(r"flags\s*:\s*(.*)", info).group(1).split()
    packages = ["openvino", "onnxruntime", "ncnn", "ai-edge-litert", "numpy"]
    manifest = (HERE / "peers-rs" / "Cargo.toml").read_text(encoding="utf-8")
    pinned = {}
    for crate in ("tract-onnx", "rten", "ort"):
        pattern = rf'^{crate} = .*?"=([^"]+)"'
        pinned[crate] = re.search(pattern, manifest, re.MULTILINE).group(1)
    git = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    return {
        "processor": f"{name}, family {family}, model {model}",
        "cores": os.cpu_count(),
        "avx512": "avx512f" in flags,
        "virtual": "hypervisor" in flags,
        "versions": {**{p: version(p) for p in packages}, **pinned},
        "commit": subprocess.run(git, capture_output=True, text=True).stdout.strip(),
        "rustc": rustc,
        "python_kib": baseline(),
    }


def bench(options, specs):
    """What `bunjae bench` says about the same models, as a check of this harness."""
    paths = [str(models.folder() / f"{spec.name}.onnx") for spec in specs]
    words = [options.bunjae, "bench", *paths, "--threads", "1,2", "--seconds", "0.5"]
    words += ["--format", "json"]
    done = subprocess.run(["taskset", "-c", "0,1", *words], capture_output=True, text=True)
    if done.returncode != 0:
        print(f"bunjae bench: {done.stderr.strip()[-300:]}", flush=True)
        return None
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--native", required=True)
    parser.add_argument("--ort-library", required=True)
    parser.add_argument("--bunjae")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slice", type=int, default=150)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--models")
    parser.add_argument("--skip", default="")
    parser.add_argument("--page", type=Path, default=HERE.parents[1] / "docs/results/latency.md")
    options = parser.parse_args()
    chosen = options.models.split(",") if options.models else None
    specs = [spec for spec in models.SPECS if chosen is None or spec.name in chosen]
    results = models.folder() / "results"
    results.mkdir(parents=True, exist_ok=True)
    skipped = options.skip.split(",")

    def part(name, work):
        if name not in skipped:
            begin = time.monotonic()
            found = work()
            if found is not None:
                (results / f"{name}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
            print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)

    part("machine", lambda: machine(options))
    part("latency", lambda: latency(options, specs))
    if options.bunjae:
        part("bench", lambda: bench(options, specs))
    part("cold", lambda: cold(options, [s for s in specs if s.name in ("M0", "M1", "M5")]))
    part("widths", lambda: widths(options))
    parts = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in results.glob("*.json")}
    text = page.render(parts, (HERE / "notes.md").read_text(encoding="utf-8"))
    temporary = options.page.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(options.page)
    print(f"wrote {options.page}")


if __name__ == "__main__":
    main()
