"""A section of the page: what it is called, how it is built, its template."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from foreshock.report.records.data import ReportData


@dataclass(frozen=True)
class Section:
    """A section of the page.

    name: of its template, sections/<name>.html. anchor: its id on the page. link: its words in the
    navigation. build: from the page's data to what the template shows, as `section`; None leaves
    the section out.
    """

    name: str
    anchor: str
    link: str
    build: Callable[[ReportData], object | None]

    @property
    def template(self) -> str:
        """Path of the template in the package.

        >>> Section("scores", "scores", "Scores", lambda data: None).template
        'sections/scores.html'
        """
        return f"sections/{self.name}.html"
