from __future__ import annotations

import fcntl
import hashlib
import importlib
import io
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.utils.misc import natural_key
from torch.utils.data import DataLoader
from torchvision import datasets as tv_datasets
from torchvision import transforms as tv_transforms

from natx.errors import ConfigError, DataError, UserError
from natx.registry import DATASETS
from tasks.cls.datasets import CIFAR10, CIFAR100, IMAGENET100_LIST, NPZ, Digits, ImageFolder, ImageNet100
from tasks.cls.datasets.folder import _natural


def fails(kind: type[UserError], build: Callable[[], Any], *parts: str) -> str:
    """The text of the error, checked to be one line, a UserError, and to contain ``parts``."""
    with pytest.raises(kind) as caught:
        build()
    text = str(caught.value)
    assert issubclass(kind, UserError) and "\n" not in text and text
    for part in parts:
        assert part in text, text
    return text


def write_cifar(root: Path, *, per_file: int = 6, protocol: int = 2, hundred: bool = False) -> Path:
    """A tiny CIFAR in torchvision's layout; every file gets its own random pixels."""
    rng = np.random.default_rng(0)
    folder = root / ("cifar-100-python" if hundred else "cifar-10-batches-py")
    folder.mkdir(parents=True)
    files = ["train", "test"] if hundred else [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    count, key = (100, "fine_labels") if hundred else (10, "labels")
    for name in files:
        entry = {
            "data": rng.integers(0, 256, (per_file, 3072), dtype=np.uint8),
            key: rng.integers(0, count, per_file).tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(entry, protocol=protocol))
    meta = {("fine_label_names" if hundred else "label_names"): [f"c{i}" for i in range(count)]}
    (folder / ("meta" if hundred else "batches.meta")).write_bytes(pickle.dumps(meta, protocol=protocol))
    return folder


def write_image(path: Path, size: tuple[int, int] = (30, 24), *, mode: str = "RGB", seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) + ((len(mode),) if len(mode) > 1 else ())
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for c, name in enumerate(("cat", "ant", "bee")):
        for i in range(2 + c):
            write_image(root / name / f"{i}.png", (30 + 5 * c, 24), seed=10 * c + i)
    return root


def small(root: Path, **kwargs: Any) -> ImageFolder:
    return ImageFolder(root, **{"image_size": 8, "resize": 12, **kwargs})


def write_npz(path: Path, image: Any, label: Any) -> Path:
    np.savez(path, image=image, label=label)
    return path


# ---------------------------------------------------------------------------------------------- all data sets


@pytest.fixture(params=["Digits", "CIFAR10", "CIFAR100", "ImageFolder", "NPZ"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path, folder: Path) -> Any:
    name = request.param
    if name == "Digits":
        return Digits(train=False)
    if name.startswith("CIFAR"):
        write_cifar(tmp_path, hundred=name == "CIFAR100")
        return {"CIFAR10": CIFAR10, "CIFAR100": CIFAR100}[name](tmp_path, verify=False)
    if name == "ImageFolder":
        return small(folder)
    images = np.random.default_rng(0).integers(0, 256, (9, 5, 6, 3), dtype=np.uint8)
    return NPZ(write_npz(tmp_path / "a.npz", images, np.arange(9) % 4))


def test_batches_through_a_shuffling_loader(dataset: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(dataset, 4, shuffle=True, collate_fn=lambda b: b, generator=generator)
    seen = []
    for batch in loader:
        n = len(batch["index"])
        assert set(batch) == {"inputs", "data_samples", "index"}
        assert batch["inputs"].shape[0] == n and batch["inputs"].dim() == 4 and batch["inputs"].is_contiguous()
        assert batch["inputs"].dtype in (torch.uint8, torch.float32)
        assert batch["data_samples"].dtype == batch["index"].dtype == torch.int64
        assert torch.equal(batch["data_samples"], dataset.labels[batch["index"]])
        one = dataset[int(batch["index"][-1])]
        assert torch.equal(one["inputs"][0], batch["inputs"][-1]) and one["data_samples"].shape == (1,)
        seen += batch["index"].tolist()
    assert sorted(seen) == list(range(len(dataset))) and seen != sorted(seen)


def test_attributes_indices_and_fingerprint(dataset: Any) -> None:
    assert dataset.num_classes == len(dataset.classes) and isinstance(dataset.classes, tuple)
    assert dataset.labels.dtype == torch.int64 and dataset.labels.shape == (len(dataset),)
    assert 0 <= dataset.labels.min() and dataset.labels.max() < dataset.num_classes
    assert dataset[-1]["index"].tolist() == [len(dataset) - 1]
    assert sum(1 for _ in dataset) == len(dataset)
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    assert re.fullmatch("[0-9a-f]{64}", dataset.fingerprint())
    copy = pickle.loads(pickle.dumps(dataset))
    copy._digest = None
    assert copy.fingerprint() == dataset.fingerprint()
    assert DATASETS.get(type(dataset).__name__) is type(dataset)


def test_no_global_generator_is_used(dataset: Any) -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    Digits(), dataset[0], dataset.fingerprint()
    assert torch.equal(before, torch.get_rng_state()) and (numpy_before == np.random.get_state()[1]).all()


def test_worker_processes(folder: Path) -> None:
    direct = small(folder, threads=2)
    loader = DataLoader(direct, 4, num_workers=1, collate_fn=_identity)
    inputs = torch.cat([batch["inputs"] for batch in loader])
    assert torch.equal(inputs, direct.__getitems__(list(range(9)))["inputs"])


def _identity(batch: Any) -> Any:
    return batch


# ---------------------------------------------------------------------------------------------- digits


def test_digits_split() -> None:
    train, test = Digits(), Digits(train=False)
    assert (len(train), len(test)) == (1437, 360)
    share_train, share_test = (d.labels.bincount() / len(d) for d in (train, test))
    assert (share_train - share_test).abs().max() < 0.005
    for part in (train, test):
        assert part.images.dtype == torch.float32 and part.images.shape[1:] == (1, 8, 8)
        assert part.images.min() == 0 and part.images.max() == 1
        assert torch.equal(part.images * 16, (part.images * 16).round())
    rows = {row.numpy().tobytes() for row in torch.cat((train.images, test.images))}
    assert len(rows) == 1797
    assert torch.equal(Digits().images, train.images) and train.fingerprint() != test.fingerprint()


def test_digits_upscale_and_errors() -> None:
    plain, large = Digits(train=False), Digits(train=False, upscale=4)
    assert large.images.shape[1:] == (1, 32, 32) and torch.equal(large.images[:, :, 2::4, 1::4], plain.images)
    fails(ConfigError, lambda: Digits(upscale=0), "upscale")
    fails(ConfigError, lambda: Digits(test_fraction=1.0), "test_fraction")
    fails(ConfigError, lambda: Digits(test_fraction=0.001), "test_fraction=0.001")


# ---------------------------------------------------------------------------------------------- CIFAR


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("train", [True, False])
def test_cifar10_equals_torchvision(tmp_path: Path, monkeypatch, train: bool, protocol: int) -> None:
    write_cifar(tmp_path, protocol=protocol)
    monkeypatch.setattr(tv_datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    ours, theirs = CIFAR10(tmp_path, train, verify=False), tv_datasets.CIFAR10(tmp_path, train)
    assert len(ours) == len(theirs) == (30 if train else 6)
    assert np.array_equal(ours.images.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert ours.labels.tolist() == theirs.targets and list(ours.classes) == theirs.classes
    assert ours.images.dtype == torch.uint8


def test_cifar100_equals_torchvision(tmp_path: Path, monkeypatch) -> None:
    write_cifar(tmp_path, hundred=True)
    monkeypatch.setattr(tv_datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    ours, theirs = CIFAR100(tmp_path, verify=False), tv_datasets.CIFAR100(tmp_path)
    assert np.array_equal(ours.images.permute(0, 2, 3, 1).numpy(), theirs.data)
    assert ours.labels.tolist() == theirs.targets and ours.num_classes == 100


def test_cifar_reads_python2_style_pickles(tmp_path: Path) -> None:
    """The originals were written by Python 2: byte strings in protocol 2, numpy.core names."""
    where = write_cifar(tmp_path)
    pixels = bytes(range(256)) * 12
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    size = len(pixels).to_bytes(4, "little")
    state = b"(K\x01K\x01M\x00\x0c\x86" + dtype + b"\x89T" + size + pixels + b"tb"
    content = b"\x80\x02}(U\x04data" + array + state + b"U\x06labels]K\x07au."
    (where / "test_batch").write_bytes(content)
    data = CIFAR10(tmp_path, False, verify=False)
    assert data.labels.tolist() == [7] and data.images.numpy().tobytes() == pixels


def test_cifar_limit(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    whole, part = CIFAR10(tmp_path, verify=False), CIFAR10(tmp_path, verify=False, limit=8)
    assert len(part) == 8 and torch.equal(part.images, whole.images[:8])
    assert torch.equal(part.labels, whole.labels[:8]) and part.fingerprint() != whole.fingerprint()
    assert len(CIFAR10(tmp_path, verify=False, limit=30)) == 30
    for limit in (0, -1, 31):
        fails(ConfigError, lambda limit=limit: CIFAR10(tmp_path, verify=False, limit=limit), f"{limit}")


class _Call:
    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("kind", ["mkdir", "import", "nested", "codec"])
def test_malicious_pickle_is_refused_and_not_run(tmp_path: Path, kind: str, protocol: int) -> None:
    where, trap = write_cifar(tmp_path), tmp_path / "trap"
    call = {
        "mkdir": _Call(os.mkdir, str(trap)),
        "import": _Call(importlib.import_module, "this"),
        "nested": _Call(np.load, str(trap)),
        "codec": _Call(__import__("_codecs").encode, "abc", "rot13"),
    }[kind]
    entry = {"data": np.zeros((1, 3072), np.uint8), "labels": [0], "more": [call]}
    (where / "data_batch_1").write_bytes(pickle.dumps(entry, protocol=protocol))
    fails(DataError, lambda: CIFAR10(tmp_path, verify=False), str(where / "data_batch_1"), "not allowed")
    assert not trap.exists()
    (where / "batches.meta").write_bytes(pickle.dumps(call, protocol=protocol))
    fails(DataError, lambda: CIFAR10(tmp_path, verify=False), "batches.meta", "not allowed")
    assert not trap.exists()


def test_cifar_md5(tmp_path: Path, monkeypatch) -> None:
    where = write_cifar(tmp_path)
    text = fails(DataError, lambda: CIFAR10(tmp_path), "md5", "verify=False", "download=True")
    assert str(where / "batches.meta") in text

    class Reference(tv_datasets.CIFAR10):
        """Knows the sums of the small files, save that of the third."""

        meta = {
            **tv_datasets.CIFAR10.meta,
            "md5": hashlib.md5((where / "batches.meta").read_bytes()).hexdigest(),
        }
        train_list = [
            [name, hashlib.md5((where / name).read_bytes()).hexdigest() if name != "data_batch_3" else md5]
            for name, md5 in tv_datasets.CIFAR10.train_list
        ]

    monkeypatch.setattr(CIFAR10, "reference", Reference)
    fails(DataError, lambda: CIFAR10(tmp_path), str(where / "data_batch_3"))
    assert len(CIFAR10(tmp_path, limit=12)) == 12


def test_cifar_missing(tmp_path: Path) -> None:
    text = fails(DataError, lambda: CIFAR10(tmp_path), str(tmp_path / "cifar-10-batches-py"), "download=True")
    assert f"unpack cifar-10-python.tar.gz in {tmp_path}" in text
    fails(DataError, lambda: CIFAR100(tmp_path), "cifar-100-python", "cifar-100-python.tar.gz")
    (write_cifar(tmp_path) / "data_batch_4").unlink()
    fails(DataError, lambda: CIFAR10(tmp_path, verify=False), "missing data_batch_4;")


def test_cifar_download_is_delegated(tmp_path: Path, monkeypatch) -> None:
    calls = []

    class Reference(tv_datasets.CIFAR10):
        def __init__(self, root: str, train: bool = True, download: bool = False) -> None:
            calls.append((root, train, download))
            with open(f"{root}/.cifar-10-batches-py.lock") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # others that start at once wait
            write_cifar(Path(root))

    monkeypatch.setattr(CIFAR10, "reference", Reference)
    assert len(CIFAR10(tmp_path, False, download=True, verify=False)) == 6
    CIFAR10(tmp_path, download=True, verify=False)  # present: no second download
    assert calls == [(str(tmp_path), False, True)]

    def broken(*args: Any, **kwargs: Any) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(Reference, "__init__", broken)
    fails(DataError, lambda: CIFAR10(tmp_path / "other", download=True), "no route to host", "unpack")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "EOFError"),
        (b"garbage", "pickle"),
        (pickle.dumps([1]), "a list, expected a dictionary"),
        (pickle.dumps({"labels": [1]}), "NoneType"),
        (pickle.dumps({"data": np.zeros((2, 3), np.uint8), "labels": [1, 1]}), "uint8 [2, 3]"),
        (pickle.dumps({"data": np.zeros((2, 3072)), "labels": [1, 1]}), "float64"),
        (pickle.dumps({"data": np.zeros((), np.uint8), "labels": []}), "uint8 []"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}), "a list of 2 integers"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [10]}), "0..9"),
        (pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [1.0]}), "integers"),
    ],
)
def test_cifar_damaged_file(tmp_path: Path, content: bytes, part: str) -> None:
    where = write_cifar(tmp_path)
    (where / "data_batch_2").write_bytes(content)
    fails(DataError, lambda: CIFAR10(tmp_path, verify=False), str(where / "data_batch_2"), part)


