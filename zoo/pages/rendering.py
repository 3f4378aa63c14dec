"""HTML pages: templates filled with every value escaped, and Markdown as HTML that holds nothing foreign but text."""

import functools
import re
from collections.abc import Sequence
from typing import Any

from zoo.pages.protocol import measured_on, normaliser_name
from zoo.pages.texts import is_link, number, size, value
from zoo.plain import plain

# A name of a file beside the page.
_BESIDE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def render(template: str, **values: Any) -> str:
    """Fill a template of ``templates/``; whatever is not `markdown_html` is escaped."""
    return _environment().get_template(template).render(**values)


def markdown_html(text: str) -> str:
    """Markdown as HTML: no HTML of its own, links to ``https://`` alone, pictures from beside the page alone."""
    return str(_markdown().render(text))


@functools.cache
def _environment() -> Any:
    import jinja2  # not needed by anything but a page

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": plain,
        "number": number,
        "value": value,
        "size": size,
        "normaliser": normaliser_name,
        "measured_on": measured_on,
    }
    environment.tests |= {"link": is_link}
    return environment


@functools.cache
def _markdown() -> Any:
    from markdown_it import MarkdownIt

    parser: Any = MarkdownIt("commonmark", {"html": False}).enable("table")
    # The parser asks this of links and pictures; what is refused stays as it was written, as text.
    parser.validateLink = lambda url: is_link(url) or _BESIDE.fullmatch(url) is not None
    parser.add_render_rule("image", _image)
    parser.add_render_rule("table_open", lambda *_: '<div class="wide"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def _image(renderer: Any, tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
    from markupsafe import escape

    token = tokens[index]
    caption = escape(renderer.renderInlineAsText(token.children, options, env))
    if _BESIDE.fullmatch(str(token.attrs.get("src", ""))) is None:  # elsewhere: it would tell who reads the page
        return str(caption)
    return f'<img src="{token.attrs["src"]}" alt="{caption}" loading="lazy">'
