"""Exports that are damaged, or of other data than they say."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ivl.errors import IvlError
from ivl.train.exported_run import ExportedRun

EXPORT = pathlib.Path(__file__).parent / "fixtures" / "train" / "packed" / "export"


@pytest.fixture
def export(tmp_path):
    shutil.copytree(EXPORT, tmp_path / "export")
    return tmp_path / "export"


def changed(path, **lists):
    save_file({**load_file(path), **lists}, path)


def steps(export):
    return list(ExportedRun(export).steps(0))


def test_the_steps_go_on_from_any_of_them():
    run = ExportedRun(EXPORT)
    every = steps(EXPORT)
    assert len(every) == run.total_steps
    for first in range(len(every)):
        assert list(run.steps(first)) == every[first:]


@pytest.mark.parametrize(
    ("file", "lists"),
    [
        ("train-00000", {"offsets": np.arange(21, dtype=np.int64)}),
        ("train-00000", {"loss_mask": np.full(3, 1, np.uint8)}),
        ("epoch-00000", {"examples": np.full(20, 20, np.int32)}),
        ("epoch-00000", {"examples": np.full(20, -1, np.int32)}),
        ("epoch-00000", {"rows": np.array([0, 9, 3, 20], np.int64)}),
        ("epoch-00000", {"micro_batches": np.array([0, 99], np.int64)}),
    ],
)
def test_lists_that_do_not_fit_are_refused(export, file, lists):
    changed(export / f"{file}.safetensors", **lists)
    with pytest.raises(IvlError, match=r"does not fit export\.json; run `ivl data export` again"):
        steps(export)


def test_a_mask_is_zero_or_one(export):
    mask = load_file(export / "train-00000.safetensors")["loss_mask"]
    changed(export / "train-00000.safetensors", loss_mask=np.where(mask == 1, 2, 0).astype(np.uint8))
    with pytest.raises(IvlError, match=r"does not fit export\.json"):
        ExportedRun(export)


def with_header(path, change):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: header["ids"].update(data_offsets=[0, 1 << 60]), "is not whole"),
        (lambda header: header["ids"].update(data_offsets=[-4, 4]), "is not whole"),
        (lambda header: header["ids"].update(data_offsets="everywhere"), "does not say where its list `ids` is"),
        (lambda header: header["ids"].update(dtype="F64"), "has no list `ids`"),
        (lambda header: header.pop("offsets"), "has no list `offsets`"),
    ],
)
def test_headers_that_lie_are_refused(export, change, message):
    with_header(export / "train-00000.safetensors", change)
    with pytest.raises(IvlError, match=message):
        ExportedRun(export)


def test_files_of_something_else_are_refused(export):
    path = export / "train-00000.safetensors"
    for data in [b"", b"short", (1 << 62).to_bytes(8, "little") + b"x" * 32, (4).to_bytes(8, "little") + b"[1,]"]:
        path.write_bytes(data)
        with pytest.raises(IvlError, match="run `ivl data export` again"):
            ExportedRun(export)
    path.unlink()
    with pytest.raises(IvlError, match="cannot read"):
        ExportedRun(export)
    described = json.loads((export / "export.json").read_text())
    (export / "export.json").write_text(json.dumps({**described, "train": [{"file": 3}]}))
    with pytest.raises(IvlError, match="is not what `ivl data export` writes"):
        ExportedRun(export)
    (export / "export.json").write_text(json.dumps({**described, "format": 2}))
    with pytest.raises(IvlError, match="has the format 2, expected 1"):
        ExportedRun(export)
    (export / "export.json").unlink()
    with pytest.raises(IvlError, match="holds no whole export"):
        ExportedRun(export)