# ---------------------------------------------------------------------------------------------- image folders


def test_folder_equals_torchvision(folder: Path) -> None:
    ours, theirs = small(folder), tv_datasets.ImageFolder(str(folder))
    crop = tv_transforms.Compose([tv_transforms.Resize(12), tv_transforms.CenterCrop(8)])
    assert list(ours.classes) == theirs.classes == ["ant", "bee", "cat"]
    assert ours.labels.tolist() == theirs.targets == [0] * 3 + [1] * 4 + [2] * 2
    batch = ours.__getitems__(list(range(len(ours))))
    for got, (image, _) in zip(batch["inputs"], theirs):
        assert np.array_equal(got.permute(1, 2, 0).numpy(), np.asarray(crop(image)))
    square = tv_transforms.Compose([tv_transforms.Resize(12), tv_transforms.CenterCrop(12)])
    got = small(folder, train=True)[4]["inputs"][0]
    assert np.array_equal(got.permute(1, 2, 0).numpy(), np.asarray(square(theirs[4][0])))


def test_folder_threads_give_the_same(folder: Path) -> None:
    order = [5, 0, 8, 3]
    one, many = (small(folder, threads=t).__getitems__(order) for t in (0, 3))
    assert all(torch.equal(one[key], many[key]) for key in one)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12))
    (tmp_path / "a").mkdir()
    grey.convert(mode).save(tmp_path / "a" / "x.png")
    pixels = small(tmp_path, image_size=12)[0]["inputs"]
    assert pixels.shape == (1, 3, 12, 12) and pixels.dtype == torch.uint8
    if mode == "L":
        assert torch.equal(pixels[0, 0].flatten(), torch.arange(144, dtype=torch.uint8))
        assert torch.equal(pixels[0, 0], pixels[0, 1]) and torch.equal(pixels[0, 0], pixels[0, 2])


