"""Training steps of Bunjae beside PyTorch's, in turns, and the page docs/results/training-speed.md.

usage: python run.py --example PROGRAM [--bunjae PROGRAM --pictures DIR] [--rounds N] [--seconds S]
                     [--networks A,B] [--page FILE]

PROGRAM is target/release/examples/training. With --bunjae and --pictures (a folder per class) a whole
`bunjae train` of mask-base is timed too, decoding and augmentation included. `README.md` says how to
install what it needs.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import networks

HERE = Path(__file__).resolve().parent
CORES = {1: "1", 2: "0,1"}
# glibc gives large blocks back to the system after each step unless told otherwise, and asking for
# them again takes PyTorch half of its time on a virtual machine.
KEEP = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184:" \
    "glibc.malloc.top_pad=268435456"
SIDES = ["bunjae", "nchw", "channels_last", "nchw, memory kept", "channels_last, memory kept"]
EPOCHS = 4


def once(side, spec, threads, steps, options):
    """One process of one side, on fixed cores."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if side == "bunjae":
        words = [options.example, "--threads", str(threads), "--steps", str(steps)]
        words += ["--classes", str(spec.classes), f"{spec.name}:{spec.size}"]
    else:
        layout = side.split(",")[0]
        words = [sys.executable, str(HERE / "worker.py"), spec.name, str(threads), str(steps), layout]
        if side.endswith("kept"):
            environment["GLIBC_TUNABLES"] = KEEP
    pinned = ["taskset", "-c", CORES[threads], *words]
    done = subprocess.run(pinned, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(map(str, words))}: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(options, specs):
    found = {}
    for spec in specs:
        for threads in (1, 2):
            runs = {side: [] for side in SIDES}
            for number in range(options.rounds):
                turn = number % len(SIDES)
                for side in SIDES[turn:] + SIDES[:turn]:
                    # As many steps as fill the time, by what the side's last run said.
                    speed = runs[side][-1]["pictures_per_second"] if runs[side] else 0
                    steps = round(options.seconds * speed / networks.BATCH) if speed else 3
                    runs[side].append(once(side, spec, threads, max(3, min(200, steps)), options))
            found[f"{spec.name} {threads}"] = {
                side: {
                    "speed": statistics.median(run["pictures_per_second"] for run in runs[side]),
                    "memory": max(run["peak_resident_mb"] for run in runs[side]),
                }
                for side in SIDES
            }
            words = ", ".join(
                f"{side} {value['speed']:.1f} ({value['memory']:.0f} MB)"
                for side, value in found[f"{spec.name} {threads}"].items()
            )
            print(f"{spec.name} {threads}: {words}", flush=True)
    return found


def pipeline(options):
    """Pictures per second of whole epochs of `bunjae train` after the first, and of its steps alone."""
    found = {}
    spec = networks.SPECS[0]
    for threads in (1, 2):
        whole, alone = [], []
        for _ in range(3):
            alone.append(once("bunjae", spec, threads, 12, options)["pictures_per_second"])
            with tempfile.TemporaryDirectory() as folder:
                model = Path(folder) / "new.onnx"
                new = [options.bunjae, "new", spec.name, "-o", model]
                subprocess.run(new, check=True, capture_output=True)
                words = [options.bunjae, "train", model, "--data", options.pictures]
                words += ["-o", Path(folder) / "trained.onnx", "--epochs", str(EPOCHS)]
                words += ["--threads", str(threads), "--format", "json", *PREPROCESS]
                pinned = ["taskset", "-c", CORES[threads], *words]
                done = subprocess.run(pinned, check=True, capture_output=True, text=True)
                whole.append(json.loads(done.stdout)["pictures_per_second"])
        found[threads] = {"whole": statistics.median(whole), "alone": statistics.median(alone)}
        print(f"pipeline {threads}: {found[threads]}", flush=True)
    return found


PREPROCESS = ["--preprocess", "unit", "--mean", ".485,.456,.406", "--std", ".229,.224,.225"]


def vectors():
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return "AVX-512" if "avx512f" in info else "AVX2"


