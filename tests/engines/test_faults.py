"""Engines that fail, documents that are odd, and images that go: rows have problems, and nothing unsure is removed."""

from __future__ import annotations

import contextlib
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from imq.engine.docker_engine.client import EngineClient
from imq.engine.sources.docker.image_documents import list_names, list_steps, read_details
from imq.engine.sources.docker.podman_documents import convert_history, merge_containers, read_command
from imq.grammar.errors import EngineError, ImqError
from support.engines import http_answer
from support.scripted_session import A, B, C, Script, answer, container, image, inspected
from support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Start = Callable[..., Script]

FAILURE = http_answer(b'{"message":"the disk is full"}', status="500 Internal Server Error")
GONE = http_answer(b'{"message":"No such image: it"}', status="404 Not Found")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start scripted engines: the documents, or responses, by parts of request lines."""
    scripts: list[Script] = []

    def make(answers: Mapping[str, Any]) -> Script:
        made = {part: one if isinstance(one, bytes) else answer(one) for part, one in answers.items()}
        scripts.append(Script(tmp_path / f"script{len(scripts)}", made))
        return scripts[-1]

    yield make
    for script in scripts:
        script.close()


class TestSeveralEngines:
    def test_one_cannot_list_its_images(self, start: Start) -> None:
        good, bad = start({"images/json": [image(A, "a:1")]}), start({"images/json": FAILURE})
        result = good.ask(f'images in docker, "{bad.address}" select name, source')
        assert result.rows == [{"name": "a:1", "source": "docker"}]
        assert result.exit_code == 3
        (error,) = result.errors
        assert "the disk is full" in error.message
        assert bad.address in error.message

    def test_one_cannot_list_its_containers(self, start: Start) -> None:
        good = start({"images/json": [image(A, "a:1")], "containers/json": []})
        bad = start({"images/json": [image(B, "b:1")], "containers/json": FAILURE})
        for condition in ("not in use", "containers = 0", "last_used is unknown", "in use or not in use"):
            result = good.ask(f'images in docker, "{bad.address}" where {condition} select name')
            assert result.column("name") == ["a:1"], condition
            assert result.exit_code == 3

    @pytest.mark.parametrize("condition", ["no containers", "any containers", "count(containers) = 0"])
    def test_rows_that_a_condition_looks_up_are_all_there_or_an_error(self, start: Start, condition: str) -> None:
        good = start({"images/json": [image(A, "a:1")], "containers/json": []})
        bad = start({"images/json": [image(B, "b:1")], "containers/json": FAILURE})
        for statement in ("images in {} where {}", "rm images in {} where {}"):
            with pytest.raises(EngineError, match="the disk is full"):
                good.ask(statement.format(f'docker, "{bad.address}"', condition))
        assert good.removals == bad.removals == []

    def test_a_removal_leaves_the_images_of_the_one_that_failed(self, start: Start) -> None:
        good = start(
            {
                "DELETE": [{"Deleted": A}],
                "images/json": [image(A, "a:1")],
                "images/sha": inspected(A, "a:1"),
                "containers/json": [],
            }
        )
        bad = start({"images/json": [image(B, "b:1")], "containers/json": FAILURE})
        result = good.ask(f'rm images in docker, "{bad.address}" where not in use as json')
        assert [(row["action"], row["target"]) for row in result.rows if not row["error"]] == [("remove", "a:1")]
        assert len(good.removals) == 1
        assert bad.removals == []
        assert result.exit_code != 0

    def test_the_only_one_that_fails_is_an_error(self, start: Start) -> None:
        bad = start({"images/json": [image(B, "b:1")], "containers/json": FAILURE})
        with pytest.raises(EngineError, match="the disk is full"):
            bad.ask("images in docker where not in use")
        with pytest.raises(EngineError, match="the disk is full"):
            bad.ask("rm images in docker where not in use")
        assert bad.removals == []

    def test_a_list_of_used_images_is_whole_or_an_error(self, start: Start) -> None:
        good = start({"images/json": [image(A, "a:1")], "containers/json": []})
        bad = start({"images/json": [image(A, "a:1")], "containers/json": FAILURE})
        for inner in ("containers in {} select image_id", "images in {} where in use"):
            where = inner.format(f'docker, "{bad.address}"')
            with pytest.raises(EngineError):
                good.ask(f"rm images in docker where id not in ({where})")
        assert good.removals == []

    def test_groups_by_source_keep_the_others(self, start: Start) -> None:
        good, bad = start({"images/json": [image(A, "a:1"), image(B, "b:1")]}), start({"images/json": FAILURE})
        result = good.ask(f'images in docker, "{bad.address}" group by source select source, count as n')
        assert result.rows == [{"source": "docker", "n": 2}]
        assert result.exit_code == 3


class TestHanging:
    """An engine that did not respond once is not waited for again in the same statement."""

    @pytest.fixture(autouse=True)
    def short_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(EngineClient.__init__.__kwdefaults__, "timeout", 0.3)

    def test_each_removal_fails_but_only_the_first_one_waits(self, start: Start) -> None:
        ids = [f"sha256:{number:064x}" for number in range(50)]
        script = start(
            {
                "images/json": [image(id_, f"a:{number}") for number, id_ in enumerate(ids)],
                "containers/json": [],
            }
        )
        script.engine.answer("images/sha")  # nothing comes
        with deadline(8):
            result = script.ask("rm images in docker where name like a* as json")
        assert {row["error"] for row in result.rows} == {"engine-timeout"}
        assert (len(result.rows), result.exit_code) == (50, 3)
        assert len(script.requests("images/sha")) == 1
        assert script.removals == []

    def test_the_next_statement_asks_it_again(self, start: Start) -> None:
        script = start({"images/json": [image(A, "a:1")], "containers/json": []})
        script.engine.answer("images/sha")
        for number in (1, 2):
            rows = script.ask("images in docker select name, user, problem").rows
            assert "did not respond within 0.3 seconds" in rows[0]["problem"]
            assert len(script.requests("images/sha")) == number

    def test_the_engine_beside_it_is_not_affected(self, start: Start) -> None:
        good = start(
            {
                "DELETE": [{"Deleted": A}],
                "images/json": [image(A, "a:1")],
                "images/sha": inspected(A, "a:1"),
                "containers/json": [],
            }
        )
        bad = start({"images/json": [image(B, "b:1"), image(C, "c:1")], "containers/json": []})
        bad.engine.answer("images/sha")
        result = good.ask(f'rm images in docker, "{bad.address}" where not in use as json')
        assert [row["target"] for row in result.rows if not row["error"]] == ["a:1"]
        assert [row["error"] for row in result.rows if row["error"]] == ["engine-timeout"] * 2
        assert len(bad.requests("images/sha")) == 1
        assert result.exit_code == 3, "1 is for items that failed in an engine that responds"

    def test_an_item_that_fails_in_an_engine_that_responds(self, start: Start) -> None:
        script = start(
            {
                "DELETE": FAILURE,
                "images/json": [image(A, "a:1"), image(B, "b:1", "b:2")],
                f"images/{A}": inspected(A, "a:1"),
                f"images/{B}": inspected(B, "b:1"),
                "containers/json": [],
            }
        )
        result = script.ask("untag b:1 from docker as json")
        assert (result.exit_code, {row["error"] for row in result.rows}) == (3, {"changed"})
        script.engine.answer("DELETE", answer([{"Deleted": A}]))
        result = script.ask("rm a:1, b:1 from docker as json")
        assert sorted(str(row["error"]) for row in result.rows) == ["None", "changed"]
        assert result.exit_code == 1


class TestVanishing:
    def test_between_the_listing_and_the_inspection(self, start: Start) -> None:
        script = start(
            {
                "images/json": [image(A, "a:1"), image(B, "b:1")],
                f"images/{A}/json": GONE,
                f"images/{B}/json": inspected(B, "b:1", Config={"User": "app"}),
            }
        )
        result = script.ask("images in docker order by name select name, user, problem")
        assert [(row["name"], row["user"]) for row in result.rows] == [("a:1", None), ("b:1", "app")]
        assert "No such image" in result.rows[0]["problem"]
        assert result.exit_code == 3

    @pytest.mark.parametrize("condition", ["user is unknown", "not user = root", "env.A is unknown or tag = 1"])
    def test_a_row_with_a_problem_is_not_removed(self, start: Start, condition: str) -> None:
        script = start({"images/json": [image(A, "a:1")], f"images/{A}/json": GONE, "containers/json": []})
        result = script.ask(f"rm images in docker where {condition} as json")
        assert [row["target"] for row in result.rows if row["error"]] == ["a:1"]
        assert script.removals == []
        assert result.exit_code != 0

    def test_a_container_that_goes_before_it_is_inspected(self, start: Start) -> None:
        script = start(
            {
                "images/json": [image(A, "a:1")],
                "containers/json": [container(A, Created=1_700_000_000)],
                "containers/1": GONE,
            }
        )
        result = script.ask("images in docker select last_used")
        assert result.column("last_used") == ["2023-11-14T22:13:20Z"]
        result = script.ask("containers in docker select name, exit_code, problem")
        assert result.rows[0]["name"] == "web"
        assert "No such" in result.rows[0]["problem"]
        assert result.exit_code == 3

    def test_a_container_that_cannot_be_inspected_leaves_the_last_use_open(self, start: Start) -> None:
        script = start({"images/json": [image(A, "a:1")], "containers/json": [container(A)], "containers/1": FAILURE})
        result = script.ask("rm images in docker where last_used is unknown as json")
        assert [row["target"] for row in result.rows if row["error"]] == ["a:1"]
        assert script.removals == []

    def test_history_of_a_vanished_image(self, start: Start) -> None:
        script = start({"images/json": [image(A, "a:1")], "history": GONE, f"images/{A}/json": inspected(A, "a:1")})
        result = script.ask("history in docker")
        assert result.rows == []
        assert result.exit_code == 3


class TestOddDocuments:
    @pytest.mark.parametrize("image_id", [None, 7, [], {}, "no ID", "sha256:short"])
    def test_a_container_of_unknown_image_could_use_any(self, start: Start, image_id: object) -> None:
        script = start({"images/json": [image(A, "a:1")], "containers/json": [container(image_id)]})
        with pytest.raises(EngineError) as error:
            script.ask("rm images in docker where not in use")
        assert error.value.code == "engine-protocol"
        assert script.removals == []

    @pytest.mark.parametrize("none", ["", "sha256:"])
    def test_a_container_without_an_image(self, start: Start, none: str) -> None:
        script = start({"images/json": [image(A, "a:1")], "containers/json": [container(none)]})
        assert script.ask("images in docker where in use").rows == []
        assert script.ask("containers in docker select name, image_id").rows == [{"name": "web", "image_id": None}]

    def test_ids_without_their_algorithm(self, start: Start) -> None:
        script = start({"images/json": [image(A[7:], "a:1")], "containers/json": [container(A[7:])]})
        assert script.ask("images in docker select id, in_use").rows == [{"id": A, "in_use": True}]

    @pytest.mark.parametrize("listing", [{}, "text", 7, True, {"Images": []}])
    @pytest.mark.parametrize("path", ["images/json", "containers/json"])
    def test_a_listing_that_is_none(self, start: Start, path: str, listing: object) -> None:
        answers: dict[str, Any] = {"images/json": [image(A, "a:1")], "containers/json": [], path: listing}
        script = start(answers)
        with pytest.raises(EngineError) as error:
            script.ask("images in docker where in use")
        assert error.value.code == "engine-protocol"

    @pytest.mark.parametrize("id_", [None, 7, "", "sha256:x", ["a"]])
    def test_an_image_without_an_id(self, start: Start, id_: object) -> None:
        script = start({"images/json": [image(A, "a:1"), image(id_)]})  # type: ignore[arg-type] # that is the fault
        with pytest.raises(EngineError) as error:
            script.ask("images in docker")
        assert error.value.code == "engine-protocol"

    def test_no_images(self, start: Start) -> None:
        script = start({"images/json": [], "containers/json": [], "system/df": {}})
        for table in ("images", "layers", "history", "containers", "build_cache"):
            result = script.ask(f"{table} in docker")
            assert (result.rows, result.exit_code) == ([], 0), table
        assert {row["total"] for row in script.ask("usage in docker").rows} == {0}
        assert script.ask("rm images in docker where not in use").rows == []
        assert script.ask("prune from docker").rows == []

    def test_null_is_an_empty_list(self, start: Start) -> None:
        script = start({"images/json": None, "containers/json": None})
        assert script.ask("images in docker where not in use").rows == []

    @pytest.mark.parametrize(
        ("tags", "digests", "names"),
        [
            (["<none>:<none>"], ["<none>@<none>"], [None]),
            (None, None, [None]),
            ([], [f"a@{B}"], [f"a@{B}"]),
            (["a:1", "a:1"], [f"a@{B}", f"a@{C}"], ["a:1"]),
            (["a:<none>"], ["a@nothing"], [None]),
            (["", 7, None, "a:1"], [7, None, "", "@", "a@"], ["a:1"]),
            (["Upper/Case:1"], [], ["Upper/Case:1"]),
            (["a:1", f"a@{B}"], [f"a@{B}"], ["a:1"]),
            ([f"a@{B}"], [f"a@{B}"], [f"a@{B}"]),
            (["\ud800:1"], [], ["?:1"]),
            (["a" * 300 + ":1"], [], ["a" * 300 + ":1"]),
        ],
    )
    def test_odd_names(self, start: Start, tags: object, digests: object, names: list[str | None]) -> None:
        script = start({"images/json": [image(A, RepoTags=tags, RepoDigests=digests)]})
        result = script.ask("images in docker select name, dangling")
        assert result.column("name") == names
        assert {row["dangling"] for row in result.rows} == {names[0] is None or "@" in names[0]}

    @pytest.mark.parametrize("layers", [["nothing"], ["sha256:x"], ["md5:abc"]])
    def test_layers_that_are_no_digests(self, start: Start, layers: list[str]) -> None:
        script = start(
            {
                "images/json": [image(A, "a:1")],
                "history": [],
                f"images/{A}/json": inspected(A, "a:1", RootFS={"Layers": layers}),
                "containers/json": [],
            }
        )
        result = script.ask("images in docker select name, layer_count, problem")
        assert result.rows[0]["problem"]
        assert result.exit_code == 3
        for table in ("layers", "history"):
            result = script.ask(f"{table} in docker")
            assert (result.rows, result.exit_code) == ([], 3)
        assert script.ask("rm images in docker where layer_count is unknown as json").rows[0]["error"]
        assert script.removals == []

    def test_numbers_out_of_range(self, start: Start) -> None:
        changes = {"Created": 10**30, "Size": 2**80}
        script = start({"images/json": [image(A, "a:1", **changes), image(B, "b:1", Created=True, Size=-1)]})
        result = script.ask("images in docker select created, size")
        assert {value for row in result.rows for value in row.values()} == {None}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
IMAGE_KEYS = ("RepoTags", "RepoDigests", "Created", "Size", "Labels", "Config", "RootFS", "Metadata", "Os", "Author")
CONFIG_KEYS = ("Env", "Cmd", "Entrypoint", "ExposedPorts", "Volumes", "Healthcheck", "Labels", "User", "StopSignal")
LISTED_KEYS = (
    "Names", "Image", "Command", "Created", "Ports", "Labels", "State", "Mounts", "NetworkSettings", "HostConfig",
)  # fmt: skip
STATE_KEYS = ("Status", "Running", "OOMKilled", "ExitCode", "StartedAt", "FinishedAt", "Health")
HOST_KEYS = ("Memory", "NanoCpus", "CpuQuota", "CpuPeriod", "Privileged", "PidMode", "RestartPolicy", "VolumesFrom")
STEP_KEYS = ("Created", "CreatedBy", "Size", "Comment", "EmptyLayer")


def odd(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Make objects in which values of some keys are anything."""
    return st.dictionaries(st.sampled_from(keys), VALUES, max_size=4)