def test_sixteen_bit_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((12, 12), 30000, np.uint16)).save(tmp_path / "a" / "x.png")
    data = small(tmp_path)
    fails(DataError, lambda: data[0], str(tmp_path / "a" / "x.png"), "convert it to 8 bits")


def test_broken_images_are_named(folder: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    for name, content in (
        ("cut.jpg", buffer.getvalue()[:700]),
        ("text.JPEG", b"not an image\n"),
        ("void.png", b""),
    ):
        path = folder / "ant" / name
        path.write_bytes(content)
        data = small(folder)
        position = data.paths.index(str(path))
        for threads in (0, 2):
            data.threads = threads
            fails(DataError, lambda d=data, p=position: d.__getitems__([0, p]), str(path), "replace or remove")
        path.unlink()


def test_class_list_order(folder: Path, tmp_path: Path) -> None:
    listing = tmp_path / "list.txt"
    listing.write_text("# a comment\nbee   # another\n\n  ant\n")
    data = small(folder, class_list=listing)
    assert data.classes == ("bee", "ant") and data.labels.tolist() == [0] * 4 + [1] * 3
    assert Path(data.paths[0]).parent.name == "bee"
    assert data.fingerprint() != small(folder).fingerprint()
    listing.write_text("ant\nyak\nemu\ndog\ncow\n")
    text = fails(DataError, lambda: small(folder, class_list=listing), "4 of the 5", "yak, emu, dog and 1 more")
    assert "cow" not in text
    for content, part in (
        ("ant\nbee\nant\n", "ant more than once"),
        ("#\n", "is empty"),
        ("../images/ant\n", "../images/ant"),
    ):
        listing.write_text(content)
        fails(DataError, lambda: small(folder, class_list=listing), part)
    fails(
        DataError,
        lambda: small(folder, class_list=tmp_path / "none.txt"),
        "none.txt",
        "one folder name per line",
    )


def test_folders_named_by_numbers_are_told(tmp_path: Path) -> None:
    """In the order of text, as in torchvision, folder 10 is label 2."""
    for name in map(str, range(12)):
        (tmp_path / "twelve" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "twelve" / name / "a.png")
    sizes = dict(image_size=8, resize=8)
    (remark,) = ImageFolder(tmp_path / "twelve", **sizes).notes
    assert "label 2 is '10'" in remark and "has '2' there" in remark and "class_list" in remark
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(map(str, range(12))))
    assert ImageFolder(tmp_path / "twelve", class_list=listed, **sizes).notes == []
    names = ["Bird", "ant", "cat 2", "cat 10", "n01440764"]
    assert sorted(names, key=_natural) == sorted(names, key=natural_key)  # timm's own
    for name in ("10", "11"):
        (tmp_path / "twelve" / name / "a.png").unlink()
        (tmp_path / "twelve" / name).rmdir()
    assert ImageFolder(tmp_path / "twelve", **sizes).notes == []


