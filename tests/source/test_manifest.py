from ingressd.model import ObjectRef, Problem
from ingressd.source.manifest import Document, Manifest, Objects, Reader, merge, unreadable

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {value}\n"


def config_map(name: str, value: str = "one") -> str:
    return CONFIG_MAP.format(name=name, value=value)


def ref(name: str) -> ObjectRef:
    return ObjectRef("ConfigMap", "default", name)


def read(text: str, used: Objects | None = None, name: str = "a.yaml") -> Manifest:
    return Reader().read(name, text.encode(), used or {})


def names(objects: Objects) -> list[str]:
    return [placed.resource.name for placed in objects.values()]


def test_objects_and_their_places() -> None:
    manifest = read(f"# head\n{config_map('a')}---\n{config_map('b')}")
    assert names(manifest.objects) == ["a", "b"]
    assert [placed.line_of("data.key") for placed in manifest.objects.values()] == [7, 14]
    assert manifest.problems == ()


def test_a_syntax_error_leaves_the_other_documents_alone_and_names_its_line() -> None:
    manifest = read(f"{config_map('a')}---\nkind: [\n---\n{config_map('c')}")
    assert names(manifest.objects) == ["a", "c"]
    assert [(problem.file, problem.line, problem.reason) for problem in manifest.problems] == [("a.yaml", 8, "NotYAML")]
    assert str(manifest.problems[0]).startswith("a.yaml:8: File a.yaml: ")


def test_a_document_that_is_no_object() -> None:
    manifest = read("- a\n- b\n---\njust text\n")
    assert [(problem.line, problem.message.split(" stands")[0]) for problem in manifest.problems] == [
        (1, "a list"),
        (3, "a single value"),
    ]


def test_while_a_document_is_broken_nothing_in_use_goes_away() -> None:
    used = read(f"{config_map('a')}---\n{config_map('b')}---\n{config_map('c')}").objects
    other = read(config_map("elsewhere"), name="b.yaml").objects
    manifest = read(f"{config_map('a', 'two')}---\nkind: ConfigMap\n  bad:\n", {**used, **other})
    assert sorted(names(manifest.objects)) == ["a", "b", "c"]
    assert manifest.objects[ref("a")].resource != used[ref("a")].resource
    assert manifest.objects[ref("b")] == used[ref("b")]


def test_an_object_without_a_name_holds_back_removals_too() -> None:
    used = read(config_map("a")).objects
    manifest = read(config_map("a").replace("name:", "nam:"), used)
    assert manifest.objects == used
    assert [problem.field for problem in manifest.problems] == ["metadata.name"]


def test_an_object_of_a_misspelled_kind_keeps_its_last_good_version() -> None:
    used = read(config_map("a")).objects
    manifest = read(config_map("a").replace("ConfigMap", "configmap"), used)
    assert manifest.objects[ref("a")].resource is used[ref("a")].resource
    assert [(problem.field, problem.line) for problem in manifest.problems] == [("kind", 2)]


def test_what_stands_in_a_list_of_a_misspelled_kind_stays() -> None:
    text = "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}]\n"
    used = read(text).objects
    manifest = read(text.replace("List", "list"), used)
    assert names(manifest.objects) == ["a"]
    assert [str(problem) for problem in manifest.problems] == [
        'a.yaml:2: List default/: kind: there is no kind "list": write List [UnknownKind]'
    ]


def test_an_invalid_object_keeps_its_last_good_version_and_the_others_change() -> None:
    used = read(f"{config_map('a')}---\n{config_map('b')}---\n{config_map('c')}").objects
    broken = f"# moved\n{config_map('a').replace('one', '[]')}---\n{config_map('b', 'two')}"
    manifest = read(broken, used)
    assert names(manifest.objects) == ["b", "a"]  # c was removed: nothing is unclear about that
    assert manifest.objects[ref("a")].resource is used[ref("a")].resource
    assert manifest.objects[ref("a")].line_of("data.key") == 7
    assert manifest.objects[ref("b")].resource != used[ref("b")].resource
    problem = manifest.problems[0]
    assert (problem.object, problem.field, problem.line) == (ref("a"), "data[key]", 7)


def test_an_invalid_object_that_was_never_good_is_only_a_problem() -> None:
    manifest = read(config_map("a").replace("one", "[]"))
    assert manifest.objects == {}
    assert len(manifest.problems) == 1


