"""The page docs/results/latency.md from what run.py measured."""
import models

NAMES = {
    "compiled": "`bunjae predict`, compiled file",
    "predict": "`bunjae predict`, ONNX file",
    "bunjae": "Bunjae",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "ncnn": "ncnn",
    "litert": "LiteRT",
    "tract": "tract",
    "rten": "rten",
    "ort": "ONNX Runtime, from Rust",
}


def render(parts, notes):
    sections = [head(parts), latency(parts, notes), agreement(parts["latency"])]
    if "cold" in parts:
        sections.append(cold(parts["cold"], parts["machine"]))
    if "widths" in parts:
        sections.append(widths(parts["widths"]))
    sections.append(repeat())
    return "\n".join(sections)


def table(rows):
    """A Markdown table: the first column is text, the others are numbers."""
    widest = max(len(row) for row in rows)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|---:" * (widest - 1) + "|")
    return "\n".join(lines) + "\n"


def digits(value):
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def head(parts):
    machine, latency = parts["machine"], parts["latency"]
    versions = machine["versions"]
    kind = "a virtual machine" if machine["virtual"] else "a machine"
    vectors = "with AVX-512" if machine["avx512"] else "with AVX2 and FMA, without AVX-512"
    listed = ", ".join(f"{name} {versions[name]}" for name in versions if name != "numpy")
    return f"""# Latency beside other engines

Written by `scripts/latency`, which measured every figure here in one
session on one machine. f32, batch 1.

- Measured: {latency["started"]}, on the sources after commit `{machine["commit"]}`.
- Machine: {machine["processor"]}, {machine["cores"]} cores of {kind}, {vectors}.
- Peak: {latency["peak"] / 1e9:.1f} GMAC/s (multiply-adds per second) and core with
  {latency["isa"]}, all operands in registers, measured in the same session.
- Versions: {listed}; numpy {versions["numpy"]}; {machine["rustc"]}.
"""


def latency(parts, notes):
    found = parts["latency"]
    out = [
        "## Latency\n",
        "Milliseconds per run: the median of "
        f"{found['rounds']} rounds of {found['slice_ms']} ms each, and of each round the median run. "
        "The engines take turns within a round, each in a process of its own that is pinned to the "
        "cores it may use. *Ratio* is Bunjae's time as a share of the best other engine's: below 1 is "
        "faster. *Share of peak* counts the multiply-adds of a direct convolution; Winograd needs "
        "fewer, so that it can lead to more than 100 %. The row `bunjae bench` is what the program itself "
        "says about the same files right after, over half a second each; it is no part of the ratio.\n",
    ]
    for threads in ("1", "2"):
        plural = "thread" if threads == "1" else "threads"
        out.append(f"### {threads} {plural}\n")
        out.append(latency_table(parts, threads))
    out.append("The models:\n")
    for spec in models.SPECS:
        if spec.name in found["models"]:
            macs = found["models"][spec.name]["macs"] / 1e6
            shape = " x ".join(map(str, spec.shape[1:]))
            out.append(f"- {spec.name}: {spec.about}, {shape}, {macs:.1f} million multiply-adds")
    out.append("")
    missing = failures(found)
    if missing:
        out.append(missing)
    out.append(behind(found))
    out.append(notes)
    return "\n".join(out)


def bench_times(parts, threads):
    """Medians of `bunjae bench` by the name of the model."""
    rows = (parts.get("bench") or {}).get("results", [])
    chosen = [row for row in rows if row["threads"] == int(threads)]
    return {row["model"].rsplit("/", 1)[-1].removesuffix(".onnx"): row["median_ms"] for row in chosen}


def latency_table(parts, threads):
    found = parts["latency"]
    names = list(found["models"])
    rows = [["", *names]]
    cells = {name: found["models"][name]["threads"][threads]["engines"] for name in names}
    for engine in NAMES:
        if any(engine in cells[name] for name in names):
            row = [NAMES[engine]]
            for name in names:
                mine = cells[name].get(engine)
                best = min(cell["ms"] for cell in cells[name].values())
                text = digits(mine["ms"]) if mine else "-"
                row.append(f"**{text}**" if mine and mine["ms"] == best else text)
            rows.append(row)
    bench = bench_times(parts, threads)
    if bench:
        texts = [digits(bench[name]) if name in bench else "-" for name in names]
        rows.append(["`bunjae bench`", *texts])
    ratios, shares, peers = ["Ratio"], ["Share of peak"], ["Best other engine"]
    for name in names:
        ratio, peer = ratio_of(cells[name])
        ratios.append(f"{ratio:.2f}")
        peers.append(NAMES[peer])
        limit = found["models"][name]["macs"] / (found["peak"] * int(threads))
        shares.append(f"{100 * limit / (cells[name]['bunjae']['ms'] / 1e3):.0f} %")
    rows += [peers, ratios, shares]
    return table(rows)


def ratio_of(engines):
    """Our time over the best other engine's, and which that is."""
    others = {name: cell["ms"] for name, cell in engines.items() if name != "bunjae"}
    peer = min(others, key=others.get)
    return engines["bunjae"]["ms"] / others[peer], peer


def failures(found):
    lines = []
    for name, model in found["models"].items():
        for engine, why in model["threads"]["1"]["failures"].items():
            lines.append(f"- {NAMES[engine]} did not run {name}: {why}")
    return "\n".join(["Left out:\n", *lines, ""]) if lines else ""


