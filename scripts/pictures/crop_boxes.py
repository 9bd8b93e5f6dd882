"""More pictures of rare classes: objects cut out of the pictures that they were marked in.

usage: python crop_boxes.py --boxes DIR --crops DIR --out DIR --times CLASS=N [CLASS=N ...]

--boxes is a data set for detection: `manifest.csv` with the columns `file` and `split`, and VOC files in
`annotations`. --crops is one for classification that was cut from it: `manifest.csv` with `file`, `class`
and `split`, and pictures of at most 128 pixels. --out is written with the pictures of --crops in `train`
and `val`, and in `train` with crops of each box of the training pictures: N of them, each a square of 1.1
to 1.7 times the box, moved by up to 12 % of its side. N may have a fraction, which is a chance. Boxes of
less than 10 pixels are left out. Pictures to validate with are never cut.

Needs Pillow. The same arguments give the same pictures.
"""
import argparse
import collections
import csv
import random
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from PIL import Image

MARGIN = (1.1, 1.7)
SHIFT = 0.12
SMALLEST_BOX = 10
SMALLEST_CROP = 8
LARGEST_CROP = 128


def manifest(folder):
    with open(folder / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def boxes(annotation):
    """Class and corners of each box of a VOC file."""
    for item in ElementTree.parse(annotation).findall("object"):
        corners = [float(item.find("bndbox").find(side).text) for side in ("xmin", "ymin", "xmax", "ymax")]
        yield item.find("name").text, corners


def crop(picture, corners, rng):
    """A square about the box, clipped at the picture's edge; None where next to nothing is left."""
    left, top, right, bottom = corners
    side = max(right - left, bottom - top) * rng.uniform(*MARGIN)
    x = (left + right) / 2 + rng.uniform(-SHIFT, SHIFT) * side
    y = (top + bottom) / 2 + rng.uniform(-SHIFT, SHIFT) * side
    cut = picture.crop((
        max(0, int(x - side / 2)),
        max(0, int(y - side / 2)),
        min(picture.width, int(x + side / 2)),
        min(picture.height, int(y + side / 2)),
    ))
    if min(cut.size) < SMALLEST_CROP:
        return None
    if max(cut.size) > LARGEST_CROP:
        cut.thumbnail((LARGEST_CROP, LARGEST_CROP), Image.BICUBIC)
    return cut


def copies(times, rng):
    """`times` in whole numbers, the fraction being the chance of one more."""
    return int(times) + (rng.random() < times - int(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--boxes", "--crops", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--times", nargs="+", required=True, metavar="CLASS=N")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    times = {name: float(number) for name, number in (pair.split("=") for pair in options.times)}
    rng = random.Random(options.seed)

    for row in manifest(options.crops):
        target = options.out / row["split"] / row["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(options.crops / row["file"], target)

    made = collections.Counter()
    train = {Path(row["file"]).stem: row["file"] for row in manifest(options.boxes) if row["split"] == "train"}
    for name, file in sorted(train.items()):
        picture = Image.open(options.boxes / file).convert("RGB")
        for index, (kind, corners) in enumerate(boxes(options.boxes / "annotations" / f"{name}.xml")):
            left, top, right, bottom = corners
            if min(right - left, bottom - top) < SMALLEST_BOX:
                continue
            for copy in range(copies(times.get(kind, 0), rng)):
                cut = crop(picture, corners, rng)
                if cut is not None:
                    path = options.out / "train" / kind / f"wide_{name}_{index:02}_{copy}.jpg"
                    cut.save(path, quality=95, subsampling=0)
                    made[kind] += 1
    for kind, count in sorted(made.items()):
        print(f"{kind}: {count} more")


if __name__ == "__main__":
    main()