def test_folder_errors(folder: Path, tmp_path: Path) -> None:
    fails(DataError, lambda: small(tmp_path / "none"), str(tmp_path / "none"), "<class>/<image>")
    fails(DataError, lambda: small(folder / "ant"), "has no class folders")
    (folder / "eel").mkdir()
    (folder / "eel" / "notes.txt").write_text("x")
    (folder / "eel" / "._0.png").write_text("x")
    fails(DataError, lambda: small(folder), str(folder / "eel"), "no images")
    fails(ConfigError, lambda: small(folder, image_size=13), "image_size=13")
    fails(ConfigError, lambda: small(folder, image_size=0), "image_size=0")
    fails(ConfigError, lambda: small(folder, threads=-1), "threads")


def test_a_class_whose_name_no_file_can_hold_is_refused(folder: Path) -> None:
    """From an archive with names in Latin-1: the results were lost when they were to be written."""
    (folder / os.fsdecode(b"caf\xe9")).mkdir()
    fails(DataError, lambda: ImageFolder(folder), "'caf\\udce9'", "rename it")


def test_folder_fingerprint_follows_names_and_sizes(folder: Path) -> None:
    first = small(folder).fingerprint()
    moved = folder.rename(folder.parent / "moved")
    assert small(moved).fingerprint() == first
    (moved / "ant" / "0.png").rename(moved / "ant" / "9.png")
    second = small(moved).fingerprint()
    with (moved / "ant" / "9.png").open("ab") as file:
        file.write(b"x")
    assert len({first, second, small(moved).fingerprint()}) == 3


