"""Facial expressions, by a network that was trained on a plain CPU.

    import moue, numpy as np
    from PIL import Image

    classifier = moue.Classifier("runs/fer/best.safetensors")
    face = np.asarray(Image.open("face.png").convert("L").resize((48, 48), Image.BILINEAR))
    classifier.predict(face)  # [("happy", {"angry": 0.01, ...})]
"""

from . import _moue

__all__ = ["Classifier"]


class Classifier:
    """Trained weights, ready to classify faces; may be shared by threads."""

    def __init__(self, path):
        """Reads the weights at `path`: OSError if there are none, ValueError if they are broken."""
        self._inner = _moue.Classifier(path)
        self.classes: list[str] = self._inner.classes

    def probabilities(self, faces) -> list[list[float]]:
        """The probability of each class, in the order of `classes`, for each face.

        `faces`: grey values from 0 to 255, unsigned bytes, [48, 48] or [n, 48, 48], in any object with a buffer (a
        NumPy array); ValueError for another shape, BufferError for another type."""
        return self._inner.probabilities(faces)

    def predict(self, faces) -> list[tuple[str, dict[str, float]]]:
        """For each face its expression, and the probabilities of all of them; `faces` as in `probabilities`."""
        rows = [dict(zip(self.classes, row)) for row in self.probabilities(faces)]
        return [(max(row, key=row.get), row) for row in rows]
