"""Gathers the models in $LATENCY_MODELS and converts them for the engines that do not read ONNX.

usage: python prepare.py [--bunjae PROGRAM] [--pnnx PROGRAM] [--onnx2tf PROGRAM]

M0 to M3 and M5 come from the data folder, M4 is exported by torchvision, the pruned ones are made by
`bunjae prune`. A conversion that cannot be had leaves its engine out; run.py says so on the page.
"""
import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx

import models


def export_resnet18(path: Path) -> None:
    import torch
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=6)
    # Statistics that are not those of a fresh batch normalisation.
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, 3, 224, 224))
    network.eval()
    example = (torch.randn(1, 3, 224, 224),)
    names = {"input_names": ["input"], "output_names": ["output"]}
    torch.onnx.export(network, example, str(path), dynamo=False, opset_version=17, **names)


def widths(path: Path) -> list:
    """Output channels of the convolutions, in order."""
    graph = onnx.load(str(path)).graph
    shapes = {weight.name: list(weight.dims) for weight in graph.initializer}
    return [shapes[node.input[1]][0] for node in graph.node if node.op_type == "Conv"]


def prune(program: str, source: Path, target: Path, ratio: float, expected: list) -> None:
    subprocess.run([program, "prune", source, "--ratio", str(ratio), "-o", target], check=True)
    found = widths(target)
    if found != expected:
        raise SystemExit(f"error: {target.name} has widths {found}, not {expected}")


def fixed_batch(source: Path, target: Path) -> None:
    """A copy whose batch is the number 1, which the converters want."""
    model = onnx.load(str(source))
    for value in [*model.graph.input, *model.graph.output]:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1
    del model.graph.value_info[:]
    onnx.save(model, str(target))


def convert(name: str, command: list, folder: Path, result: str, target: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    made = folder / result
    if made.exists():
        shutil.copy(made, target)
    else:
        words = (done.stdout + done.stderr).strip().splitlines()[-3:]
        print(f"{target.name}: {name} failed: {' '.join(words)}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bunjae", default="bunjae")
    parser.add_argument("--pnnx", default="pnnx")
    parser.add_argument("--onnx2tf", default="onnx2tf")
    programs = parser.parse_args()
    target = models.folder()
    target.mkdir(parents=True, exist_ok=True)
    for spec in models.SPECS:
        path = target / f"{spec.name}.onnx"
        if not path.exists():
            bench = models.data() / "models" / "bench" / path.name
            if spec.name in models.PRUNED:
                prune(programs.bunjae, target / "M0.onnx", path, *models.PRUNED[spec.name])
            elif bench.exists():
                shutil.copyfile(bench, path)
            else:
                export_resnet18(path)
        with tempfile.TemporaryDirectory() as work:
            work = Path(work)
            fixed_batch(path, work / "m.onnx")
            shape = ",".join(map(str, spec.shape))
            if not (target / f"{spec.name}.ncnn.bin").exists():
                command = [programs.pnnx, "m.onnx", f"inputshape=[{shape}]", "fp16=0"]
                convert("pnnx", command, work, "m.ncnn.param", target / f"{spec.name}.ncnn.param")
                if (work / "m.ncnn.bin").exists():
                    shutil.copy(work / "m.ncnn.bin", target / f"{spec.name}.ncnn.bin")
            if not (target / f"{spec.name}.tflite").exists():
                # onnx2tf would download pictures for a check of its own that is not needed here.
                sample = work / "calibration_image_sample_data_20x128x128x3_float32.npy"
                pictures = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
                np.save(sample, pictures)
                command = [programs.onnx2tf, "-i", "m.onnx", "-o", "out", "-nuo"]
                made = "out/m_float32.tflite"
                convert("onnx2tf", command, work, made, target / f"{spec.name}.tflite")
        print(spec.name, widths(path), os.path.getsize(path), "bytes", flush=True)


if __name__ == "__main__":
    main()