def test_crops_of_another_size_are_other_images(folder: Path) -> None:
    """Copies that were made of them, and answers to them, are not those of these."""
    usual = small(folder)
    others = [small(folder, resize=16), small(folder, image_size=6)]
    assert not torch.equal(usual.__getitems__([0])["inputs"], others[0].__getitems__([0])["inputs"])
    assert len({data.fingerprint() for data in (usual, *others)}) == 3
    assert small(folder, train=True).for_evaluation().fingerprint() == usual.fingerprint()


def test_imagenet100_list() -> None:
    lines = [line for line in IMAGENET100_LIST.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines)) == 100 and all(re.fullmatch(r"n\d{8}", line) for line in lines)
    assert lines[:4] == ["n02869837", "n01749939", "n02488291", "n02107142"] and lines[-1] == "n02090622"


def test_imagenet100(tmp_path: Path) -> None:
    fails(DataError, lambda: ImageNet100(tmp_path), str(tmp_path / "train"))
    synsets = [s for s in IMAGENET100_LIST.read_text().splitlines() if not s.startswith("#")]
    for synset in [*synsets, "n00000001"]:
        write_image(tmp_path / "val" / synset / "x.png", (9, 8))
    data = ImageNet100(tmp_path, train=False, image_size=4, resize=6)
    assert data.classes == tuple(synsets) and data.labels.tolist() == list(range(100))
    assert data[99]["inputs"].shape == (1, 3, 4, 4)
    write_image(tmp_path / "train" / "n02869837" / "x.png", (9, 8))
    fails(
        DataError,
        lambda: ImageNet100(tmp_path),
        "99 of the 100",
        "n01749939, n02488291, n02107142 and 96 more",
    )
    (tmp_path / "one.txt").write_text("n02869837")
    data = ImageNet100(tmp_path, class_list=tmp_path / "one.txt", image_size=4, resize=6)
    assert data[0]["inputs"].shape == (1, 3, 6, 6) and data.num_classes == 1
    assert DATASETS.get("ImageNet100") is ImageNet100


