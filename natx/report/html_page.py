"""The frame of a page that needs nothing but itself: style inside, no scripts, nothing to load."""

from __future__ import annotations

from typing import Any

from natx.report.html_tags import Html, html, tag

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the browser itself refuses to load anything

STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --raised: #f5f6f8; --text: #1b1f24; --quiet: #57606a;
  --line: #d5d9de; --green: #176f3c; --red: #b3261e; --grey: #57606a; --bar: #c9d8ea;
  --s0: #0b62a8; --s1: #b4470a; --s2: #1b7f4d; --s3: #8a3ea8; --s4: #806000; --s5: #5a6570; }
@media (prefers-color-scheme: dark) {
  :root { --back: #14171b; --raised: #1e2329; --text: #e4e8ec; --quiet: #a3adb8; --line: #39414b;
    --green: #6fd39a; --red: #ff8f85; --grey: #a3adb8; --bar: #2c4563;
    --s0: #6fb4f2; --s1: #f2a06a; --s2: #6fd3a0; --s3: #cf9bea; --s4: #e0c25a; --s5: #aab4bd; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .5rem 0; max-width: 45rem; }
.quiet, figcaption { color: var(--quiet); font-size: .875rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tile { background: var(--raised); border-radius: .5rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.4rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile span { color: var(--quiet); font-size: .875rem; }
.scroll { overflow-x: auto; max-width: 100%; margin: .6rem 0; }
table { border-collapse: collapse; min-width: 100%; overflow-wrap: normal; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 9.5rem; max-width: 16rem; }
tbody th { position: sticky; left: 0; background: var(--back); }
thead th { color: var(--quiet); font-weight: 600; font-size: .875rem; vertical-align: bottom; }
tbody th { font-weight: 400; }
td.text, td .text { text-align: left; white-space: normal; display: block; min-width: 14rem; max-width: 28rem; }
tr.headline th, tr.headline td { font-weight: 700; border-top: 2px solid var(--text); }
tr.part th { padding-left: 1.6rem; }
tr.part th, tr.part td { color: var(--quiet); font-size: .875rem; }
.bar { display: inline-block; width: 6rem; height: .6rem; background: var(--raised); border: 1px solid var(--line); }
.bar i { display: block; height: 100%; background: var(--s0); }
dl { margin: .5rem 0; }
dl > div { display: grid; grid-template-columns: minmax(7rem, 11rem) 1fr; gap: .6rem; padding: .25rem 0;
  border-bottom: 1px solid var(--line); }
dt { color: var(--quiet); }
dd { margin: 0; min-width: 0; }
@media (max-width: 30rem) { dl > div { grid-template-columns: 1fr; gap: 0; } .bar { width: 2.5rem; }
  th, td { padding: .3rem .35rem; } th:first-child { min-width: 6rem; max-width: 8.5rem;
  overflow-wrap: break-word; }
  thead th { white-space: normal; overflow-wrap: normal; } }
.checks { list-style: none; margin: .6rem 0; padding: 0; display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
.checks li { border: 1px solid var(--line); border-left-width: .3rem; border-radius: .4rem; padding: .5rem .7rem; }
.checks p { margin: .2rem 0; font-size: .875rem; }
.green { --tone: var(--green); } .red { --tone: var(--red); } .grey { --tone: var(--grey); }
.checks li.green, .checks li.red, .checks li.grey { border-left-color: var(--tone); }
.badge { display: inline-block; border: 1px solid var(--tone); color: var(--tone); border-radius: 1rem;
  padding: 0 .6rem; font-size: .8rem; font-weight: 700; white-space: nowrap; }
.notice { border: 1px solid var(--line); border-left: .3rem solid var(--tone, var(--grey)); border-radius: .4rem;
  padding: .5rem .8rem; margin: .8rem 0; }
figure { margin: .8rem 0; }
figure.examples { border: 1px solid var(--line); border-radius: .4rem; padding: .6rem; width: fit-content;
  max-width: 100%; }
figure.examples figcaption { color: var(--text); font-weight: 600; margin-bottom: .4rem; }
figure img { max-width: 100%; height: auto; background: #ffffff; border-radius: .3rem; padding: .3rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 0 1.5rem; }
figure.chart { max-width: 34rem; min-width: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--text); stroke: var(--back); stroke-width: 3px; paint-order: stroke;
  font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .curve { fill: none; stroke-width: 2; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .875rem; }
.legend svg { display: inline-block; width: 2rem; height: .6rem; margin-right: .4rem; }
details > summary { cursor: pointer; color: var(--quiet); font-size: .875rem; }
footer { margin-top: 2rem; }
@media print { .scroll { overflow: visible; } details > summary { display: none; } }
"""


def page(title: str, *body: Any) -> str:
    """A whole page.

    Args:
        title: the window's title.
        body: as in :func:`natx.report.html_tags.html`.
    """
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", tag("main", html(*body))), lang="en") + "\n"
