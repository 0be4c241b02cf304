"""The page, its files and the interactive documentation: read into memory at the start, so that no path is opened."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from recae.serving.problems import Problem

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}
_DOCS_PAGE = b"""<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>recae: HTTP API</title>
  <link rel="icon" href="data:,">
  <link rel="stylesheet" href="docs/swagger-ui.css">
  <script src="docs/swagger-ui-bundle.js" defer></script>
  <script src="docs/start.js" defer></script>
</head>
<body><div id="swagger-ui"></div></body>
</html>
"""
_DOCS_START = b"""SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
"""


class Files:
    """A fixed list of files by name.

    Args:
        contents: bytes by file name; the ending says the media type.
    """

    def __init__(self, contents: dict[str, bytes]) -> None:
        self._files = {
            name: (content, _TYPES[_ending(name)], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
            for name, content in contents.items()
        }

    def response(self, name: str, request: Request) -> Response:
        """Return a file, or 304 where the browser has it. Raises Problem, 404, for any other name."""
        if name not in self._files:
            raise Problem("no-such-path", 404, "there is no such file")
        content, kind, tag = self._files[name]
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)


def page_files() -> Files:
    """Return the page (`index.html`) and its files, those of the interactive map among them."""
    return Files(_read(files("recae.serving") / "page") | _read(files("recae.insight") / "assets"))


def docs_files() -> Files:
    """Return the documentation's page (`index.html`) and Swagger's files."""
    import swagger_ui_bundle

    folder = files("swagger_ui_bundle") / "vendor" / swagger_ui_bundle.swagger_ui_path.name
    wanted = ("swagger-ui.css", "swagger-ui-bundle.js")
    return Files(
        {"index.html": _DOCS_PAGE, "start.js": _DOCS_START}
        | {name: (folder / name).read_bytes() for name in wanted}
    )


def _read(folder: Traversable) -> dict[str, bytes]:
    return {
        entry.name: entry.read_bytes()
        for entry in folder.iterdir()
        if entry.is_file() and _ending(entry.name) in _TYPES
    }


def _ending(name: str) -> str:
    return name[name.rfind(".") :]