# ---------------------------------------------------------------------------------------------- npz


@pytest.mark.parametrize("channels", [1, 3])
def test_npz_layouts_agree(tmp_path: Path, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, channels), dtype=np.uint8)
    label = np.array([0, 2, 1, 2], np.uint8)
    last = NPZ(write_npz(tmp_path / "a.npz", images, label))
    second = NPZ(write_npz(tmp_path / "b.npz", images.transpose(0, 3, 1, 2), label))
    assert last.images.shape == (4, channels, 5, 6) and torch.equal(last.images, second.images)
    assert np.array_equal(last.images.numpy(), images.transpose(0, 3, 1, 2))
    assert last.fingerprint() == second.fingerprint()
    assert last.classes == ("0", "1", "2") and last.labels.tolist() == [0, 2, 1, 2]
    assert NPZ(tmp_path / "a.npz", num_classes=7).num_classes == 7


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_npz_floats(tmp_path: Path, dtype: str) -> None:
    images = np.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4).astype(dtype)
    data = NPZ(write_npz(tmp_path / "a.npz", images, np.array([0, 1])))
    assert data.images.dtype == torch.float32 and np.array_equal(data.images.numpy(), images.astype(np.float32))
    assert 0 <= data.images.min() and data.images.max() <= 1


OK = np.zeros((3, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("image", "label", "parts"),
    [
        (OK[:, :, :, 0], np.arange(3), ["[3, 4, 4]"]),
        (OK[:0], np.arange(0), ["not empty"]),
        (np.zeros((3, 4, 4, 2), np.uint8), np.arange(3), ["1 or 3 channels", "neither"]),
        (np.zeros((3, 3, 4, 1), np.uint8), np.arange(3), ["1 or 3 channels", "both"]),
        (OK.astype(np.int64), np.arange(3), ["int64", "uint8 or float"]),
        (OK + 255.0, np.arange(3), ["pixels must be in [0,1] or uint8", "got 255..255", "divide by 255"]),
        (OK - 0.5, np.arange(3), ["got -0.5..-0.5"]),
        (OK + np.nan, np.arange(3), ["NaN"]),
        (OK + np.inf, np.arange(3), ["infinite"]),
        (OK, np.arange(4), ["[3]", "got [4]"]),
        (OK, np.zeros((3, 1), int), ["got [3, 1]"]),
        (OK, np.arange(3.0), ["integers", "float64"]),
        (OK, np.array([0, -1, 1]), ["got -1..1"]),
        (OK, np.array([0, 5, 1]), ["0..4", "got 0..5"]),
        (OK, np.array([0, 2**64 - 1, 1], np.uint64), [str(2**64 - 1)]),
        (OK, np.array([0, "a", None], object), ["cannot read", "pickle"]),
    ],
)
def test_npz_errors(tmp_path: Path, image: np.ndarray, label: np.ndarray, parts: list[str]) -> None:
    path = write_npz(tmp_path / "a.npz", image, label)
    fails(DataError, lambda: NPZ(path, num_classes=5), str(path), *parts)


def test_npz_files(tmp_path: Path) -> None:
    fails(DataError, lambda: NPZ(tmp_path / "none.npz"), "none.npz")
    path = write_npz(tmp_path / "a.npz", OK, np.arange(3))
    fails(DataError, lambda: NPZ(path, image_key="x"), "lacks x", "it has image, label", "image_key")
    fails(ConfigError, lambda: NPZ(path, num_classes=0), "num_classes")
    fails(DataError, lambda: NPZ(write_npz(tmp_path / "b.npz", OK, np.arange(3) * 10**7)), "set num_classes")
    content = bytearray(path.read_bytes())
    for name, data in (
        ("text.npz", b"hello\n"),
        ("void.npz", b""),
        ("cut.npz", content[: len(content) // 2]),
    ):
        (tmp_path / name).write_bytes(data)
        fails(DataError, lambda n=name: NPZ(tmp_path / n), name, "cannot read")
    with (tmp_path / "bare.npz").open("wb") as file:
        np.save(file, OK)
    fails(DataError, lambda: NPZ(tmp_path / "bare.npz"), "bare.npz", "cannot read")
