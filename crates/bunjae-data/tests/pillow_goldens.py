"""Prints the golden hashes in pillow.golden: what Pillow and torchvision make of a small generated picture.

Needs torch, torchvision and Pillow; the versions are printed first. FNV-1a over the bytes of the result.
"""
import numpy, PIL, torch, torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode, functional as F
from torchvision.transforms.autoaugment import RandAugment, _apply_op


def picture(width, height, mode):
    channels = {"L": 1, "RGB": 3}[mode]
    y, x, c = numpy.mgrid[0:height, 0:width, 0:channels]
    values = (x * 37 + y * 61 + c * 97 + x * y * 13 + (x * x + y) % 7 * 5 * c) % 256
    values = numpy.where((x + y) % 5 == 0, values // 3 + 40, values).astype(numpy.uint8)
    return Image.fromarray(values[:, :, 0] if mode == "L" else values)


def fnv(image):
    result = 0xCBF29CE484222325
    for byte in image.tobytes():
        result = ((result ^ byte) * 0x100000001B3) % 2**64
    return result


def show(name, image):
    print(f"{name}: {image.width} {image.height} {fnv(image):#018x}")


print(f"# Pillow {PIL.__version__}, torchvision {torchvision.__version__}, torch {torch.__version__}")
filters = dict(nearest=Image.NEAREST, box=Image.BOX, bilinear=Image.BILINEAR, bicubic=Image.BICUBIC, lanczos=Image.LANCZOS)
for mode in ("L", "RGB"):
    image = picture(61, 47, mode)
    for name, filter in filters.items():
        for size in ((32, 32), (16, 80), (61, 20), (200, 47), (1, 1), (128, 128)):
            show(f"resize {mode} {name} {size[0]} {size[1]}", image.resize(size, filter))
    for shorter, side in ((20, 20), (40, 31), (64, 56)):
        fitted = F.center_crop(F.resize(image, shorter, InterpolationMode.BILINEAR), side)
        show(f"crop {mode} {shorter} {side}", fitted)
    for factor in (0.0, 0.37, 1.0, 1.73):
        show(f"brightness {mode} {factor}", F.adjust_brightness(image, factor))
        show(f"contrast {mode} {factor}", F.adjust_contrast(image, factor))
        show(f"saturation {mode} {factor}", F.adjust_saturation(image, factor))
        show(f"sharpness {mode} {factor}", F.adjust_sharpness(image, factor))
    for turn in (-0.5, -0.13, 0.0, 0.21, 0.5):
        show(f"hue {mode} {turn}", F.adjust_hue(image, turn))
    space = RandAugment()._augmentation_space(31, (image.height, image.width))
    for level in (0, 3, 9, 17, 30):
        for op, (magnitudes, signed) in space.items():
            magnitude = float(magnitudes[level].item()) if magnitudes.ndim > 0 else 0.0
            for sign in (1, -1) if signed else (1,):
                result = _apply_op(image, op, sign * magnitude, InterpolationMode.NEAREST, None)
                show(f"op {mode} {op} {level} {sign}", result)
# Already stretched, and without step to spread.
flat = Image.new("RGB", (9, 7), (10, 200, 200))
show("op flat AutoContrast 0 1", F.autocontrast(flat))
show("op flat Equalize 0 1", F.equalize(flat))
