"""Hook of MkDocs: files of the repository that are pages too, and links between all of them.

Pages link to each other by paths in the repository, so that they also work where the repository is
shown. What lies outside of docs/ and has no page becomes text.
"""

import os
import pathlib
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "README.md": "start.md",
    "data/published/README.md": "results/published.md",
    "data/results/README.md": "results/README.md",
    "data/results/ablations/README.md": "results/ablations/README.md",
    "data/results/candidates/README.md": "results/candidates/README.md",
}
_ROOT = pathlib.Path(__file__).resolve().parents[2]
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the guides that the navigation does not name at the end of its guides."""
    named = set(re.findall(r"[\w/]+\.(?:md|ipynb)", str(config.nav)))
    (guides,) = (entry["Guides"] for entry in config.nav or [] if "Guides" in entry)
    guides += sorted({page.name for page in (_ROOT / "docs").glob("*.md")} - named)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages and the figures that lie beside docs/."""
    figures = sorted((_ROOT / "data" / "results").rglob("*.png"))
    sources = {**PAGES, **{f: _of_figure(f) for f in map(_relative, figures)}}
    for source, target in sources.items():
        if files.get_file_from_path(target) is None:
            files.append(File.generated(config, target, abs_src_path=str(_ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links by paths in the repository into links between pages.

    The bars of code in tables, which have to be escaped where the repository is shown, lose that.
    """
    target = page.file.src_uri
    if target.startswith("reference/") or target.endswith(".ipynb"):
        return markdown
    sources = {page: source for source, page in PAGES.items()}
    source = sources.get(target, f"docs/{target}")

    def replace(match: re.Match) -> str:
        image, text, path, anchor = match.groups()
        if not path or "://" in path or path.startswith("mailto:"):
            return match.group()
        linked = os.path.normpath(os.path.join(os.path.dirname(source), path))
        if (_ROOT / linked).is_dir():
            linked = f"{linked}/README.md"
        if linked.startswith("docs/") and (_ROOT / linked).exists():
            found = linked.removeprefix("docs/")
        elif linked in PAGES:
            found = PAGES[linked]
        elif linked.startswith("data/results/") and linked.endswith(".png"):
            found = _of_figure(linked)
        elif (_ROOT / linked.removesuffix("/README.md")).exists():
            return text  # It has no page.
        else:
            return match.group()  # MkDocs says that it leads nowhere.
        here = os.path.relpath(found, os.path.dirname(target) or ".")
        return f"{image}[{text}]({here}{anchor or ''})"

    markdown = _CODE.sub(lambda code: code.group().replace(r"\|", "|"), markdown)
    return _LINK.sub(replace, markdown)


def _relative(path: pathlib.Path) -> str:
    return path.relative_to(_ROOT).as_posix()


def _of_figure(source: str) -> str:
    return source.replace("data/results/", "results/", 1)