def machine():
    from importlib.metadata import version

    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"model name\s*:\s*(.*)", info).group(1)
    family = re.search(r"cpu family\s*:\s*(.*)", info).group(1)
    model = re.search(r"model\s*:\s*(.*)", info).group(1)
    flags = re.search(r"flags\s*:\s*(.*)", info).group(1).split()
    git = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    kind = "a virtual machine" if "hypervisor" in flags else "a machine"
    return (
        f"- Measured: {time.strftime('%Y-%m-%d %H:%M')}, on the sources after commit `{commit}`.\n"
        f"- Machine: {name}, family {family}, model {model}, {os.cpu_count()} cores of {kind}, "
        f"with {vectors()}.\n- Versions: torch {version('torch')}, torchvision {version('torchvision')}.\n"
    )


def table(rows):
    widest = max(len(row) for row in rows)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|---:" * (widest - 1) + "|")
    return "\n".join(lines) + "\n"


def beside(entry):
    """The faster of PyTorch's ways, and Bunjae's speed and memory as shares of its."""
    best = max(SIDES[1:], key=lambda side: entry[side]["speed"])
    return best, *(entry["bunjae"][what] / entry[best][what] for what in ("speed", "memory"))


def short(found, specs):
    """Where an aim is missed: of speed, or a third of PyTorch's memory."""
    lines = []
    for spec in specs:
        for threads in (1, 2):
            _, ratio, share = beside(found[f"{spec.name} {threads}"])
            place = f"- {spec.name}, {threads} thread{'s' if threads > 1 else ''}: "
            if round(ratio, 2) < spec.aim:
                lines.append(place + f"{ratio:.2f} times PyTorch's speed, where {spec.aim} is the aim")
            if share > 1 / 3:
                lines.append(place + f"{share:.2f} of its memory, where a third is the aim")
    if not lines:
        return ""
    return "## Where Bunjae falls short\n\n" + "\n".join(lines) + "\n"


def page(found, whole, specs):
    out = [
        f"# Training speed beside PyTorch, with {vectors()}\n",
        "Written by [`scripts/training`](../../scripts/training/README.md), which measured every figure "
        "here in one session on one machine. A step is forward, backward and Adam at batch 32 in f32.\n",
        machine(),
    ]
    for threads in (1, 2):
        rows = [["network", "Bunjae", *(f"PyTorch {side}" for side in SIDES[1:]), "ratio", "aim"]]
        memory = [["network", "Bunjae", "PyTorch, the faster way", "share"]]
        for spec in specs:
            entry = found[f"{spec.name} {threads}"]
            best, ratio, share = beside(entry)
            speeds = [f"{entry[side]['speed']:.1f}" for side in SIDES]
            name = f"{spec.name}, {spec.size}"
            rows.append([name, *speeds, f"**{ratio:.2f}**", f"{spec.aim}"])
            ours, theirs = entry["bunjae"]["memory"], entry[best]["memory"]
            memory.append([name, f"{ours:.0f}", f"{theirs:.0f}", f"{share:.2f}"])
        plural = "thread" if threads == 1 else "threads"
        out.append(f"## {threads} {plural}\n")
        out.append(
            "Pictures per second. *Ratio* is Bunjae's speed over the best of PyTorch's four ways: over 1 "
            "is faster. *Memory kept* is with glibc told not to return memory to the system.\n"
            if threads == 1
            else "Pictures per second.\n"
        )
        out.append(table(rows))
        out.append("Peak resident memory of the process, in MB:\n")
        out.append(table(memory))
    if whole:
        out.append("## The whole pipeline\n")
        out.append(
            "`bunjae train` of mask-base on folders of JPEG pictures with flips and shifts, validation "
            "apart, pictures per second of the epochs after the first (which decodes), beside the step "
            "alone.\n"
        )
        rows = [["threads", "step alone", "whole", "share"]]
        for threads, entry in whole.items():
            share = entry["whole"] / entry["alone"]
            rows.append(
                [str(threads), f"{entry['alone']:.1f}", f"{entry['whole']:.1f}", f"{share:.2f}"]
            )
        out.append(table(rows))
    out += [text for text in [short(found, specs)] if text]
    out.append((HERE / "notes.md").read_text(encoding="utf-8"))
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--example", required=True)
    parser.add_argument("--bunjae")
    parser.add_argument("--pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--networks")
    default = HERE.parents[1] / "docs/results/training-speed.md"
    parser.add_argument("--page", type=Path, default=default)
    options = parser.parse_args()
    chosen = options.networks.split(",") if options.networks else None
    specs = [spec for spec in networks.SPECS if chosen is None or spec.name in chosen]
    whole = pipeline(options) if options.bunjae and options.pictures else None
    found = measure(options, specs)
    options.page.write_text(page(found, whole, specs), encoding="utf-8")


main()
