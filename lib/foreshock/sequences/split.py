"""The splits of a run's events and the roles of its blocks of windows, as codes that files hold."""

from __future__ import annotations

import enum


class Split(enum.IntEnum):
    """Which split an event belongs to; the value is the code in Parquet columns named `split`.

    >>> Split.of("test"), Split.TEST.text, Split(2).is_judged
    (<Split.TEST: 3>, 'test', True)
    """

    # The codes are in files, so they never change.
    # Training events scored by a model that did not see them.
    OUT_OF_FOLD = -1
    OUTSIDE = 0
    TRAIN = 1
    CALIBRATION = 2
    TEST = 3

    @classmethod
    def of(cls, text: str) -> Split:
        """The split that tables and settings call `text`. Raises KeyError if there is none.

        >>> Split.of("out_of_fold")
        <Split.OUT_OF_FOLD: -1>
        """
        return cls[text.upper()]

    @property
    def text(self) -> str:
        """How tables and settings call the split; "" for events outside every split.

        >>> Split.CALIBRATION.text, Split.OUTSIDE.text
        ('calibration', '')
        """
        return "" if self is Split.OUTSIDE else self.name.lower()

    @property
    def is_judged(self) -> bool:
        """Whether the split's events are judged: those of calibration and test."""
        return self in JUDGED


JUDGED = (Split.CALIBRATION, Split.TEST)


class BlockRole(enum.IntEnum):
    """What a block of windows is for; FIT and VALIDATION (the last part by time) are of train.

    >>> BlockRole.VALIDATION.split
    <Split.TRAIN: 1>
    """

    FIT = 1
    VALIDATION = 2
    CALIBRATION = 3
    TEST = 4

    @property
    def split(self) -> Split:
        """The split that the block's windows belong to."""
        # Train has two roles, so each later code is one more than its split's.
        return Split.TRAIN if self <= BlockRole.VALIDATION else Split(self - 1)
