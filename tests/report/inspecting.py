"""Read a page as a browser would, and say what is in it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Final

VOID: Final = {"meta", "link", "source", "img", "br"}
INLINE: Final = {"span", "small", "strong", "mark", "time", "a", "svg", "path", "circle", "button"}
ALLOWED: Final[dict[str, set[str]]] = {
    "html": {"lang"},
    "head": set(),
    "meta": {"charset", "http-equiv", "content", "name"},
    "title": set(),
    "link": {"rel", "href"},
    "style": set(),
    "body": set(),
    "main": set(),
    "header": set(),
    "footer": set(),
    "section": {"aria-label", "aria-labelledby"},
    "h1": set(),
    "h2": {"id"},
    "h3": {"id"},
    "p": {"class", "role", "id"},
    "div": {"class", "role", "aria-label", "aria-labelledby", "tabindex"},
    "span": {"class", "aria-hidden"},
    "small": set(),
    "strong": {"class"},
    "mark": set(),
    "time": {"datetime"},
    "pre": {"tabindex", "role", "aria-label", "aria-labelledby"},
    "ul": {"class"},
    "li": {"class"},
    "dl": {"class"},
    "dt": set(),
    "dd": set(),
    "figure": set(),
    "figcaption": set(),
    "picture": set(),
    "source": {"media", "srcset", "width", "height"},
    "img": {"src", "alt", "width", "height"},
    "svg": {"class", "viewbox", "aria-hidden", "focusable"},
    "path": {"class", "d"},
    "circle": {"cx", "cy", "r"},
    "table": {"class", "role", "aria-label"},
    "thead": {"role"},
    "tbody": {"role"},
    "tr": {"role"},
    "th": {"class", "role", "scope", "aria-sort", "data-label", "data-text"},
    "td": {"class", "role", "data-label", "data-value", "data-text"},
    "a": {"href"},
    "button": {"type"},
    "script": set(),
}
"""Every element that our templates have, with its attributes."""


class Page(HTMLParser):
    """A page that was written.

    Attributes:
        elements: Each element's name and attributes, in order.
        text: All text, but that of styles and scripts.
        raw: What styles and scripts hold, by the element's name.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.raw: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        raise AssertionError(f"closes itself: {tag} {attrs}")

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"ends, but was not begun: {tag}"
        assert self._open.pop() == tag, f"ends in another's place: {tag}"
        if tag not in INLINE:
            self.text += " "

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data!r}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data!r}")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("style", "script"):
            self.raw[self._open[-1]] = self.raw.get(self._open[-1], "") + data
        else:
            self.text += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        """Give the attributes of all elements called *tag* that have those *wanted*; of classes, one is enough."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(value in (attributes.get(key) or "").split() for key, value in wanted.items())
        ]

    @property
    def words(self) -> str:
        """The text with all white space made one blank."""
        return " ".join(self.text.split())

    def foreign(self) -> list[str]:
        """Give what is none of ours: elements, attributes, addresses, and signs that act."""
        found: list[str] = []
        for tag, attributes in self.elements:
            if tag not in ALLOWED:
                found.append(f"element {tag}")
                continue
            found += [f"attribute {name} of {tag}" for name in attributes if name not in ALLOWED[tag]]
            for name in ("href", "src", "srcset"):
                address = attributes.get(name)
                if address is not None and not address.startswith(("./", "data:,", "data:image/png;base64,")):
                    found.append(f"address {address}")
        found += [f"character {sign!r}" for sign in self.source if not (sign.isprintable() or sign in "\n\t\xa0")]
        return found


def read_page(path: Path) -> Page:
    return Page(path.read_text("utf-8"))
