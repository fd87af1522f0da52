"""Array type aliases: the element types that arrays of Foreshock have, once.

>>> import numpy as np
>>> times: Int64Array = np.array([1, 2])
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int8Array = npt.NDArray[np.int8]
UInt8Array = npt.NDArray[np.uint8]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
UInt32Array = npt.NDArray[np.uint32]
BoolArray = npt.NDArray[np.bool_]
TextArray = npt.NDArray[np.str_]
AnyArray = npt.NDArray[Any]
