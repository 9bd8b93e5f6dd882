"""OpenCV's cascades on given pictures.

    python opencv.py FOLDER        runs FOLDER/jobs.txt, and writes FOLDER/out.txt
    python opencv.py --cascades    prints the folder with the cascades that OpenCV brings along

A job is a line: cascade, picture (PGM), scale factor, least neighbours, least width and height,
largest width and height, separated by tabs. What is found is a line of left, top, width, height and
the number of windows for each box, separated by blanks.
"""

import sys

import cv2


def main(folder):
    cv2.setNumThreads(1)
    cascades = {}
    with open(folder + "/jobs.txt") as jobs, open(folder + "/out.txt", "w") as out:
        for job in jobs:
            cascade, picture, scale, neighbours, *sizes = job.rstrip("\n").split("\t")
            if cascade not in cascades:
                cascades[cascade] = cv2.CascadeClassifier(cascade)
                assert not cascades[cascade].empty(), cascade
            grey = cv2.imread(picture, cv2.IMREAD_UNCHANGED)
            assert grey is not None and grey.ndim == 2, picture
            width, height, most_width, most_height = map(int, sizes)
            boxes, counts = cascades[cascade].detectMultiScale2(
                grey,
                scaleFactor=float(scale),
                minNeighbors=int(neighbours),
                minSize=(width, height),
                maxSize=(most_width, most_height),
            )
            found = [[*box, count] for box, count in zip(boxes, counts)]
            print(*(int(number) for box in found for number in box), file=out)


if sys.argv[1] == "--cascades":
    print(cv2.data.haarcascades)
else:
    main(sys.argv[1])
