#!/usr/bin/env python3
"""Compares the Python package with `moue predict`, bit by bit, and looks at its errors.

    cargo build --release; pip install numpy pillow and the package as python/README.md says
    python tests/interop/check_python.py [--weights runs/fer/best.safetensors]
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import moue
from common import probabilities, work


def refused(error, call, *args):
    try:
        call(*args)
    except error as e:
        return str(e)
    raise AssertionError(f"{error.__name__} expected")


def check(args, folder, name, path, pixels, paths):
    classifier = moue.Classifier(path)
    faces = pixels[:, 0]
    truth = probabilities(args.moue, path, paths).astype(np.float32)
    assert np.array_equal(np.float32(classifier.probabilities(faces)), truth)
    # One face, faces that do not lie one behind the other, and many threads.
    [(label, row)] = classifier.predict(faces[3])
    assert list(row) == classifier.classes and np.array_equal(np.float32(list(row.values())), truth[3])
    assert label == classifier.classes[int(truth[3].argmax())]
    assert np.array_equal(np.float32(classifier.probabilities(faces[::-2])), truth[::-2])
    assert classifier.probabilities(faces[:0]) == []
    with ThreadPoolExecutor(4) as pool:
        for row, expected in zip(pool.map(classifier.probabilities, faces), truth):
            assert np.array_equal(np.float32(row[0]), expected)
    assert "[48, 48]" in refused(ValueError, classifier.predict, faces[:, :40])
    refused(BufferError, classifier.predict, faces.astype(np.float32))
    assert "nowhere" in refused(OSError, moue.Classifier, "nowhere")
    assert "safetensors" in refused(ValueError, moue.Classifier, str(paths[0]))
    print(f"{name}: {len(faces)} faces, the same bits")
    return True


if __name__ == "__main__":
    work(__doc__, check)
