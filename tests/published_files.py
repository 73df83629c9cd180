"""Files in the very form in which data sets are published, small and made up, and a TFDS that takes
them for what it would download."""

import gzip
import io
import itertools
import os
import sys
import tarfile
import types
import wave

import numpy as np

from lstm_jax.tasks.speech_commands import WORDS

# What an archive holds: by split, arrays and their labels.
Published = dict[str, list[tuple[np.ndarray, int]]]


def _images(count: int, shape: tuple[int, ...], seed: int) -> list[tuple[np.ndarray, int]]:
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    return [(image, index % 10) for index, image in enumerate(images)]


def _pack(path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def mnist(folder) -> Published:
    """IDX files, compressed, of 30 images each; TFDS is told not to want 60,000."""
    published = {}
    for seed, (split, name) in enumerate((("train", "train"), ("test", "t10k"))):
        shown = published[split] = _images(30, (28, 28, 1), seed)
        pixels = bytes(16) + b"".join(image.tobytes() for image, _ in shown)
        labels = bytes(8) + bytes(label for _, label in shown)
        for what, content in (("images-idx3", pixels), ("labels-idx1", labels)):
            path = folder / f"{name}-{what}-ubyte.gz"
            path.write_bytes(gzip.compress(content, 1))
    return published


def cifar10(folder) -> Published:
    """The binary version, five batches and a test batch, of 12 images each."""
    batches = [_images(12, (32, 32, 3), seed) for seed in range(6)]
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    files = {"batches.meta.txt": "\n".join(f"thing{i}" for i in range(10)).encode()}
    for name, batch in zip(names, batches, strict=True):
        records = [bytes([label]) + x.transpose(2, 0, 1).tobytes() for x, label in batch]
        files[name] = b"".join(records)
    inside = {f"cifar-10-batches-bin/{name}": content for name, content in files.items()}
    _pack(folder / "cifar-10-binary.tar.gz", inside)
    return {"train": list(itertools.chain(*batches[:5])), "test": batches[5]}


def speech_commands(folder) -> Published:
    """Both archives: clips of two speakers a word, and background noise."""
    random = np.random.default_rng(0)
    words = [*WORDS, "bed", "cat"]
    splits = {"a": "train", "v": "validation", "t": "test"}
    published: Published = {split: [] for split in splits.values()}
    files = {
        f"./{split}_list.txt": "\n".join(f"{word}/{speaker}.wav" for word in words).encode()
        for split, speaker in (("testing", "t"), ("validation", "v"))
    }
    test_files = {}

    def clip(length):
        return random.integers(-3000, 3000, length).astype(np.int16)

    for number, word in enumerate(words):
        label = min(number, 10) + (number >= 10)  # 11 is `_unknown_`
        for speaker, split in splits.items():
            sound = clip(16_000 - 500 * (number % 2))
            published[split].append((sound, label))
            files[f"{word}/{speaker}.wav"] = _wav(sound)
            if split == "test":
                test_files[f"{word if label < 11 else '_unknown_'}/{number}.wav"] = _wav(sound)
    for name, split in (("running_tap", "validation"), ("white_noise", "train")):
        noise = clip(40_000)  # TFDS cuts it into seconds that overlap by half
        files[f"_background_noise_/{name}.wav"] = _wav(noise)
        starts = range(0, 24_000, 8_000)
        published[split] += [(noise[start : start + 16_000], 10) for start in starts]
    silence = clip(16_000)
    published["test"].append((silence, 10))
    test_files["_silence_/0.wav"] = _wav(silence)
    _pack(folder / "speech_commands_v0.02.tar.gz", files)
    _pack(folder / "speech_commands_test_set_v0.02.tar.gz", test_files)
    return published


WRITTEN = {"mnist": mnist, "cifar10": cifar10, "speech_commands": speech_commands}


def downloaded(monkeypatch, folder) -> None:
    """Has TFDS take files of a folder for what it downloads, and shuffle as it does large sets.

    In place of pydub, which tests do not install, stands what it does with sound of one channel.
    """
    from etils import epath
    from promise import Promise
    from tensorflow_datasets.core import shuffle
    from tensorflow_datasets.core.download import DownloadManager
    from tensorflow_datasets.image_classification import mnist as mnist_builder

    def download(self, resource):
        url = resource if isinstance(resource, str) else resource.url
        return Promise.resolve(epath.Path(folder / os.path.basename(url)))

    class AudioSegment:
        @staticmethod
        def from_file(file, format):
            assert format == "wav"
            with wave.open(io.BytesIO(file.read())) as sound:
                frames = sound.readframes(sound.getnframes())
            segment = AudioSegment()
            segment.get_array_of_samples = lambda: np.frombuffer(frames, np.int16)
            return segment

    pydub = types.ModuleType("pydub")
    pydub.AudioSegment = AudioSegment
    pydub.exceptions = types.SimpleNamespace(CouldntDecodeError=ValueError)
    monkeypatch.setitem(sys.modules, "pydub", pydub)
    monkeypatch.setattr(DownloadManager, "_download_or_get_cache", download)
    for count in ("_TRAIN_EXAMPLES", "_TEST_EXAMPLES"):
        monkeypatch.setattr(mnist_builder, count, 30)
    monkeypatch.setattr(shuffle, "MAX_MEM_BUFFER_SIZE", 1000)


def _wav(sound: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(sound.tobytes())
    return file.getvalue()
