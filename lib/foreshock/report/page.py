"""The report of a run: one HTML page with its figures inside, no script and nothing to fetch."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from foreshock.report import wording
from foreshock.report.records.data import ReportData
from foreshock.report.sections import SECTIONS
from foreshock.report.sections.overview import build_overview


def render_page(data: ReportData) -> str:
    """The whole page as HTML text. Everything from the data is escaped.

    Sections without content are left out, of the navigation too. The same data give the same text.
    """
    environment = _environment()
    section_contents = [(section, section.build(data)) for section in SECTIONS]
    # A section that has nothing to say is left out of the navigation too.
    shown_sections = [
        (section, content) for section, content in section_contents if content is not None
    ]
    rendered_sections = [
        environment.get_template(section.template).render(section=content)
        for section, content in shown_sections
    ]
    rendered_overview = environment.get_template("sections/overview.html").render(
        section=build_overview(data), links=[section for section, _ in shown_sections]
    )
    return environment.get_template("page.html").render(
        title=data.settings.run_name or data.summary.run_id,
        overview=Markup(rendered_overview),
        body=Markup("\n".join(rendered_sections)),
        settings_sha256=data.summary.settings_sha256,
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("foreshock.report", "."),
        autoescape=True,
        # A template that names a field that is gone fails, where jinja's default writes nothing.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "num": wording.format_number,
        "level": wording.format_level,
        "share": wording.format_share,
        "when": wording.format_time,
        "size": wording.format_bytes,
        # Figures are drawn by us; text in them is escaped by matplotlib.
        "svg": Markup,
    }
    return environment
