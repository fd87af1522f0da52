"""Blocks' rows: arrays as NumPy's own format, texts as arrays."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from foreshock.windows.dataset.schema import decode, encode, text_array


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(3, 2),
        np.zeros((0, 2), np.float32),
        np.array([1, -2], np.int8),
        np.array([2**40], np.int64),
        np.array(["a", "wörd", ""]),
        np.arange(10, dtype=np.float32)[::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    ],
)
def test_arrays_are_stored_as_numpy_saves_them(array: np.ndarray[Any, Any]) -> None:
    memory = io.BytesIO()
    np.save(memory, np.ascontiguousarray(array))
    assert encode(array) == memory.getvalue()
    assert decode(encode(array)).tolist() == array.tolist()


@pytest.mark.parametrize(
    "words", [["a", "bcd", ""], ["x" * 66, "y" * 66], ["", ""], ["a", "ü€", "𝄞"], ["a b", "c\x00d"]]
)
def test_texts_become_an_array(words: list[str]) -> None:
    whole = pa.array(["before", *words, "behind"])
    assert text_array(whole.slice(1, len(words))).tolist() == words
    assert text_array(pa.array(words)).dtype == np.array(words).dtype
