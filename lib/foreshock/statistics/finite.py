"""Values beyond what a float32 can square, brought back within reach. NumPy alone."""

from __future__ import annotations

import numpy as np

from foreshock.statistics.arrays import AnyArray

# Of an error: the errors of a window, all features together, still sum to a float32.
LARGEST = 1e30


def finite(values: AnyArray) -> AnyArray:
    """Values of any shape, none above 1e30 or below -1e30.

    What is not a number, such as inf - inf, counts as 1e30. The element type stays.

    >>> import numpy as np
    >>> finite(np.array([2e38, -2e38, np.nan, 0.5], np.float32)).tolist()
    [1.0000000150474662e+30, -1.0000000150474662e+30, 1.0000000150474662e+30, 0.5]
    """
    largest = values.dtype.type(LARGEST)
    # fmin and fmax take the number where the other is none.
    return np.fmax(np.fmin(values, largest), -largest)
