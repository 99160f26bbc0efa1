"""A report as one page that needs nothing else: no network, no script. Whatever hosts said is text in it."""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from relup_remote.program import typed
from relup_remote.report import words
from relup_remote.report.hops import hops
from relup_remote.report.model import Report
from relup_remote.report.timeline import curve, timeline
from relup_remote.summary.text import detail, duration, size

TEMPLATE = "report.html.j2"


def render(report: Report) -> str:
    """The page."""
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            report=report,
            timeline=timeline(report),
            hops=hops(report),
            curve=lambda samples: curve(report, samples),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("relup_remote.report"),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else words.shown(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (
        words.breakable,
        words.clock,
        words.code_in,
        words.count,
        duration,
        words.ended,
        words.stood,
        words.longest_still,
        words.stood_still,
        words.prepared,
        words.milliseconds,
        words.plural,
        words.sign,
        words.unbroken,
        words.utc,
    )
    environment.filters.update({each.__name__: each for each in (*filters, detail, size)})
    environment.globals.update(
        title=words.title,
        verdict=words.verdict,
        gates_told=words.gates_told,
        gates_passed=words.gates_passed,
        option=words.option,
        typed=typed,
    )
    return environment
