"""The report as one HTML file that needs nothing but a browser.

In: documents and reference figures. Out: the page as text. It is here so that figures can be
handed on as they are: no file beside it, no request to anywhere.

The page carries plotly's script once and forbids itself every request by a content security
policy; its own styles and scripts stand in ``assets``.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files

from plotly.offline import get_plotlyjs

from bench.report.parts import Context, Section
from bench.report.parts_accuracy import about, headline_section, measures_section, tests_section
from bench.report.parts_cost import memory, scaling, speed
from bench.report.parts_drift import recovery, rolling
from bench.report.parts_published import published

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)


def sections(context: Context) -> list[Section]:
    """All sections in the order of the page."""
    return [
        about(context),
        headline_section(context),
        measures_section(context),
        tests_section(context),
        rolling(context),
        speed(context),
        memory(context),
        scaling(context),
        recovery(context),
        published(context),
    ]


def page(context: Context) -> str:
    """The page on what `context` holds."""
    found = sections(context)
    documents = context.run.documents
    made = max((document.made for document in documents), default="")
    commands = ", ".join(dict.fromkeys(document.command for document in documents))
    links = "".join(f'<li><a href="#{part.anchor}">{escape(part.title)}</a></li>' for part in found)
    body = "".join(
        f'<section id="{part.anchor}"><h2>{escape(part.title)}</h2>\n{part.body}</section>\n'
        for part in found
    )
    title = "ihomer: benchmark report" + (" (quick run)" if context.quick else "")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<script>{_asset("errors.js")}</script>
<style>{_asset("page.css")}</style>
</head>
<body>
<div class="page">
<nav aria-label="Contents"><ol>{links}</ol></nav>
<main>
<h1>{title}</h1>
<p class="sub">{escape(commands)} · {escape(made)}</p>
{body}</main>
</div>
<script>{_script()}</script>
<script>{_asset("page.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return files("bench.report").joinpath("assets", name).read_text(encoding="utf-8")


def _script() -> str:
    """Plotly's script; nothing in it may end the element that it stands in."""
    script: str = get_plotlyjs()
    return script.replace("</script", "<\\/script")