def behind(found):
    """Which rows miss what the project aims at, by how much."""
    aims = {spec.name: spec.aim for spec in models.SPECS}
    slower, short, rows = [], [], 0
    for threads in ("1", "2"):
        plural = "thread" if threads == "1" else "threads"
        for name, model in found["models"].items():
            rows += 1
            ratio, peer = ratio_of(model["threads"][threads]["engines"])
            place = f"- {name}, {threads} {plural}: {ratio:.2f} times {NAMES[peer]}'s time"
            if ratio > 1:
                slower.append(place)
            elif ratio > aims[name]:
                short.append(f"{place}, where {aims[name]:.2f} is the aim")
    tight = ", ".join(spec.name for spec in models.SPECS if spec.aim < 1 and spec.name in found["models"])
    aim = "The aim is to be no slower than the best other engine on any model"
    aim += f", and to take at most 0.75 of its time on {tight}." if tight else "."
    if not slower and not short:
        return f"### The aim\n\n{aim} All {rows} rows meet it.\n"
    out = [
        "### Where Bunjae falls short\n",
        f"{aim} Of {rows} rows, {len(slower)} are slower than the best other engine, and {len(short)} are "
        "faster and yet short of the aim.\n",
    ]
    return "\n".join([*out, *slower, *short, ""])


def agreement(found):
    """How far outputs are from ONNX Runtime's."""
    names = list(found["models"])
    rows = [["", *names]]
    for engine in NAMES:
        cells = [found["models"][name]["threads"]["1"]["engines"].get(engine) for name in names]
        if engine != "onnxruntime" and any(cells):
            values = [cell and cell["difference"] for cell in cells]
            texts = ["-" if value is None else f"{value:.1e}" for value in values]
            rows.append([NAMES[engine], *texts])
    largest = [f"{found['models'][name]['threads']['1']['scale']:.2f}" for name in names]
    rows.append(["Largest output", *largest])
    return (
        "## Outputs\n\n"
        "The largest absolute difference to ONNX Runtime's outputs on the same input, and for scale the "
        "largest absolute output.\n\n" + table(rows)
    )


def cold(found, machine):
    names = list(found)
    rows = [["", *[f"{name}, ms" for name in names], *[f"{name}, MiB" for name in names]]]
    for engine in NAMES:
        if any(engine in found[name] for name in names):
            cells = [found[name].get(engine) for name in names]
            times = [digits(cell["ms"]) if cell else "-" for cell in cells]
            memory = [f"{cell['rss_kib'] / 1024:.1f}" if cell and cell["rss_kib"] else "-" for cell in cells]
            label = NAMES[engine]
            python = engine in ("openvino", "onnxruntime", "ncnn", "litert")
            rows.append([f"{label} (Python)" if python else label, *times, *memory])
    return (
        "## Cold start and memory\n\n"
        "From the start of a process to the end of one that has loaded the ONNX file (LiteRT and ncnn: "
        "their converted files), computed one answer and printed it, files in the page cache, one thread "
        "on one core; and its resident memory at that point. Bunjae, tract, rten and ONNX Runtime's own "
        "library (loaded by the crate `ort`) are called by the same small Rust program, the others by a "
        "Python script, which pays for Python and numpy: Python with numpy alone is "
        f"{machine['python_kib'] / 1024:.1f} MiB. Compare the Rust rows with one another, and the Python "
        "rows with one another. Bunjae's time includes the import, the simplification and the packing of "
        "weights, which a file of `bunjae compile` has behind it. `bunjae predict` is the program as a user "
        "starts it, with a picture to decode and preprocess.\n\n" + table(rows)
    )


def widths(found):
    """Times by width, and whether a narrower layer is ever slower than a wider one."""
    by_width = {entry["width"]: entry for entry in found}
    columns = 3
    ordered = sorted(by_width)
    deep = -(-len(ordered) // columns)
    rows = [["Width", "3x3", "1x1", *["Width", "3x3", "1x1"] * (columns - 1)]]
    for at in range(deep):
        row = []
        for column in range(columns):
            place = at + column * deep
            if place < len(ordered):
                entry = by_width[ordered[place]]
                figures = [f"{entry[kind]['ps_per_mac']:.1f}" for kind in ("3x3", "1x1")]
                row += [str(ordered[place]), *figures]
            else:
                row += ["", "", ""]
        rows.append(row)
    sentences = []
    for kind in ("3x3", "1x1"):
        # Would rounding up to a multiple of 8 have been faster?
        slower = []
        for width in ordered:
            up = -(-width // 8) * 8
            if up != width and up in by_width:
                ratio = by_width[width][kind]["ms"] / by_width[up][kind]["ms"]
                slower.append((ratio, width, up))
        ratio, width, up = max(slower)
        count = sum(1 for r, _, _ in slower if r > 1.0)
        sentences.append(
            f"{kind}: of {len(slower)} widths that are no multiple of 8, {count} take longer than the next "
            f"multiple; the worst is {width}, with {ratio:.2f} times the time of {up}."
        )
    return (
        "## Every width\n\n"
        "Pruning leaves odd widths. Picoseconds per multiply-add of a convolution from w to w channels on a "
        "picture of 32 x 32, with bias and ReLU, one thread. The layer is a network of its own, so that a run "
        "copies the picture in and the result out, which is most of what narrow 1x1 layers take.\n\n"
        + table(rows)
        + "\n"
        + "\n".join(f"- {sentence}" for sentence in sentences)
        + "\n"
    )


def repeat():
    lines = [
        "## Repeat it\n",
        "```sh",
        "cargo build --release -p bunjae",
        "cargo build --release --manifest-path scripts/latency/peers-rs/Cargo.toml",
        "python scripts/latency/prepare.py --bunjae target/release/bunjae",
        "python scripts/latency/run.py \\",
        "    --native scripts/latency/peers-rs/target/release/latency-peers \\",
        "    --ort-library .../onnxruntime/capi/libonnxruntime.so.* --bunjae target/release/bunjae",
        "```\n",
        "Close other programs. Figures of different sessions, and of different machines, do not compare.",
    ]
    return "\n".join(lines) + "\n"
