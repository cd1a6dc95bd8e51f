"""Suggestions: statements in the syntax of docker and SQL, and misspelled ones, each with the suggested statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from imq.engine.actions import ABSENT, REMOVING, VERBS
from imq.engine.catalog.tables import TABLES
from imq.engine.help.help import format_help, list_topics
from imq.engine.result import RowSet
from imq.grammar.display_width import display_width
from imq.grammar.errors import ImqError, StatementError, format_error
from support.waiting import deadline

if TYPE_CHECKING:
    from imq.engine.session.session import Session

SUGGESTIONS = """
list images -> images
get all images where dangling -> images where dangling
unused images -> images where not in use
images where unused and tag = 1 -> images where not in use and tag = 1
images where not untagged -> images where not dangling
images sort by size desc -> images order by size desc
images where tag contains rc -> images where tag like "*rc*"
images where tag starts with 1. and dangling -> images where tag like "1.*" and dangling
images where repository starts with "lib/" -> images where repository like "lib/*"
images where repository begins with 'lib/' -> images where repository like "lib/*"
images where has package openssl -> images where contains package openssl
files of redis:7 where path under /etc -> files of redis:7 where path like "/etc/*"
files of redis:7 where path in /etc/ and size > 1kB -> files of redis:7 where path like "/etc/*" and size > 1kB
images where no label env -> images where not has label env
images where created in 2024 count -> images where year(created) = 2024 count
images where name ends with :latest -> images where name like "*:latest"
images where older than 2 weeks ago -> images where older than 2 weeks
rm images where older than 2 weeks ago -> rm images where older than 2 weeks
rm images where pulled_at older than 30d -> rm images where pulled_at < 30d ago
images where dangling and pulled_at newer than 3 days -> images where dangling and pulled_at > 3 days ago
image prune -a --filter until=24h -> rm images where not in use and older than 24h
images as json where dangling -> images where dangling as json
images where digest = manifest_digest -> images where digest = .manifest_digest
ls -> images
docker image ls -> images
docker images -q -> images as ids
images --filter dangling=true -> images where dangling
images -f label=env=prod -f dangling=false -> images where label.env = prod and not dangling
delete images where dangling -> rm images where dangling
remove all images -> rm all images
remove redis:7 -> rm redis:7
remove team/used -> rm team/used
remove unused:1 -> rm unused:1
rmi redis:7 -> rm redis:7
images wher dangling -> images where dangling
images where sizz > 1MB order by nmae -> images where size > 1MB order by name
rmi -f redis:7 -> rm redis:7 force
images older than 1 week -> images where older than 1 week
images based on redis:7 -> images where based on redis:7
images where dangling is true -> images where dangling = true
images where label = env=prod -> images where label.env = prod
images where label env=prod -> images where label.env = prod
images top 5 -> images limit 5
images where dangling first 3 -> images where dangling limit 3
images limit 5 offset 2 -> images limit 5 skip 2
count images -> images count
count images where dangling -> images where dangling count
sum(size) of images where dangling -> images where dangling select sum(size)
images sum(size) -> images select sum(size)
images distinct repository -> images group by repository select repository
images where dangling select distinct repository, tag -> \
images where dangling group by repository, tag select repository, tag
images > out.csv -> images to out.csv
images where tag = null -> images where tag is unknown
images where label.env != NULL -> images where label.env is known
images order by size descending -> images order by size desc
images where tag is latest -> images where tag = latest
images where tag is not latest -> images where tag != latest
images where tag in latest, 7 -> images where tag in (latest, 7)
images where tag in [latest, 7] -> images where tag in (latest, 7)
images where repository = team/* -> images where repository like "team/*"
images where tag != *-dev -> images where not tag like "*-dev"
images where name like %redis% -> images where name like "*redis*"
images where name =~ "redis.*" -> images where name matches "redis.*"
images redis -> images where repository = redis
image redis:7 -> images where name = redis:7
images where size > 1GB && dangling -> images where size > 1GB and dangling
images where not dangling || tag = latest -> images where not dangling or tag = latest
images where size => 1MB -> images where size >= 1MB
images where label.env is null -> images where label.env is unknown
select count(*) from images where dangling -> images where dangling count
select * from images where size > 100MB -> images where size > 100MB
select name, size from images -> images select name, size
images json -> images as json
tags localhost:5000/redis -> tags of localhost:5000/redis
repositories localhost:5000 -> repositories in localhost:5000
layers redis:7 -> layers of redis:7
save redis:7 > out.tar -> save redis:7 to out.tar
load < x.tar -> load x.tar
system df -> usage
prune older than 7d -> prune images where older than 7d
rm tags of localhost:5000/redis older than 30d -> rm tags of localhost:5000/redis where older than 30d
images select repository tag -> images select repository, tag
images where (size > 1MB and tag = 7 -> images where (size > 1MB and tag = 7)
images where size > 1MB order size -> images where size > 1MB order by size
images -f reference=team/* -> images where (path_match(name, "team/*") or path_match(repository, "team/*"))
docker images redis:7 -> images where name = redis:7
docker images --format json -> images as json
docker rmi redis:7 team/app:1 -> rm redis:7, team/app:1
docker pull --platform linux/arm64 redis -> pull redis platform linux/arm64
docker pull -a localhost:5000/redis -> pull all tags of localhost:5000/redis
docker save -o out.tar redis:7 -> save redis:7 to out.tar
docker image load --input x.tar -> load x.tar
docker history redis:7 -> history of redis:7
docker image prune -> prune
image prune --filter label=env=test -> prune images where label.env = test
ps -a -> containers
SELECT DISTINCT repository FROM images -> images group by repository select repository
select tag, count(*) from images where dangling group by tag having max(size) > 1 -> \
images where dangling group by tag having max(size) > 1 select tag, count
select name from images order by size limit 3 offset 1 -> images order by size limit 3 skip 1 select name
delete from images where dangling -> rm images where dangling
images where tag is not null -> images where tag is known
images where (tag = 7 || dangling) && !in_use -> images where (tag = 7 or dangling) and not in_use
images where repository regexp "^team" -> images where repository matches "^team"
rm images where tag like 'pr-%' -> rm images where tag like "pr-*"
rm images where tag is null && size > 1GB -> rm images where tag is unknown and size > 1GB
rm images where dangeling -> rm images where dangling
rm images were dangling -> rm images where dangling
rmm redis:7 -> rm redis:7
prnue -> prune
untga redis:7 -> untag redis:7
rm images where repository = team/app keep newest 3 -> rm images where repository = team/app except newest 3
rm images where dangling and keep the 3 newest -> rm images where dangling except newest 3
rm images where repository = team/app except latest 3 -> rm images where repository = team/app except newest 3
rm images except last 3 per repository -> rm images except newest 3 per repository
rm images except 2 highest versions per repository -> rm images except newest 2 per repository by version
rm images where repository = team/app keep highest 2 by version -> \
rm images where repository = team/app except newest 2 by version
rm images except redis:7 -> rm images where name != redis:7
images except redis:7, team/app:1 -> images where name not in (redis:7, team/app:1)
children of redis:7 -> images where any base where name = redis:7
base of team/app:1 select name -> images where any children where name = team/app:1 select name
largest 3 images -> images order by size desc limit 3
3 newest images where dangling select name -> \
images where dangling order by created desc limit 3 select name
oldest tags of localhost:5000/redis -> tags of localhost:5000/redis order by created
biggest files of redis:7 where path like "/etc/*" -> files of redis:7 where path like "/etc/*" order by size desc
files of redis:7 top 3 by size -> files of redis:7 order by size desc limit 3
differences between redis:7 and redis:latest where kind = file -> differences of redis:7, redis:latest where kind = file
newest 2 files of redis:7 -> files of redis:7 order by mtime desc limit 2
top 5 layers of redis:7 by size -> layers of redis:7 order by size desc limit 5
cat /etc/passwd from redis:7 -> cat redis:7 /etc/passwd
rm dangling images -> rm images where dangling
remove all untagged images older than 1d -> rm images where dangling and older than 1d
rm untagged images where size > 1MB or user = a -> rm images where dangling and (size > 1MB or user = a)
remove all images of repository team/app except latest -> rm images where repository = team/app and tag != latest
rm images of repository team/app -> rm images where repository = team/app
retag redis:7 as redis:stable -> tag redis:7 as redis:stable
mirror localhost:5000/team/app to localhost:5001 -> copy localhost:5000/team/app to localhost:5001
pull redis:7, nginx:1 from localhost:5000 -> pull localhost:5000/redis:7, localhost:5000/nginx:1
tags of localhost:5000/team/* where tag = x -> \
tags of (repositories in localhost:5000 where name like "team/*") where tag = x
compare redis:7 and team/app:1 -> diff redis:7 team/app:1
what changed between redis:7 and team/app:1 -> diff redis:7 team/app:1
how much space would rm images where dangling free -> reclaim of (images where dangling)
reclaim of images where dangling -> reclaim of (images where dangling)
total size of images where dangling -> images where dangling select sum(size)
count images per registry -> images group by registry select registry, count
images per repository -> images group by repository select repository, count
images by size -> images order by size desc
images by name -> images order by name
layers shared by redis:7 and team/app:1 -> layers of redis:7 intersect layers of team/app:1 by digest
packages of redis:7 not in packages of team/app:1 -> \
packages of redis:7 except packages of team/app:1 by name, version
files of redis:7 that are not in team/app:1 -> files of redis:7 except files of team/app:1 by path
images in docker but not in podman -> images in docker except images in podman by name
digest of redis:7 -> images where name = redis:7 select digest
labels of redis -> images where repository = redis select label
images whose tag is latest -> images where tag = latest
files in redis:7 where size > 1kB -> files of redis:7 where size > 1kB
files of redis:7 bigger than 1kB -> files of redis:7 where size > 1kB
containers using image redis:7 -> containers of redis:7
containers where image.tag = latest -> containers of (images where tag = latest)
containers whose image is older than 90d -> containers of (images where older than 90d)
containers whose image is outdated -> containers join images as i on i.name = image where i.id != .image_id
containers mounting /var/run/docker.sock -> containers where any mounts where source = /var/run/docker.sock
images without a tag -> images where dangling
images with no containers -> images where no containers
images with label env=prod -> images where label.env = prod
images that have label env -> images where has label env
images containing file /bin/sh -> images where contains file /bin/sh
images which contain package openssl -> images where contains package openssl
images sharing layers with redis:7 -> images where shares layers with redis:7
images not shared with others -> images where shared_size = 0
images where base is redis:7 -> images where based on redis:7
images built from redis:7 -> images where based on redis:7
images where exposes port 8080 -> images where ports has 8080
images exposing 8080/tcp and dangling -> images where ports has 8080/tcp and dangling
images where not pulled in the last 30 days -> images where pulled_at < 30 days ago
images where used within the past 2 weeks -> images where last_used > 2 weeks ago
images where pulled more than 30 days ago -> images where pulled_at < 30 days ago
images where created today and dangling -> images where created > today and dangling
images where created yesterday -> images where created between yesterday and today
images where created this week -> images where created within 7d
images order by created offset 10 limit 10 -> images order by created skip 10 limit 10
images output csv -> images as csv
images bigger than 100MB -> images where size > 100MB
images where label.env exists -> images where label.env is known
images where label env is prod -> images where label.env = prod
images where entrypoint is empty -> images where entrypoint is unknown
images without a healthcheck -> images where healthcheck is unknown
images where age > 30d and dangling -> images where older than 30d and dangling
images newer than redis:7 -> images where created after redis:7
images running as root -> images where user in (root, 0, "")
images for arm64 -> images where architecture = arm64
images for platform linux/arm64 -> images where platform = linux/arm64
first 5 images -> images limit 5
last 5 tags of localhost:5000/app -> tags of localhost:5000/app order by created desc limit 5
newest image of team/app -> images where repository = team/app order by created desc limit 1
smallest image -> images order by size limit 1
latest tag of localhost:5000/app -> tags of localhost:5000/app order by created desc limit 1
how many images -> images count
how many images per repository -> images group by repository select repository, count
images count by repository -> images group by repository select repository, count
disk usage -> usage
what is in redis:7 -> files of redis:7
find files named id_rsa in redis:7 -> files of redis:7 where name = id_rsa
version of openssl in redis:7 -> packages of redis:7 where name = openssl select name, version
licenses of redis:7 -> packages of redis:7 select name, license
when was redis:7 created -> images where name = redis:7 select name, created
describe redis:7 -> inspect redis:7
who uses redis:7 -> containers of redis:7
running containers -> containers where status = running
containers that are not running -> containers where status != running
containers that are unhealthy -> containers where health = unhealthy
list stopped containers older than 1d -> containers where status = exited and older than 1d
unhealthy containers -> containers where health = unhealthy
containers where uptime > 1d -> containers where started < 1d ago
containers on port 80 -> containers where ports has 80
rm exited containers older than 1d -> rm containers where status = exited and older than 1d
rm containers that are exited -> rm containers where status = exited
stop running containers where image = a or name = b -> \
stop containers where status = running and (image = a or name = b)
logs of web grep error -> logs of web where text like "*error*"
logs of web last 100 lines -> logs of web order by time desc limit 100
logs of web since 10m -> logs of web where time > 10m ago
diff redis:7 vs redis:latest -> diff redis:7 redis:latest
restore backup.tar -> load backup.tar
rename redis:7 to redis:old -> tag redis:7 as redis:old
copy all images from docker to store -> copy all images in docker to store
rm redis:7 older than 30d -> rm images where name = redis:7 and older than 30d
rm redis:7 not in use -> rm images where name = redis:7 and not in use
rm redis:7 if dangling or older than 3d -> rm images where name = redis:7 and (dangling or older than 3d)
rm redis:7 where dangling -> rm images where name = redis:7 and dangling
rm images older than 30d except latest -> rm images where older than 30d and tag != latest
rm images tagged pr-* -> rm images where tag like pr-*
remove images of repository redis except newest 3 -> rm images where repository = redis except newest 3
delete tag redis:7 -> untag redis:7
rm tag old of localhost:5000/app -> rm tags of localhost:5000/app where tag = old
clean up dangling images -> rm images where dangling
images where size > 1MB and where tag = latest -> images where size > 1MB and tag = latest
images where tag = latest, size > 1MB -> images where tag = latest and size > 1MB
images where in use = no -> images where not in use
images where last used < 30d ago -> images where last_used < 30d ago
images where size > avg(size) -> images where size > (images select avg(size))
images group by repository where count > 3 -> images group by repository having count > 3
images | grep redis -> images where name like "*redis*"
images into out.csv -> images to out.csv
duplicate images -> images group by id having count > 1 select id, count, list(name)
images with multiple tags -> images group by id having count > 1 select id, count, list(name)
unique repositories of images -> images group by repository select repository
images where any layer > 100MB -> images where any layers where size > 100MB
images where largest layer > 100MB -> images where any layers where size > 100MB
images where biggest file > 100MB -> images where any files where size > 100MB
images where history contains "curl" -> images where any history where created_by like "*curl*"
images where file /etc/shadow exists -> images where contains file /etc/shadow
images where contains /etc/shadow -> images where contains file /etc/shadow
images where has package openssl < 3 -> images where any packages where name = openssl and version < 3
containers where exit code != 0 -> containers where exit_code != 0
containers where memory > 1GB -> containers where memory_limit > 1GB
containers where state = exited -> containers where status = exited
containers where status exited -> containers where status = exited
containers where network = host -> containers where network_mode = host
containers where compose project = shop -> containers where label."com.docker.compose.project" = shop
containers where image is dangling -> containers of (images where dangling)
containers exited with 137 -> containers where exit_code = 137
containers where oom killed -> containers where oom_killed
containers where mounts contain /data -> containers where any mounts where target = /data
copy redis:7 as localhost:5000/redis:7 -> copy redis:7 to localhost:5000/redis:7
copy redis:7 localhost:5000/redis:7 -> copy redis:7 to localhost:5000/redis:7
images where tag equals latest -> images where tag = latest
images where size greater than 100MB -> images where size > 100MB
images where size is at least 1GB -> images where size >= 1GB
images with more than 10 layers -> images where layer_count > 10
images where number of layers > 10 -> images where layer_count > 10
images that have containers -> images where any containers
images used by container web -> images where any containers where name = web
images not used by any container -> images where not in use
images in use -> images where in use
unused images older than 30d or dangling -> images where not in use and (older than 30d or dangling)
images pulled before 2024 -> images where pulled_at before 2024
images pulled in the last week -> images where pulled_at > 7d ago
images created over 90 days ago -> images where created < 90 days ago
images older than 90 days not in use -> images where older than 90 days and not in use
images where older than 90d but not in use -> images where older than 90d and not in use
images missing label env -> images where not has label env
images where label env is missing -> images where label.env is unknown
images labelled env=prod -> images where label.env = prod
images tagged latest -> images where tag = latest
images named redis -> images where repository = redis
images matching "redis*" -> images where name like "redis*"
images from registry localhost:5000 -> images where registry = localhost:5000
images from docker.io -> images where registry = docker.io
images in repository redis -> images where repository = redis
latest version of localhost:5000/redis -> tags of localhost:5000/redis order by version desc limit 1
tags of localhost:5000/redis like 7.* -> tags of localhost:5000/redis where tag like 7.*
repos in localhost:5000 -> repositories in localhost:5000
dockerfile of redis:7 -> history of redis:7 select created_by
history of redis:7 without empty layers -> history of redis:7 where not empty
layers of redis:7 by size -> layers of redis:7 order by size desc
biggest layer of redis:7 -> layers of redis:7 order by size desc limit 1
top 5 files in redis:7 -> files of redis:7 order by size desc limit 5
files of redis:7 with setuid -> files of redis:7 where setuid
files of redis:7 ending with .py -> files of redis:7 where path like "*.py"
files of redis:7 under /etc -> files of redis:7 where path like "/etc/*"
cat redis:7:/etc/passwd -> cat redis:7 /etc/passwd
distro of redis:7 -> os_releases of redis:7
packages of redis:7 named openssl -> packages of redis:7 where name = openssl
images with package openssl older than 3.0.14 -> \
images where any packages where name = openssl and version < 3.0.14
"""


WORDS = sorted({word for line in SUGGESTIONS.split("\n") for word in line.split()})


def get_error(session: Session, text: str) -> StatementError:
    with pytest.raises(StatementError) as refused:
        for _ in session.run(text, dry_run=True):
            pass
    return refused.value


@pytest.mark.parametrize("line", SUGGESTIONS.strip().splitlines())
def test_a_wrong_statement_gets_the_expected_suggestion(session: Session, line: str) -> None:
    said, _, meant = line.partition(" -> ")
    error = get_error(session, said)
    assert error.suggestion == meant
    assert f" did you mean: {meant}" in " ".join(format_error(error).split())
    try:
        for _ in session.run(meant, dry_run=True):
            pass
    except StatementError:
        raise
    except ImqError:
        pass  # the sentence is right; it is about something that is not here


def test_a_file_of_an_image_is_extracted_by_its_path(session: Session) -> None:
    error = get_error(session, "extract /etc/passwd from redis:7 to out")
    assert error.suggestion == "extract files of redis:7 where path = /etc/passwd to out"


def test_help_fits_a_terminal() -> None:
    for topic in ("", *list_topics()):
        for line in format_help(tuple(topic.split())).splitlines():
            assert display_width(line) <= 80, (topic, line)


@pytest.mark.parametrize(
    "said",
    [
        "images where",
        "show images where tag = '\x1b[31m'",  # nothing is shown that a terminal would obey
        "images where tag = latest and",
        "run",
        "build .",
        "images as nonsense",
        "images where nonsense(tag) = 1",
        "rm images",  # which ones, nobody can know
        "images where " + "tag = 1 or " * 500,
        "(((((((( images",
        "\ue0000\ue001 \ue002x\ue003",
        "show images",
        "rm tags of localhost:5000/team/* where tag = x",
        "rm redis:7 unless in use",  # where that is unknown, `not` would hold
        "rm redis:7 except newest 2",
        "rm redis older than 30d",
        "remove unused",
        "images where created 3 days ago",
        "images where created < 30d",  # both readings are shown
        "rm images where created < 30d",
        "rm *",
        "rm **",
        "rm team/*",  # whether a pattern crosses slashes, only a condition says
        "rmi team/*",
        "rm all",
        "delete from images",
        "remove images",
        "delete unused images older than 30 days",
        "rn images where dangling",
        "mr redis:7",
        "em images where dangling",
        "zzz redis:7",
        "keep 3 images per repository",
        "rm images where (dangling and tag = latest",  # where it closes, nobody can know
        "rm images where tag latest",
        "rm images where not tag is not latest",
        "rm images where repository != team/*",
        "rm images where !dangling = in_use",
        "docker rm redis:7",  # a container
        "podman rm -f redis:7",
        "docker container rm redis:7",
        "docker container prune",
        "docker volume prune",
        "rmi -a",
        "rmi --all redis:7",
    ],
)
def test_unrecognized_statements_get_no_suggestion(session: Session, said: str) -> None:
    assert get_error(session, said).suggestion == ""


def test_a_statement_is_no_suggestion_for_itself(session: Session) -> None:
    """The refusal is of what the statement means: other blanks do not mend it."""
    for text in ('rm images in "missing.tar"  where  size > 1', 'rm images in "missing.tar" where size > 1'):
        with pytest.raises(StatementError, match="rm does not change") as caught:
            next(iter(session.run(text, dry_run=True)))
        assert caught.value.suggestion == ""


@given(st.lists(st.sampled_from(WORDS), max_size=30), st.sampled_from([" ", ", ", ""]))
@tried(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_suggestions_for_any_words_are_fast(session: Session, words: list[str], joint: str) -> None:
    with deadline():
        try:
            for _ in session.run(f"show {joint.join(words)}", dry_run=True):
                pass
        except ImqError as error:
            format_error(error)


SAFE = (
    "dangling",
    "not dangling",
    "tag = latest",
    "tag != latest",
    "tag is unknown",
    "tag is known",
    'repository like "team/*"',
    'not repository like "team/*"',
    "repository matches redis",
    "tag in (latest, 7)",
    "tag not in (latest, 7)",
    "size > 1MB",
    "size >= 1MB",
    "older than 30d",
    "newer than 30d",
    "created < 30d ago",
    "label.env = prod",
    "not label.env = prod",
    "has label env",
)
"""Conditions that are rewritten incorrectly below. The intended condition and its rows are known."""
SLIPS: tuple[tuple[str, str], ...] = (
    (" is unknown", " is null"), (" is known", " is not null"), (" is unknown", " is nul"), (" = ", " is "),
    (" >= ", " => "), (" and ", " && "), (" or ", " || "), (" matches ", " =~ "), (" matches ", " rlike "),
    ("in (latest, 7)", "in [latest, 7]"), ("in (latest, 7)", "in latest, 7"), ("label.env = ", "label = env="),
    ('"team/*"', "'team/%'"), ("images where ", "images "), (" where ", " were "), ("rm images ", "delete images "),
    ("rm images ", "delete from images "), ("dangling", "danglign"), ("repository", "repositroy"), ("size", "sizze"),
    ("created", "createdd"), ("older", "oldre"), ("newer", "newwer"), (" != ", " is not "), ("not ", "!"),
    ("not ", "nto "), (" = ", " "), (" = ", " == "), ("30d ago", "30d"), ("rm ", "rmm "), ("label", "lable"),
    ("known", "knwon"), ("(", ""), (")", ""), ("latest", "latest or"),
)  # fmt: skip
"""Mistakes: the syntax of SQL or docker, a typo, an omission."""


def select_removed(session: Session, statement: str) -> set[tuple[object, ...]]:
    """Return the names and IDs that a removal would remove."""
    assert statement.startswith("rm images where ")
    question = f"{statement.removeprefix('rm ')} select name, id"
    return {tuple(row) for result in session.run(question) if isinstance(result, RowSet) for row in result.rows}


def check_suggestion(session: Session, wrong: str, right: str) -> bool:
    """Check that a suggestion removes no more than the right statement; return whether there is a suggestion."""
    error = find_error(session, wrong)
    if error is None or not error.suggestion:
        return False
    assert select_removed(session, error.suggestion) <= select_removed(session, right), (wrong, error.suggestion)
    return True


@given(
    st.lists(st.sampled_from(SAFE), min_size=1, max_size=3),
    st.lists(st.sampled_from([" and ", " or ", " and not ", " or not "]), min_size=2, max_size=2),
    st.lists(st.sampled_from(SLIPS), min_size=1, max_size=3),
)
@tried(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_suggestion_removes_no_more_than_intended(
    session: Session, conditions: list[str], joints: list[str], slips: list[tuple[str, str]]
) -> None:
    condition = conditions[0] + "".join(f"{joint}{one}" for joint, one in zip(joints, conditions[1:], strict=False))
    right = f"rm images where {condition.replace('not not ', 'not ')}"
    wrong = right
    for good, bad in slips:
        wrong = wrong.replace(good, bad, 1)
    check_suggestion(session, wrong, right)


@pytest.mark.parametrize("word", ["unknwon", "knwon", "nul", "none"])
def test_a_misspelled_unknown_is_not_taken_for_a_value(session: Session, word: str) -> None:
    """Within `not`, a comparison with that value would hold for every unknown tag."""
    error = find_error(session, f"rm images where dangling and not tag is {word}")
    assert error is not None
    assert "=" not in error.suggestion


def test_each_mistake_alone_gets_a_suggestion(session: Session) -> None:
    proposed = 0
    for condition in SAFE:
        right = f"rm images where {condition}"
        proposed += sum(check_suggestion(session, right.replace(*slip, 1), right) for slip in SLIPS)
    assert proposed > len(SAFE)


def test_all_destructive_verbs_are_declared() -> None:
    assert {name for name, verb in VERBS.items() if verb.needs_confirmation} <= REMOVING
    assert set(VERBS) >= REMOVING


@pytest.mark.parametrize("verb", sorted(REMOVING))
def test_a_typo_of_a_harmless_word_suggests_no_destructive_verb(session: Session, verb: str) -> None:
    harmless = [*dict(ABSENT), *(set(VERBS) - REMOVING), *TABLES, "ls", "ps", "cp", "df", "du", "top", "tags", "in"]
    for word in harmless:
        error = find_error(session, f"{word} redis:7")
        assert error is None or not error.suggestion.startswith(verb), (word, error.suggestion)


def find_error(session: Session, text: str) -> StatementError | None:
    try:
        for _ in session.run(text, dry_run=True):
            pass
    except StatementError as error:
        return error
    except ImqError:
        pass
    return None


def test_only_the_wrong_statement_of_a_script_is_replaced(session: Session) -> None:
    error = get_error(session, "let x = 1; images wher size > 1MB\nimages count")
    assert error.suggestion == "images where size > 1MB"


def test_a_suggestion_keeps_arguments_with_spaces(session: Session) -> None:
    text = "images where name =~ a b"
    with pytest.raises(StatementError) as refused:
        list(session.run(text, atoms={text.index("a b"): len(text)}))
    assert refused.value.suggestion == 'images where name matches "a b"'