def test_items_of_a_list() -> None:
    text = """apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: b
  data:
    key: 1
- apiVersion: v1
  kind: ConfigMap
  metadata:
    name: c
  data:
    key: good
"""
    manifest = read(text)
    assert names(manifest.objects) == ["a", "c"]
    assert manifest.objects[ref("c")].line_of("data[key]") == 16
    assert [(problem.object, problem.line) for problem in manifest.problems] == [(ref("b"), 10)]


def test_the_same_object_twice_in_a_file() -> None:
    manifest = read(f"{config_map('a')}---\n{config_map('a', 'two')}")
    assert [placed.line for placed in manifest.objects.values()] == [1]
    assert manifest.problems == (
        Problem(
            ref("a"),
            "DuplicateObject",
            "the same object is in a.yaml:4, and that one is used: remove one of them",
            "metadata.name",
            file="a.yaml",
            line=11,
        ),
    )


def test_a_copy_is_in_another_place_though_its_text_is_the_same() -> None:
    """Equal documents are parsed once."""
    first = read(f"---\n{config_map('a')}---\n{config_map('a')}")
    assert [problem.message.split(",")[0] for problem in first.problems] == ["the same object is in a.yaml:5"]
    reader = Reader()
    manifests = [reader.read(name, config_map("a").encode(), {}) for name in ("a.yaml", "b.yaml")]
    _, problems = merge(manifests)
    assert [problem.message.split(",")[0] for problem in problems] == ["the same object is in a.yaml:4"]


def test_the_same_object_twice_in_a_list() -> None:
    item = "- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n"
    manifest = read(f"apiVersion: v1\nkind: List\nitems:\n{item}{item}")
    assert names(manifest.objects) == ["a"]
    assert [problem.message.split(":")[0] for problem in manifest.problems] == [
        "the same object stands twice in this list, and the first is used"
    ]


def test_a_valid_object_beats_the_last_good_version_of_an_invalid_one() -> None:
    used = read(config_map("a")).objects
    manifest = read(f"{config_map('a').replace('one', '[]')}---\n{config_map('a', 'two')}", used)
    assert manifest.objects[ref("a")].line == 7
    assert [problem.reason for problem in manifest.problems] == ["InvalidType"]


def test_the_same_object_in_two_files_is_that_of_the_first() -> None:
    first, second = read(config_map("a")), read(config_map("a", "two"), name="b.yaml")
    objects, problems = merge([first, second])
    assert objects == first.objects
    assert [(problem.file, problem.line, "a.yaml:4" in problem.message) for problem in problems] == [
        ("b.yaml", 4, True)
    ]


def test_an_unreadable_file_keeps_what_is_in_use_of_it() -> None:
    used = read(config_map("a")).objects
    manifest = unreadable("a.yaml", "Unreadable", "cannot be read", used)
    assert manifest.objects == used
    assert unreadable("b.yaml", "Unreadable", "cannot be read", used).objects == {}


def test_bytes_that_are_not_text_keep_what_is_in_use() -> None:
    used = read(config_map("a")).objects
    manifest = Reader().read("a.yaml", config_map("a", "é").encode("latin-1"), used)
    assert manifest.objects == used
    assert [(problem.line, problem.reason) for problem in manifest.problems] == [(6, "NotYAML")]


def test_an_edit_parses_only_the_documents_that_changed() -> None:
    reader = Reader()
    before = reader.read("a.yaml", f"{config_map('a')}---\n{config_map('b')}".encode(), {})
    after = reader.read("b.yaml", f"{config_map('x')}---\n{config_map('b')}".encode(), before.objects)
    assert after.documents[1] is before.documents[1]
    assert after.documents[0] is not before.documents[0]


def test_documents_nobody_refers_to_are_forgotten() -> None:
    reader = Reader()
    reader.read("a.yaml", config_map("a").encode(), {})
    assert len(reader._documents) == 0


def test_blank() -> None:
    assert read("").blank
    assert read(" \n\t\n").blank
    assert not read("# all of it is commented out\n").blank


def test_values_of_a_secret_are_in_no_problem() -> None:
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  key: !!int hunter2\n"
    document = Document(text)
    assert "hunter2" not in "".join(problem.message for problem in document.problems)
    assert len(document.problems) == 1
