"""Scores predictions on an exported set. Needs NumPy alone, and no part of lstm_jax.

    python score.py predictions.npz recall-gap20-report.npz

The first file holds `predictions`, `[examples, uses, outputs]`, in the order of the second; what a
set is, and what counts as right, says the `.json` beside it. Exit status 2 where files do not fit.
"""

import hashlib
import json
import os
import sys
import zipfile

import numpy as np


def score(predictions: np.ndarray, arrays: dict, about: dict) -> dict:
    """Accuracy over all answers that count, and by lag of all that ask for something past.

    Args:
      predictions: `[examples, uses, outputs]`; of classes, any scores that rise with belief.
      arrays: of the set.
      about: its description.

    Returns:
      `accuracy`, `by_lag` (accuracy and number of answers by lag), `solved`.

    Raises:
      ValueError: shapes differ, or something is not finite.
    """
    targets, lag = arrays["targets"], arrays["lag"]
    expected = (*arrays["weights"].shape, about["output_size"])
    if predictions.shape != expected:
        raise ValueError(f"predictions are {predictions.shape}, must be {expected}")
    if not np.isfinite(predictions).all():
        raise ValueError("some predictions are not finite")
    if about["tolerance"] is None:
        right = predictions.argmax(axis=-1) == targets
    else:
        right = (np.abs(predictions - targets) < about["tolerance"]).all(axis=-1)
    weights = arrays["weights"].astype(np.float64)
    by_lag = {}
    for value in np.unique(lag[(weights > 0) & (lag >= 0)]):
        own = weights * (lag == value)
        share = float((own * right).sum() / own.sum())
        by_lag[int(value)] = {"accuracy": share, "answers": int((own > 0).sum())}
    weights = np.where(lag >= counted_from(about), weights, 0)
    accuracy = float((weights * right).sum() / weights.sum())
    return {"accuracy": accuracy, "solved": accuracy >= about["solved_at"], "by_lag": by_lag}


def counted_from(about: dict) -> int:
    """The smallest lag that counts in accuracy; the field came later than the first sets."""
    return about.get("counted_from", 0)


def read(path: str) -> tuple[dict, dict]:
    """An exported set and its description, checked against its hash.

    Raises:
      ValueError: the set is not what its description says.
      OSError: as from the file system.
    """
    stem, extension = os.path.splitext(path)
    if extension != ".npz":
        raise ValueError(f"{path}: must be the .npz of an exported set")
    with open(f"{stem}.json", encoding="utf-8") as file:
        about = json.load(file)
    with open(path, "rb") as file:
        if hashlib.sha256(file.read()).hexdigest() != about["sha256"]:
            raise ValueError(f"{path}: altered since it was exported")
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays), about


def lines(found: dict, about: dict) -> list:
    """What `score` found, in words: one line, and one a lag where there are several."""
    verdict = "solved" if found["solved"] else "not solved"
    told = [
        f"{about['task']} at {about['swept_by']} {about['gap']}: accuracy {found['accuracy']:.4f} "
        f"(chance {about['chance']:.4g}, solved at {about['solved_at']:g}): {verdict}"
    ]
    if len(found["by_lag"]) > 1:
        for lag, own in found["by_lag"].items():
            note = "" if lag >= counted_from(about) else " (not counted)"
            told.append(f"lag {lag}: {own['accuracy']:.4f} of {own['answers']}{note}")
    return told


def main(arguments: list) -> int:
    """The command; returns its exit status."""
    if len(arguments) != 2:
        print("usage: python score.py predictions.npz SET.npz", file=sys.stderr)
        return 2
    try:
        arrays, about = read(arguments[1])
        with open(arguments[0], "rb") as file:  # NumPy leaves open what it cannot read
            given = np.load(file, allow_pickle=False)
            if isinstance(given, np.ndarray) or "predictions" not in given:
                raise ValueError(f"{arguments[0]}: must be an .npz that holds `predictions`")
            found = score(given["predictions"], arrays, about)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    print("\n".join(lines(found, about)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
