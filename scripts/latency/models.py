"""The models that are measured, and where their files are found."""
import os
from dataclasses import dataclass
from pathlib import Path

SEED = 0


@dataclass(frozen=True)
class Spec:
    name: str
    about: str
    shape: tuple
    # The most that Bunjae's time should be of the best other engine's.
    aim: float = 1.0


SPECS = [
    Spec("M0", "mask-base", (1, 3, 128, 128)),
    Spec("M0-30", "mask-base pruned by 30 %, widths 22-44-89", (1, 3, 128, 128), aim=0.75),
    Spec("M2", "mask-base at half its widths, 16-32-64", (1, 3, 128, 128), aim=0.75),
    Spec("M0-70", "mask-base pruned by 70 %, widths 9-19-38", (1, 3, 128, 128), aim=0.75),
    Spec("M1", "mask-small", (1, 3, 128, 128), aim=0.75),
    Spec("M3", "pd-light", (1, 1, 60, 120)),
    Spec("M4", "ResNet-18", (1, 3, 224, 224)),
    Spec("M5", "MobileNetV2", (1, 3, 224, 224)),
]

# What `bunjae prune M0 --ratio` has to leave of the three convolutions.
PRUNED = {"M0-30": (0.3, [22, 44, 89]), "M0-70": (0.7, [9, 19, 38])}


def folder() -> Path:
    """Where prepare.py writes and run.py reads."""
    given = os.environ.get("LATENCY_MODELS")
    if not given:
        raise SystemExit("error: LATENCY_MODELS is not set; hint: a folder for models and conversions")
    return Path(given)


def data() -> Path:
    """The data folder of the tests."""
    here = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("BUNJAE_DATA", here.parent / "shared" / "data"))


def input_of(spec: Spec):
    """The same picture for every engine: normal noise of a fixed seed."""
    import numpy as np

    return np.random.default_rng(SEED).standard_normal(spec.shape).astype(np.float32)