SOME = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class TestAnyDocument:
    @SOME
    @given(odd((*IMAGE_KEYS, "Digest")), st.lists(st.text(max_size=8)), st.lists(st.text(max_size=8)))
    def test_names(self, document: dict[str, Any], tags: list[str], digests: list[str]) -> None:
        assert list(list_names(document))
        assert list(list_names({**document, "RepoTags": tags, "RepoDigests": digests}))

    @SOME
    @given(odd(IMAGE_KEYS), odd(CONFIG_KEYS))
    def test_details_are_values_or_an_error(self, document: dict[str, Any], config: dict[str, Any]) -> None:
        try:
            values = read_details({"Config": config, **document})
        except ImqError:
            return
        assert all(value is None or isinstance(value, str | int) for value in values)

    @SOME
    @given(st.lists(odd(STEP_KEYS), max_size=4), st.integers(0, 4))
    def test_each_layer_has_one_step_or_none_has(self, steps: list[dict[str, Any]], count: int) -> None:
        positions = [position for _, position in list_steps(steps, count) if position is not None]
        assert positions in ([], list(range(count)))

    @SOME
    @given(odd(("Path", "Args", "Config", "History", "PodName", "State", "Names", "Id", "ImageID", "Created")))
    def test_podman(self, document: dict[str, Any]) -> None:
        assert isinstance(read_command(document), list)
        assert isinstance(convert_history(document), list)
        assert len(merge_containers([{"Id": "1"}], [{**document, "Id": "2", "State": "storage"}])) == 2

    @settings(SOME, max_examples=12)
    @given(data=st.data())
    def test_statements_end_with_rows_or_an_error(
        self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        detail = inspected(A, "a:1", **data.draw(odd(IMAGE_KEYS)))
        state = {"State": data.draw(odd(STATE_KEYS)), "HostConfig": data.draw(odd(HOST_KEYS)), "Config": {}}
        usage = {key: data.draw(VALUES) for key in ("Images", "Containers", "Volumes", "BuildCache", "LayersSize")}
        answers = {
            "images/json": [image(A, **data.draw(odd(IMAGE_KEYS)))],
            "history": [data.draw(odd(STEP_KEYS))],
            f"images/{A}/json": detail,
            "containers/json": [container(A, **data.draw(odd(LISTED_KEYS)))],
            "containers/1": state,
            "system/df": usage,
        }
        made = {part: answer(document) for part, document in answers.items()}
        script = Script(tmp_path_factory.mktemp("odd") / "script", made)
        try:
            for table in ("images", "layers", "history", "containers", "usage", "build_cache"):
                with contextlib.suppress(ImqError):
                    script.ask(f"{table} in docker select * as json")
            assert script.removals == []
        finally:
            script.close()


class TestOddAnswersToActions:
    """The plan is made of good answers, and the engine is asked again before each action."""

    ODD = (None, [], {}, 7, "text", [7], [None], {"Id": 7}, {"State": 7}, {"State": {}})

    @pytest.mark.parametrize(
        "statement",
        [
            "rm a:1 from docker",
            "untag a:1 from docker",
            "rm images in docker where not in use",
            "tag a:1 as b:1 from docker",
        ],
    )
    @pytest.mark.parametrize("odd", ODD, ids=repr)
    def test_an_inspected_image(self, start: Start, statement: str, odd: object) -> None:
        script = start(
            {
                "DELETE": [],
                "images/json": [image(A, "a:1", "a:2"), image(B, "b:1")],
                "/json": odd,
                "containers": [],
            }
        )
        script.engine.answer("containers/json", answer([]))
        result = script.ask(f"{statement} as json")
        assert all(row["error"] for row in result.rows)
        assert script.removals == script.requests("POST") == []

    @pytest.mark.parametrize("odd", [7, "text", {}, [7], [None], [{}], [{"ImageID": 7}]], ids=repr)
    def test_a_listing_of_containers(self, start: Start, odd: object) -> None:
        script = start({"DELETE": [], "images/json": [image(A, "a:1")], f"{A}/json": inspected(A, "a:1")})
        script.engine.answer("containers/json", answer([]), answer(odd))
        result = script.ask("rm a:1 from docker as json")
        assert [row["error"] for row in result.rows] == ["engine-protocol"]
        assert script.removals == []

    @pytest.mark.parametrize("odd", ODD, ids=repr)
    @pytest.mark.parametrize("force", ["", " force"])
    def test_an_inspected_container(self, start: Start, odd: object, force: str) -> None:
        script = start({"DELETE": [], "containers/json": [container(A)], "containers/1": odd})
        result = script.ask(f"rm containers in docker where status = exited{force} as json")
        assert [row["error"] for row in result.rows] == ["engine-protocol"]
        assert script.removals == []

    @pytest.mark.parametrize("odd", [[None], [7], [[]]], ids=repr)
    def test_a_listing_with_something_else_in_it(self, start: Start, odd: object) -> None:
        script = start({"images/json": [image(A, "a:1")], "containers/json": odd})
        with pytest.raises(EngineError) as error:
            script.ask("rm images in docker where not in use")
        assert error.value.code == "engine-protocol"

    def test_names_that_went_before_an_error_are_reported(self, start: Start) -> None:
        script = start({"images/json": [image(A, "a:1", "a:2")], f"{A}/json": inspected(A, "a:1", "a:2")})
        script.engine.answer("containers/json", answer([]))
        script.engine.answer("DELETE", answer([]), FAILURE)
        result = script.ask("rm all images in docker as json")
        assert [row["error"] for row in result.rows] == ["engine"]
        assert "removed before this: a:1" in result.errors[0].hints

    def test_an_import_without_an_image(self, start: Start, tmp_path: Path) -> None:
        path = tmp_path / "files.tar"
        path.write_bytes(bytes(10240))
        script = start({"POST": http_answer(b""), "GET /v1.41/images": GONE})
        for name in ("", " as a:1"):
            result = script.ask(f'import "{path}"{name} to docker as json')
            assert [row["error"] for row in result.rows] == ["engine"]


class TestManyImages:
    def test_ten_thousand_names(self, start: Start) -> None:
        listed = [image(f"sha256:{number:064x}", f"team/app{number}:1") for number in range(10_000)]
        script = start({"images/json": listed, "containers/json": [container(listed[0]["Id"])]})
        assert script.ask("images in docker where not in use count").column("count") == [9_999]
        assert len(script.engine.requests) == 3, "a ping and two listings"

    def test_a_listing_is_requested_once_in_a_statement(self, start: Start) -> None:
        script = start({"images/json": [image(A, "a:1")], "containers/json": []})
        script.ask("images in docker where not in use and containers = 0 and id in (images in docker select id)")
        assert len(script.requests("images/json")) == 1
        assert len(script.requests("containers/json")) == 1

    def test_a_second_statement_inspects_nothing_again(self, start: Start) -> None:
        script = start({"images/json": [image(A, "a:1")], f"images/{A}/json": inspected(A, "a:1")})
        for _ in range(3):
            script.ask("images in docker where user is unknown")
        assert len(script.requests(f"images/{A}/json")) == 1
        assert len(script.requests("images/json")) == 3


def test_a_thread_of_an_earlier_statement_keeps_nothing_for_the_next_one(start: Start) -> None:
    reader = start({}).session._resources.sources["docker"].reader()

    def read_until_the_next_statement() -> str:
        reader.begin()
        return "old"

    assert reader.keep("docker", "a document", read_until_the_next_statement) == "old"
    assert reader.keep("docker", "a document", lambda: "new") == "new"


def test_a_thread_of_a_statement_that_failed_opens_no_connection(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of one container fails; a thread that begins with another one afterwards finds its reader closed."""
    from imq.engine.sources.docker import logs

    released, ended = Event(), Event()
    results: list[object] = []
    read = logs._read_log

    def read_late(reader: Any, source: str, id_: str, request: Any) -> Iterator[Any]:
        if id_ == A[7:]:
            yield from read(reader, source, id_, request)
        try:
            released.wait(20)
            results.extend(read(reader, source, id_, request))
        except ImqError as error:
            results.append(error.message)
        finally:
            ended.set()

    monkeypatch.setattr(logs, "_read_log", read_late)
    containers = [container(A, Id=A[7:]), container(B, Id=B[7:])]
    script = start({"/logs": FAILURE, "containers/json": containers})
    with pytest.raises(EngineError, match="the disk is full"):
        script.ask("containers in docker where no logs")
    before = len(script.engine.requests)
    released.set()
    assert ended.wait(20)
    assert results == ["the client is closed"]
    assert len(script.engine.requests) == before
