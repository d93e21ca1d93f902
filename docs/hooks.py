"""Hooks of the documentation site: pages that lie outside ``docs/``, and links that leave the site."""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {
    "start.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "reference/builtin.md": "vpr/weights/builtin/README.md",
}  # pages of the site, and their files in the repository
LINK = re.compile(r"\[([^\]]*)\]\((?!\w+:)([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie outside ``docs/``."""
    for page, source in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links to files of the repository into links to pages, or into paths if they are no pages.

    Links that lead nowhere stay as they are, so that the strict build reports them.
    """
    here = page.file.src_uri
    folder = os.path.dirname(OUTSIDE.get(here, f"docs/{here}"))
    pages = {source: uri for uri, source in OUTSIDE.items()}

    def rewritten(link: re.Match[str]) -> str:
        text, target, anchor = link[1], os.path.normpath(os.path.join(folder, link[2])), link[3] or ""
        uri = pages.get(target) or target.removeprefix("docs/")
        if target in pages or (target.startswith("docs/") and files.get_file_from_path(uri)):
            return f"[{text}]({os.path.relpath(uri, os.path.dirname(here) or '.')}{anchor})"
        if not (ROOT / target).exists():
            return link[0]
        return f"`{target}`" if text.strip("`") == target else f"{text} (`{target}`)"

    return LINK.sub(rewritten, markdown)
