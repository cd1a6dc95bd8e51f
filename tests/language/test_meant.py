"""Sentences as people write them who know docker, SQL or English, and the one that each is told to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from imq.engine.help import help_text, topics
from imq.engine.render.columns import width
from imq.grammar.errors import ImqError, StatementError, draw
from waiting import soon

if TYPE_CHECKING:
    from imq.engine.session import Session

MEANT = """
images bigger than 100MB -> images where size > 100MB
dry run delete images bigger than 100MB -> dry run rm images where size > 100MB
explain images sorted by size -> explain images order by size
image prune -a --filter until=24h -> rm images where not in use and older than 24h
newest version of localhost:1/redis -> tags of localhost:1/redis where version is known order by version desc limit 1
compare redis:7 with redis:latest -> layers of redis:7 except layers of redis:latest by digest
exists redis:7 -> assert any images where name = redis:7
assert redis:7 where user = root -> assert any images where name = redis:7 and user = root
images as json where dangling -> images where dangling as json
images group by repository columns repository, count -> images group by repository select repository, count
copy redis:7 to localhost:1/redis:7 all platforms -> copy redis:7 to localhost:1/redis:7 platform all
manifests of localhost:1/a where untagged -> manifests of localhost:1/a where no tags
layers where count(images) = 1 -> layers where images = 1
images where parent = redis:7 -> images where based on redis:7
images where has no label env -> images where not has label env
rm all tags of localhost:1/a except latest -> rm tags of localhost:1/a where tag != latest
images where digest = manifest_digest -> images where digest = .manifest_digest
id of localhost:1/a:1 -> images where name = localhost:1/a:1 select id
images smaller than 10MB -> images where size < 10MB
show images -> images
list all images -> images
ls -> images
docker image ls -> images
docker images -q -> images as ids
images --filter dangling=true -> images where dangling
images -f label=env=prod -f dangling=false -> images where label.env = prod and not dangling
delete all dangling images -> rm images where dangling
delete images where dangling -> rm images where dangling
delete unused images older than 30 days -> rm images where not in use and older than 30 days
remove all images -> rm all images
remove redis:7 -> rm redis:7
remove team/used -> rm team/used
remove unused:1 -> rm unused:1
rmi redis:7 -> rm redis:7
images wher dangling -> images where dangling
images where sizz > 1MB order by nmae -> images where size > 1MB order by name
rmi -f redis:7 -> rm redis:7 force
rm dangling images -> rm images where dangling
rm team/* -> rm images where name like "team/*"
rm * -> rm all images
keep 3 images per repository -> rm images except newest 3 per repository
rm images keep newest 3 -> rm images except newest 3
images older than 1 week -> images where older than 1 week
images based on redis:7 -> images where based on redis:7
images that are dangling -> images where dangling
images where dangling is true -> images where dangling = true
dangling images -> images where dangling
unused images -> images where not in use
images where not used -> images where not in use
images without a label env -> images where not has label env
images with label env -> images where has label env
images where label = env=prod -> images where label.env = prod
images where label env=prod -> images where label.env = prod
list images sort by size -> images order by size
images order by size descending -> images order by size desc
images order by created limit 3 desc -> images order by created desc limit 3
images by size -> images order by size
images ordered by created, newest first -> images order by created desc
images sort by date -> images order by created
largest images -> images order by size desc
what is the biggest image -> images order by size desc limit 1
top 5 images by size -> images order by size desc limit 5
newest 3 images -> images order by created desc limit 3
images where tag is latest -> images where tag = latest
images where tag is not latest -> images where tag != latest
images where tag latest -> images where tag = latest
images with tag latest -> images where tag = latest
images tagged latest -> images where tag = latest
images where tag in latest, 7 -> images where tag in (latest, 7)
images where tag in [latest, 7] -> images where tag in (latest, 7)
images where tag = 7 or latest -> images where tag in (7, latest)
images where repository = team/* -> images where repository like "team/*"
images where tag != *-dev -> images where not tag like "*-dev"
images where name contains redis -> images where name like "*redis*"
images where name contains "my redis" -> images where name like "*my redis*"
images where repository starts with team -> images where repository like "team*"
images where name like %redis% -> images where name like "*redis*"
images where name =~ "redis.*" -> images where name matches "redis.*"
images where redis -> images where name like "*redis*"
images redis -> images where repository = redis
image redis:7 -> images where name = redis:7
images | grep redis -> images where name like "*redis*"
images where dangling | wc -l -> images where dangling count
images where size > 1GB && dangling -> images where size > 1GB and dangling
images where not dangling || tag = latest -> images where not dangling or tag = latest
images where size => 1MB -> images where size >= 1MB
images where size > 1,5GB -> images where size > 1.5GB
images where label.env is null -> images where label.env is unknown
images where label.env exists -> images where label.env is known
images where created older than 3d -> images where older than 3d
images where created = today -> images where created >= 2024-08-01
images created yesterday -> images where created >= 2024-07-31 and created < 2024-08-01
images created in the last week -> images where newer than 1 week
images where age > 30d -> images where older than 30d
images where created 3 days ago -> images where newer than 3 days
images running as root -> images where user = root
images with more than 3 layers -> images where layer_count > 3
images for linux/arm64 -> images where platform = linux/arm64
count images -> images count
how many images are dangling -> images where dangling count
count images per repository -> images group by repository
images distinct repository -> images group by repository
select count(*) from images where dangling -> images where dangling count
select * from images where size > 100MB -> images where size > 100MB
select name, size from images -> images select name, size
total size of images -> images select sum(size)
size of redis:7 -> images where name = redis:7 select size
images where size = max(size) -> images order by size desc limit 1
images json -> images as json
tags localhost:5000/redis -> tags of localhost:5000/redis
repositories localhost:5000 -> repositories in localhost:5000
images from localhost:5000 -> images in localhost:5000
latest tag of localhost:5000/redis -> tags of localhost:5000/redis order by created desc limit 1
pull localhost:5000/redis:* -> pull all tags of localhost:5000/redis
pull redis from localhost:5000 -> pull localhost:5000/redis
update images -> pull images where outdated
layers redis:7 -> layers of redis:7
show history of redis:7 -> history of redis:7
describe redis:7 -> inspect redis:7
tag redis:7 to foo:1 -> tag redis:7 as foo:1
save redis:7 > out.tar -> save redis:7 to out.tar
export redis:7 out -> export redis:7 to out
load < x.tar -> load x.tar
search for redis -> search redis
system df -> usage
prune older than 7d -> prune images where older than 7d
images since yesterday -> images where created >= 2024-07-31
images before 2024-01-01 -> images where created before 2024-01-01
images where created in 2024 -> images where created >= 2024-01-01 and created < 2025-01-01
images matching redis -> images where name like "*redis*"
rm images like redis* -> rm images where name like "redis*"
rm images older than 30 days except latest -> rm images where older than 30 days except newest 1
pull redis and nginx -> pull redis, nginx
tag redis:7 as a:1, a:2 -> tag redis:7 as a:1; tag redis:7 as a:2
rm tags of localhost:5000/redis older than 30d -> rm tags of localhost:5000/redis where older than 30d
images sharing layers with redis:7 -> images where shares layers with redis:7
images that use redis:7 as base -> images where based on redis:7
images group by month -> images group by month(created)
images show name, size -> images select name, size
images select repository tag -> images select repository, tag
help me -> help
images where (size > 1MB and tag = 7 -> images where (size > 1MB and tag = 7)
images where size > 1MB order size -> images where size > 1MB order by size
"""


WORDS = sorted({word for line in MEANT.split("\n") for word in line.split()})


def refusal(session: Session, text: str) -> StatementError:
    with pytest.raises(StatementError) as refused:
        for _ in session.run(text, dry_run=True):
            pass
    return refused.value


@pytest.mark.parametrize("line", MEANT.strip().splitlines())
def test_the_sentence_to_write_is_told(session: Session, line: str) -> None:
    said, _, meant = line.partition(" -> ")
    error = refusal(session, said)
    assert error.meant == meant
    assert f" did you mean: {meant}" in " ".join(draw(error).split())
    try:
        for _ in session.run(meant, dry_run=True):
            pass
    except StatementError:
        raise
    except ImqError:
        pass  # the sentence is right; it is about something that is not here


def test_help_fits_a_terminal() -> None:
    for topic in ("", *topics()):
        for line in help_text(tuple(topic.split())).splitlines():
            assert width(line) <= 80, (topic, line)


@pytest.mark.parametrize(
    "said",
    [
        "images where",
        "show images where tag = '\x1b[31m'",  # nothing is shown that a terminal would obey
        "images where tag = latest and",
        "run redis:7",
        "build .",
        "images as nonsense",
        "images where nonsense(tag) = 1",
        "rm images",  # which ones, nobody can know
        "images where " + "tag = 1 or " * 500,
        "(((((((( images",
        "\ue0000\ue001 \ue002x\ue003",
    ],
)
def test_nothing_is_guessed_where_nothing_is_known(session: Session, said: str) -> None:
    assert refusal(session, said).meant == ""


@given(st.lists(st.sampled_from(WORDS), max_size=30), st.sampled_from([" ", ", ", ""]))
@tried(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_are_soon_done_with(session: Session, words: list[str], joint: str) -> None:
    with soon():
        try:
            for _ in session.run(f"show {joint.join(words)}", dry_run=True):
                pass
        except ImqError as error:
            draw(error)


def test_one_statement_of_many(session: Session) -> None:
    error = refusal(session, "let x = 1; images bigger than 1MB\nimages count")
    assert error.meant == "images where size > 1MB"


def test_what_is_one_argument_stays_one(session: Session) -> None:
    text = "images where name contains a b"
    with pytest.raises(StatementError) as refused:
        list(session.run(text, wholes={text.index("a b"): len(text)}))
    assert refused.value.meant == 'images where name like "*a b*"'
