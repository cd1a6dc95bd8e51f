"""Writes the page of a report: HTML with its style, its script, the chart library and its data in one file.

Names, labels and build steps come from images, so they are untrusted. In HTML they are escaped here. The script reads
them from JSON in which `<` is escaped, and puts them into the page as text only. A policy in the page
(Content-Security-Policy) allows the two scripts by their hashes, and no requests.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template

from imq.engine.render.lineage import find_bases
from imq.engine.units.size import human_size
from imq.engine.units.time import format_age
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import quote

from .facts import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import tzinfo
    from typing import Any

    from .facts import Facts, ImageFacts, LayerFacts

_NANOSECONDS = 1_000_000_000
_DAY = 86_400 * _NANOSECONDS
AGES = (
    ("under 1 day", 1),
    ("1 to 7 days", 7),
    ("7 to 30 days", 30),
    ("1 to 3 months", 90),
    ("3 to 6 months", 180),
    ("6 to 12 months", 365),
    ("1 to 2 years", 730),
    ("2 to 5 years", 1825),
)
"""The classes of ages: their labels, and the ends of their ranges in days."""
_OLDER, _UNKNOWN = "over 5 years", "unknown"
MAX_LAYERS = 1500
"""The layers that are drawn one by one, the largest ones. The others are one area for each repository."""
_MAX_ROWS = 100
"""The rows of a table next to a picture; the statement below it returns all of them."""
_MAX_TEXT = 160
"""The characters of a build step on the page."""
_UNNAMED = "images without a name"
_SEVERAL = "several repositories"


def write_page(facts: Facts, zone: tzinfo | None) -> Iterator[str]:
    """Yield the text of a page. `zone` is that of the times which it shows."""
    charts, script = _read("echarts.min.js"), _read("page.js")
    hashes = " ".join(f"'sha256-{_hash(text)}'" for text in (charts, script))
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
        " form-action 'none'"
    )
    made = datetime.fromtimestamp(facts.now / _NANOSECONDS, zone).astimezone(zone)
    yield Template(_read("page.html")).substitute(
        policy=escape(policy),
        style=_read("page.css"),
        scope=escape(facts.scope),
        made=escape(made.isoformat(" ", "minutes")),
        tiles=_write_tiles(facts),
        notice=_write_notice(facts),
        layers_text=_describe_layers(facts),
        layers_table=_write_layer_table(facts),
        lineage_text=_describe_lineage(facts),
        lineage_table=_write_lineage_table(facts),
        repositories_text=_describe_repositories(facts),
        repositories_table=_write_repository_table(facts),
        ages_text=_describe_ages(facts),
        ages_table=_write_age_table(facts),
        duplicates=_write_duplicates(facts),
        waste=_write_waste(facts),
        images_text=_count(len(facts.images), "image"),
        image_rows="".join(_write_image_rows(facts)),
        **{f"say_{name}": _write_sentence(statement) for name, statement in facts.statements.items()},
    )
    data = json.dumps(_build_data(facts), separators=(",", ":"), ensure_ascii=False)
    for mark, replacement in (("<", "\\u003c"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029")):
        data = data.replace(mark, replacement)
    yield f'<script type="application/json" id="data">{data}</script>\n'
    yield f"<script>{charts}</script>\n"
    yield f"<script>{script}</script>\n</body>\n</html>\n"


def _read(name: str) -> str:
    return files("imq.engine.render.report").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# The data of the script


def _build_data(facts: Facts) -> dict[str, Any]:
    """Return what the script draws. Images are their positions in the table."""
    layers, groups = _group_layers(facts)
    return {
        "prefix": facts.prefix,
        "all": facts.statements["images"],
        "labels": [image.label for image in facts.images],
        "sizes": [image.size for image in facts.images],
        "groups": groups,
        "layers": layers,
        "lineage": _nest(facts.images),
        "repositories": [
            {
                "name": name or _UNNAMED,
                "own": own,
                "shared": shared,
                "images": images,
                "condition": _is_repository(name),
            }
            for name, own, shared, images in _split_repositories(facts)
        ],
        "ages": [
            {"name": name, "images": images, "condition": _is_of_age(name)} for name, images in _group_ages(facts)
        ],
        "waste": [[one.name, one.wasted, one.size, one.paths] for one in (facts.waste or ())[:_MAX_ROWS]],
    }


def _find_repository(layer: LayerFacts, images: Sequence[ImageFacts]) -> str:
    """Return the only repository of the images with a layer, else what is written in its place."""
    names = {name for place in layer.images for name in images[place].repositories or (_UNNAMED,)}
    named = names - {_UNNAMED}
    return _SEVERAL if len(named) > 1 else min(named or names, default=_UNNAMED)


def _group_layers(facts: Facts) -> tuple[list[list[Any]], list[str]]:
    """Return the layers to draw: group, diff ID, bytes, step, images; and the names of the groups.

    Layers beyond `MAX_LAYERS` are summed for each group: their diff ID is "", and the step says how many they are.
    """
    groups: dict[str, int] = {}
    drawn: list[list[Any]] = []
    rest: dict[int, list[LayerFacts]] = defaultdict(list)
    for layer in facts.layers:
        if not layer.size:
            continue
        group = groups.setdefault(_find_repository(layer, facts.images), len(groups))
        if len(drawn) < MAX_LAYERS:
            drawn.append([group, layer.diff_id, layer.size, _cut(layer.step), list(layer.images)])
        else:
            rest[group].append(layer)
    for group, layers in rest.items():
        places = sorted({place for layer in layers for place in layer.images})
        size = sum(layer.size or 0 for layer in layers)
        drawn.append([group, "", size, _count(len(layers), "smaller layer"), places])
    return drawn, list(groups)


def _nest(images: Sequence[ImageFacts]) -> list[list[Any]]:
    """Return the images by their bases: each is its position and the list of those that are based on it."""
    nodes: list[list[Any]] = [[place, []] for place in range(len(images))]
    roots: list[list[Any]] = []
    for place, base in enumerate(find_bases([(image.source, image.chains) for image in images])):
        (roots if base is None else nodes[base][1]).append(nodes[place])
    return roots


def _split_repositories(facts: Facts) -> list[tuple[str | None, int, int, list[int]]]:
    """Return each repository with the bytes of its own layers, of those that others have too, and its images."""
    own: dict[str | None, int] = defaultdict(int)
    images: dict[str | None, list[int]] = defaultdict(list)
    for place, image in enumerate(facts.images):
        for name in image.repositories or (None,):
            images[name].append(place)
    for layer in facts.layers:
        names = {name for place in layer.images for name in facts.images[place].repositories or (None,)}
        if len(names) == 1:
            own[names.pop()] += layer.size or 0
    return [
        (one.name, own[one.name], max(0, (one.size or 0) - own[one.name]), images[one.name])
        for one in facts.repositories
    ]


def _group_ages(facts: Facts) -> list[tuple[str, list[int]]]:
    """Return the classes of ages with their images, the youngest first; unknown ages last, if there are any."""
    classes: dict[str, list[int]] = {name: [] for name in (*(name for name, _ in AGES), _OLDER, _UNKNOWN)}
    for place, image in enumerate(facts.images):
        if image.created is None:
            classes[_UNKNOWN].append(place)
            continue
        days = (facts.now - image.created) / _DAY
        classes[next((name for name, end in AGES if days < end), _OLDER)].append(place)
    if not classes[_UNKNOWN]:
        del classes[_UNKNOWN]
    return list(classes.items())


def _is_repository(name: str | None) -> str:
    return "repository is unknown" if name is None else f"repository = {quote(name)}"


def _is_of_age(name: str) -> str:
    """Return the condition for images of a class of ages."""
    if name == _UNKNOWN:
        return "created is unknown"
    ends = [0, *(end for _, end in AGES)]
    place = next((place for place, (label, _) in enumerate(AGES) if label == name), len(AGES))
    parts = [f"older than {ends[place]}d"] if place else []
    return " and ".join([*parts, f"newer than {ends[place + 1]}d"] if place < len(AGES) else parts)


# Text


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _size(number: int | None) -> str:
    return "unknown" if number is None else human_size(number)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


def _write_sentence(statement: str) -> str:
    return (
        f'<div class="sentence"><code tabindex="0">{escape(statement)}</code>'
        '<button type="button" class="copy">Copy</button></div>'
    )


def _write_tiles(facts: Facts) -> str:
    names = sum(len(image.names) for image in facts.images)
    unnamed = sum(not image.names for image in facts.images)
    saved = facts.summed_size - facts.disk_size
    repositories = sum(one.name is not None for one in facts.repositories)
    at_least = "at least " if facts.has_unknown_sizes else ""
    tiles = [
        (f"{len(facts.images):,}", "Images", f"{_count(names, 'name')}, {unnamed:,} without one"),
        (f"{_size(facts.disk_size)}", "On disk", f"{at_least}{_count(len(facts.layers), 'layer')}, each counted once"),
        (
            _size(saved),
            "Saved by sharing",
            f"{_share(saved, facts.summed_size)} of the {_size(facts.summed_size)} that the images add up to",
        ),
        (f"{repositories:,}", "Repositories", f"in {', '.join(_list_sources(facts)) or 'no source'}"),
    ]
    if facts.waste is not None:
        wasted = sum(one.wasted for one in facts.waste)
        tiles.append((_size(wasted), "Wasted", "hidden by upper layers, in the images with the most waste"))
    return "".join(
        f'<div class="tile"><dt>{escape(title)}</dt><dd><strong>{escape(value)}</strong>'
        f"<span>{escape(text)}</span></dd></div>"
        for value, title, text in tiles
    )


def _list_sources(facts: Facts) -> list[str]:
    return list(dict.fromkeys(image.source for image in facts.images))


def _write_notice(facts: Facts) -> str:
    """Return what is missing from the page, if something is."""
    if not facts.problems:
        return ""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in facts.problems[:_MAX_ROWS])
    return (
        f'<section class="notice" role="alert"><h2>Incomplete: {_count(len(facts.problems), "problem")}</h2>'
        f"<ul>{items}</ul></section>"
    )


def _describe_layers(facts: Facts) -> str:
    shared = [layer for layer in facts.layers if len(layer.images) > 1]
    size = sum(layer.size or 0 for layer in shared)
    unknown = sum(layer.size is None for layer in facts.layers)
    left_out = f" {_count(unknown, 'layer')} of unknown size {'is' if unknown == 1 else 'are'} left out."
    return (
        f"{_size(size)} of {_size(facts.disk_size)} ({_share(size, facts.disk_size)}) are in"
        f" {_count(len(shared), 'layer')} that several images of this report share.{left_out if unknown else ''}"
    )


def _describe_lineage(facts: Facts) -> str:
    roots = _nest(facts.images)
    families = [root for root in roots if root[1]]
    alone = len(roots) - len(families)
    return (
        f"{_count(len(families), 'image')} {'is the base' if len(families) == 1 else 'are bases'} of others, by their"
        f" layers. {_count(alone, 'image')} {'has' if alone == 1 else 'have'} neither a base nor a descendant here."
    )


def _describe_repositories(facts: Facts) -> str:
    if not facts.repositories:
        return "No repositories."
    first = facts.repositories[0]
    return (
        f"The largest is {escape(first.name or _UNNAMED)} with {_size(first.size)} in {_count(first.layers, 'layer')}."
    )


def _describe_ages(facts: Facts) -> str:
    known = [image for image in facts.images if image.created is not None]
    old = [image for image in known if facts.now - (image.created or 0) >= 365 * _DAY]
    size = sum(image.unique_size or 0 for image in old)
    return (
        f"{len(old):,} of {_count(len(facts.images), 'image')} {'was' if len(old) == 1 else 'were'} built over a year"
        f" ago; {_size(size)} are in layers that only one image has."
    )


# Tables


def _write_table(titles: Sequence[str], rows: Sequence[Sequence[str]], total: int) -> str:
    """Return a table of a picture, whose cells are HTML. `total` is the number of all rows."""
    heads = "".join(f'<th scope="col">{title}</th>' for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    more = f"<p>The first {len(rows)} of {total:,}; the statement returns all.</p>" if total > len(rows) else ""
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>{more}'


def _write_choice(kind: str, number: int, text: str) -> str:
    """Return a button that shows the images of an item of a picture."""
    return f'<button type="button" class="link" data-choose="{kind}" data-item="{number}">{escape(text)}</button>'


def _write_layer_table(facts: Facts) -> str:
    layers, groups = _group_layers(facts)
    rows = [
        (
            _write_choice("layers", number, shorten(diff_id) or "others"),
            _size(size),
            f"{len(images):,}",
            escape(groups[group]),
            f"<code>{escape(step)}</code>",
        )
        for number, (group, diff_id, size, step, images) in enumerate(layers[:_MAX_ROWS])
    ]
    return _write_table(("Layer", "Size", "Images", "Repository", "Build step"), rows, len(layers))


def _write_lineage_table(facts: Facts) -> str:
    """Return nested lists of the images that have a base or descendants."""
    families = [root for root in _nest(facts.images) if root[1]]
    items = "".join(_write_branch(node, facts) for node in families)
    return f'<ul class="lineage">{items}</ul>' if items else "<p>No image is the base of another one.</p>"


def _write_branch(node: Sequence[Any], facts: Facts) -> str:
    place, children = node
    image = facts.images[place]
    below = f"<ul>{''.join(_write_branch(child, facts) for child in children)}</ul>" if children else ""
    return f"<li>{escape(image.label)} <small>{_size(image.unique_size)} of its own</small>{below}</li>"


def _write_repository_table(facts: Facts) -> str:
    split = _split_repositories(facts)
    rows = [
        (
            _write_choice("repositories", number, name or _UNNAMED),
            _size(own + shared),
            _size(own),
            _size(shared),
            f"{len(images):,}",
        )
        for number, (name, own, shared, images) in enumerate(split[:_MAX_ROWS])
    ]
    return _write_table(("Repository", "Size", "Only here", "Shared with others", "Images"), rows, len(split))


def _write_age_table(facts: Facts) -> str:
    classes = _group_ages(facts)
    rows = [
        (
            _write_choice("ages", number, name),
            f"{len(images):,}",
            _size(sum(facts.images[place].size or 0 for place in images)),
        )
        for number, (name, images) in enumerate(classes)
    ]
    return _write_table(("Age", "Images", "Sum of sizes"), rows, len(classes))


def _write_duplicates(facts: Facts) -> str:
    if not facts.same_layers:
        return "<p>No two images have the same layers.</p>"
    rows = [
        (escape(_cut(", ".join(one.names) or _UNNAMED)), f"{one.images:,}", _size(one.size))
        for one in facts.same_layers[:_MAX_ROWS]
    ]
    text = (
        f"<p>{_count(len(facts.same_layers), 'group')} of images differ only in their configs. Their layers are stored"
        " once.</p>"
    )
    return text + _write_table(("Names", "Images", "Size"), rows, len(facts.same_layers))


def _write_waste(facts: Facts) -> str:
    if facts.waste is None:
        return (
            "<p>The contents of layers were not read, so what upper layers hide is unknown. To read them, add"
            " <code>with waste</code> to the report; the statement below reads them too.</p>"
        )
    found = [one for one in facts.waste if one.wasted]
    if not found:
        return "<p>No layer hides files of the layers below it.</p>"
    rows = [
        (
            escape(one.name),
            _size(one.wasted),
            _size(one.size),
            "" if one.efficiency is None else f"{100 * one.efficiency:.1f} %",
            f"{one.paths:,}",
        )
        for one in found[:_MAX_ROWS]
    ]
    return (
        '<div class="chart" id="chart-waste" data-chart="waste"></div><details><summary>Show as a table</summary>'
        + _write_table(("Image", "Wasted", "Size", "Efficiency", "Paths"), rows, len(found))
        + "</details>"
    )


def _write_image_rows(facts: Facts) -> Iterator[str]:
    """Yield the rows of the table of images. `data-v` is the value by which a cell sorts."""
    for place, image in enumerate(facts.images):
        names = "<br>".join(map(escape, image.names)) or "<i>none</i>"
        created = "unknown" if image.created is None else format_age((facts.now - image.created) // _NANOSECONDS)
        moment = -1 if image.created is None else image.created // _NANOSECONDS
        yield (
            f'<tr data-n="{place}"><td>{names}</td><td title="{escape(image.id)}"><code>{shorten(image.id)}</code></td>'
            f'<td data-v="{moment}">{created}</td>{_write_size_cell(image.size)}{_write_size_cell(image.unique_size)}'
            f"<td>{escape(image.platform)}</td><td>{escape(image.source)}</td></tr>\n"
        )


def _write_size_cell(size: int | None) -> str:
    return f'<td class="n" data-v="{-1 if size is None else size}">{_size(size)}</td>'
