"""Face detectors in ONNX Runtime, their outputs read as their authors say.

    python faces.py FOLDER

For each line of FOLDER/jobs.txt (kind, model, input, height, width of it, least score, overlap,
separated by tabs; the input is a file of f32 in the order 1, 3, height, width) writes a line to
FOLDER/out.txt: left, top, width, height and score of each box, and ten numbers of landmarks where the
detector gives them, in pixels of the input, the best box first.
"""

import sys

import numpy as np
import onnxruntime


def yunet(outputs, height, width, least):
    boxes, scores, marks = [], [], []
    for stride in (8, 16, 32):
        cls, obj, bbox, kps = (
            outputs[f"{part}_{stride}"][0].astype(np.float64) for part in ("cls", "obj", "bbox", "kps")
        )
        rows, columns = np.divmod(np.arange(len(cls)), width // stride)
        score = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        x, y = (columns + bbox[:, 0]) * stride, (rows + bbox[:, 1]) * stride
        w, h = np.exp(bbox[:, 2]) * stride, np.exp(bbox[:, 3]) * stride
        boxes.append(np.stack([x - w / 2, y - h / 2, w, h], 1))
        scores.append(score)
        places = np.stack([columns, rows] * 5, 1)
        marks.append((kps + places) * stride)
    boxes, scores, marks = map(np.concatenate, (boxes, scores, marks))
    keep = scores >= least
    return boxes[keep], scores[keep], marks[keep]


def ultraface(outputs, height, width, least):
    scores, boxes = outputs["scores"][0].astype(np.float64), outputs["boxes"][0].astype(np.float64)
    score = scores[:, 1:].max(1)
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    boxes = boxes * [width, height, width, height]
    keep = score >= least
    return boxes[keep], score[keep], np.zeros((keep.sum(), 0))


def overlap(box, boxes):
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    common = np.prod(np.clip(high - low, 0, None), 1)
    return common / (box[2] * box[3] + boxes[:, 2] * boxes[:, 3] - common)


def best(boxes, scores, most):
    order = list(np.argsort(-scores, kind="stable"))
    kept = []
    while order:
        first, order = order[0], order[1:]
        kept.append(first)
        if order:
            shares = overlap(boxes[first], boxes[order])
            order = [at for at, share in zip(order, shares) if share <= most]
    return kept


def main(folder):
    sessions = {}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with open(folder + "/jobs.txt") as jobs, open(folder + "/out.txt", "w") as out:
        for job in jobs:
            kind, model, path, height, width, least, most = job.rstrip("\n").split("\t")
            if model not in sessions:
                sessions[model] = onnxruntime.InferenceSession(
                    model, options, providers=["CPUExecutionProvider"]
                )
            session = sessions[model]
            height, width = int(height), int(width)
            picture = np.fromfile(path, np.float32).reshape(1, 3, height, width)
            names = [output.name for output in session.get_outputs()]
            outputs = dict(zip(names, session.run(names, {session.get_inputs()[0].name: picture})))
            decode = {"yunet": yunet, "ultraface": ultraface}[kind]
            boxes, scores, marks = decode(outputs, height, width, float(least))
            found = (
                [*boxes[at], scores[at], *marks[at]] for at in best(boxes, scores, float(most))
            )
            print(*(f"{number:.6f}" for box in found for number in box), file=out)


main(sys.argv[1])
