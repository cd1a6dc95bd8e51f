"""Text and Python objects build the same trees: objects print as text that parses to the same tree."""

# ruff: noqa: PT009 - imq.assert_ is not a method of unittest

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import imq
import pytest
from api import strategies
from hypothesis import given, settings
from imq import GB, MB, GiB, age, containers, history, images, layers, lines, rows, sources, usage
from imq import field as f
from imq.api.statements import to_statement
from imq.grammar.parser import parse
from language.strategies import VOCABULARY


@given(strategies.statements())
@settings(max_examples=300)
def test_objects_print_as_text_that_parses_to_the_same_tree(built: imq.Query | imq.Statement) -> None:
    assert parse(str(built), VOCABULARY) == (to_statement(built),), str(built)


dangling = images.where(f.dangling)
deployed = imq.rows.of("deployed.json").select(f.image.as_("name"))
PAIRS = {
    # tables and sources
    "images": images,
    "layers of redis:7, app:1": layers.of("redis:7", "app:1"),
    "layers of (images where label.env = prod)": layers.of(images.where(f.label.env == "prod")),
    "history of $name": history.of(imq.var("name")),
    "images in store, podman": images.in_("store", "podman"),
    "containers": containers,
    'lines of "keep list.txt"': lines.of("keep list.txt"),
    "nonempty lines of keep.txt": lines.of("keep.txt").nonempty(),
    "rows of ./x.json where .Name = a": rows.of("./x.json").where(f["Name"] == "a"),
    "rows of pod.yaml at spec.containers where image = a": (
        rows.of("pod.yaml").at("spec.containers").where(f["image"] == "a")
    ),
    'rows of pod.json at spec."a b"': rows.of("pod.json").at('spec."a b"'),
    "sources": sources,
    "usage": usage,
    "verify all": imq.verify(all=True),
    "verify all repair": imq.verify(all=True, repair=True),
    "verify all images": imq.verify(images.all()),
    # clauses
    "images where dangling and size > 1GB": images.where(f.dangling).where(f.size > 1 * GB),
    "images group by repository having count(*) > 3 select repository, count(*), sum(size) as total": (
        images.group_by(f.repository)
        .having(imq.count() > 3)
        .select(f.repository, imq.count(), imq.sum(f.size).as_("total"))
    ),
    "images order by size desc, name asc": images.order_by(f.size.desc(), f.name),
    "images order by size desc limit 2 per repository skip 1": (
        images.order_by(f.size.desc()).limit(2, per=f.repository).skip(1)
    ),
    "images except newest 3 per repository, label.env by pulled_at": images.except_newest(
        3, per=(f.repository, f.label.env), by=f.pulled_at
    ),
    "images join rows of owners.csv as o on o.repository = .repository select name, o.team": (
        images.join(rows.of("owners.csv"), as_="o", on=f["o.repository"] == f.repository).select(f.name, f["o.team"])
    ),
    "images inner join (images where dangling) as o on o.id = .id full join containers in docker as c on c.image = a": (
        images.join(dangling, as_="o", on=f["o.id"] == f.id, kind="inner").join(
            containers.in_("docker"), as_="c", on=f["c.image"] == "a", kind="full"
        )
    ),
    "images order by created select size - previous(size per repository, tag), previous(name)": (
        images.order_by(f.created).select(
            f.size - imq.previous(f.size, per=(f.repository, f.tag)), imq.previous(f.name)
        )
    ),
    "images order by created until total size <= 16GB": images.order_by(f.created).until(total_size="16GB"),
    "images until disk use <= 80% when disk use > 85%": images.until(disk_use="80%").when(disk_use="85%"),
    "images until free > 20GB when free < 10GB": images.until(free="20GB", below=True).when(free="10GB"),
    "images until total size < 1.5GiB": images.until(total_size=1.5 * GiB, below=True),
    "images where dangling count": dangling.count(),
    "images select name, size / .layer_count as mean": images.select(f.name, mean=f.size / f.layer_count),
    "images as json": images.as_("json"),
    'images format "{{.ID}}"': images.format("{{.ID}}"),
    # combinations
    "images union images where dangling": images | dangling,
    "images except images where dangling": images - dangling,
    "images intersect images where dangling": images & dangling,
    "images except rows of deployed.json select image as name by name": images.except_(deployed, by=f.name),
    "images union (images union images)": images | (images | images),
    "(images union images) order by size": (images | images).order_by(f.size),
    "(images order by size limit 5) where dangling": images.order_by(f.size).limit(5).as_table().where(f.dangling),
    # conditions
    "images where tag = latest or not dangling and size != 0": images.where(
        (f.tag == "latest") | ~f.dangling & (f.size != 0)
    ),
    "images where name like team/*": images.where(f.name.like("team/*")),
    'images where tag matches "^v[0-9]+$"': images.where(f.tag.matches("^v[0-9]+$")),
    "images where tag not like pr-*": images.where(~f.tag.like("pr-*")),
    "images where tag in (latest, stable)": images.where(f.tag.in_(["latest", "stable"])),
    "images where tag not in (latest, stable)": images.where(f.tag.not_in(("latest", "stable"))),
    "images where tag in $keep": images.where(f.tag.in_(imq.var("keep"))),
    "images where name in lines of keep.txt": images.where(f.name.in_(lines.of("keep.txt"))),
    "images where name not in (nonempty lines of keep.txt)": images.where(
        f.name.not_in(lines.of("keep.txt").nonempty())
    ),
    "images where size between 1MB and 1GB": images.where(f.size.between(1 * MB, 1 * GB)),
    "images where label has env": images.where(f.label.has("env")),
    "images where has label env": images.where(f.label.has("env")),
    "images where user is known and author is unknown": images.where(f.user.is_known() & f.author.is_unknown()),
    'images where label."a.b" = x': images.where(f["label", "a.b"] == "x"),
    "images where label.env = $env.STAGE": images.where(f.label.env == imq.var("env.STAGE")),
    "images where unique_size > .download_size": images.where(f.unique_size > f.download_size),
    "images where created before redis:latest": images.where(f.created.before("redis:latest")),
    "images where created after 2024-01-31": images.where(f.created.after(datetime(2024, 1, 31).date())),  # noqa: DTZ001
    "images where created since 2024-01-31T10:00:00+00:00": images.where(
        f.created.since(datetime(2024, 1, 31, 10, tzinfo=UTC))
    ),
    "images where created within 2 weeks": images.where(f.created.within("2 weeks")),
    "images where age(created) > 30d": images.where(age(f.created) > timedelta(days=30)),
    "images where age(created) > 1d12h": images.where(age(f.created) > timedelta(days=1.5)),
    "images where created < created of redis:latest": images.where(f.created < imq.ref("redis:latest").created),
    "images where label.env = .label.env of redis:7": images.where(f.label.env == imq.ref("redis:7").label.env),
    "images where healthcheck = true": images.where(f.healthcheck == True),  # noqa: E712 - it makes a condition
    'images where tag = "null" and label.n != "NULL"': images.where(f.tag == "null", f.label.n != "NULL"),
    'images where label.n = "7" and label.m = 7': images.where(f.label.n == "7", f.label.m == 7),
    # relations
    "images where any layers where size > 100MB": images.where(f.layers.any(f.size > 100 * MB)),
    "images where no containers": images.where(f.containers.none()),
    "images where base.name = debian:12": images.where(f.base.name == "debian:12"),
    "images where count(layers where size > 1MB) > 3": images.where(f.layers.count(f.size > 1 * MB) > 3),
    "images where count(layers) > 3": images.where(f.layers.count() > 3),
    "images where count(children where dangling) > 3": images.where(f.children.count(f.dangling) > 3),
    "images where any (images where dangling)": images.where(imq.any_(dangling)),
    "images where no images where dangling": images.where(imq.no(dangling)),
    "images where size > (images where dangling select max(size))": images.where(
        f.size > dangling.select(imq.max(f.size))
    ),
    # predicates
    "images where in use or older than 30d": images.where(imq.in_use | imq.older_than("30d")),
    "images where in_use": images.where(f.in_use),
    "images where newer than 2 weeks": images.where(imq.newer_than("2 weeks")),
    "images where based on debian:12": images.where(imq.based_on("debian:12")),
    "images where based on (images in docker where name = debian:12)": images.where(
        imq.based_on(images.in_("docker").where(f.name == "debian:12"))
    ),
    "images where shares layers with redis:7": images.where(imq.shares_layers_with(imq.ref("redis:7"))),
    'images where contains file "*log4j core*.jar"': images.where(imq.contains_file("*log4j core*.jar")),
    "images where contains package openssl": images.where(imq.contains_package("openssl")),
    "images where local only": images.where(imq.local_only),
    "images where outdated": images.where(f.outdated),
    # functions and arithmetic
    "images select lower(tag), if(dangling, 1, 0), coalesce(label.env, 'none')": images.select(
        imq.lower(f.tag), imq.if_(f.dangling, 1, 0), imq.coalesce(f.label.env, "none")
    ),
    "images select count(distinct repository), list(tag)": images.select(
        imq.count(f.repository, distinct=True), imq.list(f.tag)
    ),
    "images where 2 * .size - 1 > 1MB": images.where(2 * f.size - 1 > 1 * MB),
    "images where size / 2 + 1 > .unique_size % 7": images.where(f.size / 2 + 1 > f.unique_size % 7),
    # actions
    "pull redis:7, alpine platform linux/arm64": imq.pull("redis:7", "alpine", platform="linux/arm64"),
    'rm images where repository like "team/ *" and older than 30d except newest 3 per repository force': imq.rm(
        images.where(f.repository.like("team/ *") & imq.older_than("30d")).except_newest(3, per=f.repository),
        force=True,
    ),
    "rm app:1 dry run": imq.rm("app:1", dry_run=True),
    "dry run rm app:1": imq.dry_run(imq.rm("app:1")),
    "tag a as b": imq.tag("a", as_="b"),
    'tag images where label.arch is known as "ghcr.io/x/{{.Label.arch}} y"': imq.tag(
        images.where(f.label.arch.is_known()), as_="ghcr.io/x/{{.Label.arch}} y"
    ),
    'save images where in use to "used files.tar"': imq.save(images.where(imq.in_use), to="used files.tar"),
    'import ./rootfs as team/base:1 change "LABEL env=prod", "USER nobody" message "by hand"': imq.import_(
        "./rootfs", as_="team/base:1", change=["LABEL env=prod", "USER nobody"], message="by hand"
    ),
    "prune": imq.prune(),
    "rm images union images as json": imq.rm(images | images).as_("json"),
    # scripts and settings
    "let days = 30d": imq.let("days", "30d"),
    "let keep = (latest, stable)": imq.let("keep", ["latest", "stable"]),
    "let old = (images where dangling)": imq.let("old", dangling),
    "let": imq.let(),
    "view stale as images where older than 90d": imq.view("stale", images.where(imq.older_than("90d"))),
    "view": imq.view(),
    "use store": imq.use("store"),
    "include views.imq": imq.include("views.imq"),
    "on error continue": imq.on_error("continue"),
    "assert no images where size > 1GB and dangling": imq.assert_(imq.no(images.where((f.size > 1 * GB) & f.dangling))),
    "assert count(images where size > 350MB) = 0": imq.assert_(imq.count(images.where(f.size > 350 * MB)) == 0),
    "assert (images where dangling count) = 0": imq.assert_(dangling.count() == 0),
    "set jobs = 8": imq.set("jobs", 8),
    "set verify": imq.set("verify"),
    "set": imq.set(),
    "help images": imq.help("images"),
    "explain images where dangling": imq.explain(dangling),
}


@pytest.mark.parametrize(("text", "built"), PAIRS.items(), ids=PAIRS)
def test_text_and_python_build_the_same_tree(text: str, built: imq.Query | imq.Statement) -> None:
    assert parse(text, VOCABULARY) == (to_statement(built),), str(built)
