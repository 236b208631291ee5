"""Which student exactly: folders by content, Hub names by commit, and what is said when there is none."""

import json
import os
import shutil

import huggingface_hub
import pytest
from huggingface_hub import constants
from tiny import CHATML, byte_level, fast, save_student
from transformers import MambaConfig, Qwen2Config

from palign_hf import students
from palign_hf.errors import UserError
from palign_hf.students import Student, load_tokenizer, resolve_student, student_context, student_vocabulary


COMMIT, OLDER = "0123456789abcdef0123456789abcdef01234567", "fedcba9876543210fedcba9876543210fedcba98"
LARGE = students._READ_WHOLE + 3 * 1024 * 1024 + 5


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return save_student(tmp_path_factory.mktemp("student") / "a", weights=True)


@pytest.fixture
def folder(tmp_path, original):
    """A copy to change at will."""
    return shutil.copytree(original, tmp_path / "student")


def content(folder):
    return resolve_student(str(folder)).content


def refusal(name, revision=None):
    with pytest.raises(UserError) as refused:
        resolve_student(name, revision)
    return str(refused.value)


# The toy student


def test_the_toy_student_has_a_name_that_is_no_path(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    toy = resolve_student("palign-toy")
    assert toy.name == "palign-toy" and os.path.isfile(os.path.join(toy.where, "model.safetensors"))
    assert toy.identity == {"content": toy.content} == {"content": content(toy.where)}
    assert len(load_tokenizer(toy)) > 1000 and student_context(toy) == 2048
    assert "which has no revisions" in refusal("palign-toy", "main")


def test_where_a_student_is_loaded_from(folder):
    assert resolve_student(str(folder)).where == str(folder)
    assert Student("owner/name", COMMIT, None).where == "owner/name"


# Folders


def test_a_folder_is_its_content_wherever_it_lies(original, folder, monkeypatch):
    here, there = resolve_student(str(original)), resolve_student(str(folder))
    assert here.commit is there.commit is None
    assert here.identity == there.identity == {"content": here.content}
    assert here.name != there.name
    assert len(here.content) == 32
    monkeypatch.chdir(folder.parent)
    assert content("student") == content("./student/") == here.content


def test_times_and_files_that_decide_nothing_change_nothing(original, folder):
    os.utime(folder / "model.safetensors", (1, 1))
    os.utime(folder / "config.json")
    (folder / "README.md").write_text("My student")
    (folder / "optimizer.pt").write_bytes(b"state")
    (folder / "checkpoint-10").mkdir()
    (folder / "checkpoint-10" / "config.json").write_text("{}")
    assert content(folder) == content(original)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"])
def test_any_byte_of_a_small_file_counts(original, folder, name):
    path = folder / name
    before = path.read_bytes()
    for place in (0, len(before) // 2, len(before) - 1):
        path.write_bytes(before[:place] + bytes([before[place] ^ 1]) + before[place + 1 :])
        assert content(folder) != content(original)
    path.write_bytes(before)
    students._hash_folder.cache_clear()  # two writes within a tick of the clock leave the same time
    assert content(folder) == content(original)


def test_a_file_more_or_less_counts(original, folder):
    (folder / "generation_config.json").unlink()
    without = content(folder)
    (folder / "added_tokens.json").write_text("{}")
    assert len({content(original), without, content(folder)}) == 3


def test_bytes_that_move_from_one_file_to_the_next_count(folder):
    (folder / "a.txt").write_bytes(b"12")
    (folder / "b.txt").write_bytes(b"3")
    before = content(folder)
    (folder / "a.txt").write_bytes(b"1")
    (folder / "b.txt").write_bytes(b"23")
    assert content(folder) != before


def test_a_student_trained_on_in_the_same_folder_is_another(folder):
    """Within one process too, where the hash of a folder is remembered."""
    before = content(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    assert content(folder) != before


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A student with more weights than are read whole."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "config.json").write_text("{}")
    with open(folder / "model.safetensors", "wb") as file:
        file.truncate(LARGE)
    return folder


def flipped(folder, place):
    """The content with one other byte at `place`, which is put back afterwards."""
    with open(folder / "model.safetensors", "r+b") as file:
        file.seek(place)
        file.write(b"\x01")
        file.flush()
        students._hash_folder.cache_clear()
        changed = content(folder)
        file.seek(place)
        file.write(b"\x00")
    students._hash_folder.cache_clear()
    return changed


def test_large_weights_are_sampled_from_end_to_end(large):
    before = content(large)
    step = (LARGE - students._PIECE) / students._PIECES
    middle = int(step * (students._PIECES // 2)) + students._PIECE // 2
    for place in (0, students._PIECE - 1, middle, LARGE - students._PIECE, LARGE - 1):
        assert flipped(large, place) != before
    assert flipped(large, students._PIECE + 1) == before
    assert content(large) == before


def test_no_stretch_as_long_as_a_small_matrix_goes_unread(large):
    """A thousandth of the file, changed anywhere: as when only one layer was trained."""
    before, path, length = content(large), large / "model.safetensors", LARGE // 1000 + 1
    for start in (1, 5_000_000, 11_111_111, LARGE - length):
        with open(path, "r+b") as file:
            file.seek(start)
            file.write(b"\x01" * length)
        students._hash_folder.cache_clear()
        assert content(large) != before
        with open(path, "r+b") as file:
            file.seek(start)
            file.write(b"\x00" * length)
    students._hash_folder.cache_clear()
    assert content(large) == before


def test_the_size_of_large_weights_counts(large, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.truncate(LARGE + 1)
    assert content(tmp_path) != content(large)


def test_a_folder_without_config(folder):
    (folder / "config.json").unlink()
    message = refusal(str(folder))
    assert message.startswith(f"The student folder `{folder}` has no config.json.")
    assert "Give the folder that `save_pretrained` wrote" in message
    assert "`merge_and_unload()`" in message


def test_a_folder_has_no_revision(folder):
    assert "`revision='main'` was given, but the student" in refusal(str(folder), "main")
    assert "is a folder, which has no revisions. Leave it out" in refusal(str(folder), "main")


@pytest.mark.parametrize("name", ["/no/such/folder", "./student", "../student", "~/student"])
def test_a_path_without_a_folder(name):
    message = refusal(name)
    assert message.startswith(f"The student `{name}` is no folder with a saved model. Give the folder")
    assert "the name of a model on the Hub" in message


def test_a_file_is_no_student(folder):
    assert "is no folder with a saved model" in refusal(str(folder / "model.safetensors"))


# The Hub


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty Hub cache of this test's own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cache(hub_cache, name, commit, *refs):
    """A cached snapshot as a download leaves it: links into blobs, and a file for each ref."""
    repository = hub_cache / f"models--{name.replace('/', '--')}"
    snapshot, blobs = repository / "snapshots" / commit, repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir(exist_ok=True)
    (blobs / commit).write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 321}))
    (snapshot / "config.json").symlink_to(blobs / commit)
    (repository / "refs").mkdir(exist_ok=True)
    for ref in refs:
        (repository / "refs" / ref).write_text(commit)
    return snapshot


def test_offline_the_cached_commit_is_found(hub_cache):
    cache(hub_cache, "owner/student", COMMIT, "main")
    student = resolve_student("owner/student")
    assert student == Student("owner/student", COMMIT, content=None)
    assert student.identity == {"name": "owner/student", "commit": COMMIT}


def test_offline_a_cached_revision_is_found(hub_cache):
    cache(hub_cache, "owner/student", COMMIT, "main")
    cache(hub_cache, "owner/student", OLDER, "v1")
    assert resolve_student("owner/student").commit == COMMIT
    assert resolve_student("owner/student", "v1").commit == OLDER
    assert resolve_student("owner/student", OLDER).commit == OLDER
    assert "`owner/student`" in refusal("owner/student", "v2")


def test_offline_a_name_without_owner_is_found(hub_cache):
    cache(hub_cache, "student", COMMIT, "main")
    assert resolve_student("student").commit == COMMIT


def test_offline_what_is_not_cached_is_refused_with_advice(hub_cache):
    message = refusal("owner/student")
    assert message.startswith("The student `owner/student` can't be found: OfflineModeIsEnabled: ")
    assert "a local folder, or download it once while online (`hf download owner/student`)." in message


def test_a_cache_without_the_config_is_none(hub_cache):
    (cache(hub_cache, "owner/student", COMMIT, "main") / "config.json").unlink()
    assert "can't be found" in refusal("owner/student")


@pytest.mark.parametrize("name", ["a/b/c", "two words", "owner/", "-x", "owner/stu--dent", "x" * 97, "models/a/b"])
def test_a_name_that_no_model_can_have(name):
    message = refusal(name)
    assert message.startswith(
        f"The student `{name}` is neither a folder nor the name of a model on the Hub (`owner/name`): "
    )


@pytest.fixture
def unreachable(hub_cache, monkeypatch):
    """Online by the settings, but nobody answers: the error is the HTTP library's own."""
    reach = huggingface_hub.HfApi
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: reach(endpoint="http://127.0.0.1:9"))
    return hub_cache


def test_without_a_network_the_cached_commit_is_found(unreachable):
    cache(unreachable, "owner/student", COMMIT, "main")
    assert resolve_student("owner/student").commit == COMMIT


def test_without_a_network_and_a_cache(unreachable):
    message = refusal("owner/student")
    assert message.startswith("The student `owner/student` can't be found: ConnectError: ")
    assert "download it once while online" in message


def test_online_the_commit_is_asked_for(hub_cache, monkeypatch):
    """What the Hub says counts more than what lies in the cache."""
    asked = []

    class Api:
        def model_info(self, name, revision=None):
            asked.append((name, revision))
            return huggingface_hub.ModelInfo(id=name, sha=OLDER)

    cache(hub_cache, "owner/student", COMMIT, "main")
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert resolve_student("owner/student", "v1").commit == OLDER
    assert asked == [("owner/student", "v1")]


# Tokenizer and context


def test_the_tokenizer_comes_with_its_template(folder):
    tokenizer = load_tokenizer(resolve_student(str(folder)))
    assert tokenizer.chat_template == CHATML
    assert tokenizer.decode(tokenizer.encode("The sum is 50.")) == "The sum is 50."


def without_tokenizer(folder):
    for path in folder.iterdir():
        if path.name.startswith(("tokenizer", "special", "chat_template", "vocab", "merges")):
            path.unlink()


def tokenizer_refusal(folder):
    with pytest.raises(UserError) as refused:
        load_tokenizer(resolve_student(str(folder)))
    return str(refused.value)


def test_a_folder_without_tokenizer(folder):
    without_tokenizer(folder)
    message = tokenizer_refusal(folder)
    assert message.startswith(f"The tokenizer of the student `{folder}` can't be loaded: ")
    assert message.endswith("`tokenizer.save_pretrained(folder)`.")


def test_an_empty_tokenizer_is_none(folder):
    """For some families transformers makes one up from nothing, and every text would become no tokens."""
    without_tokenizer(folder)
    Qwen2Config(num_hidden_layers=1).save_pretrained(folder)
    message = tokenizer_refusal(folder)
    assert "can't be loaded: it knows no tokens besides the special ones" in message
    assert message.endswith("`tokenizer.save_pretrained(folder)`.")


@pytest.mark.parametrize("text", ["{oops", "[]", '{"version": "9.9"}', ""])
def test_a_broken_tokenizer(folder, text):
    (folder / "tokenizer.json").write_text(text)
    assert "can't be loaded: " in tokenizer_refusal(folder)


def test_a_template_in_the_tokenizer_counts_too(tmp_path):
    """The same weights asked in other words are another student."""
    with_template = save_student(tmp_path / "a")
    other = save_student(tmp_path / "b", fast(byte_level(), CHATML.replace("assistant", "helper")))
    assert content(with_template) != content(other)


def test_the_context_is_that_of_the_config(tmp_path):
    assert student_context(resolve_student(str(save_student(tmp_path / "a", max_model_len=777)))) == 777


def test_the_context_of_a_cached_student(hub_cache):
    cache(hub_cache, "owner/student", COMMIT, "main")
    assert student_context(resolve_student("owner/student")) == 321


def test_the_context_of_the_text_part_counts(folder):
    text = {"model_type": "qwen2", "max_position_embeddings": 555}
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2_audio", "text_config": text}))
    assert student_context(resolve_student(str(folder))) == 555


def test_a_config_without_a_context(folder):
    MambaConfig(num_hidden_layers=1).save_pretrained(folder)
    with pytest.raises(UserError, match="states no context length: give it with `max_model_len=`"):
        student_context(resolve_student(str(folder)))


def test_the_vocabulary_has_the_tokens_and_what_the_weights_are_padded_to(folder):
    student = resolve_student(str(folder))
    tokenizer = load_tokenizer(student)
    known = max(tokenizer.get_vocab().values()) + 1
    config = json.loads((folder / "config.json").read_text())

    def told(vocab_size):
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": vocab_size}))
        return student_vocabulary(student, tokenizer)

    assert told(known + 64) == known + 64
    assert told(known - 1) == known
    (folder / "config.json").write_text("{oops")
    assert student_vocabulary(student, tokenizer) == known


@pytest.mark.parametrize(
    "config",
    ["{oops", "{}", "[1]", '{"model_type": "abacus"}', '{"model_type": "llama", "max_position_embeddings": "many"}'],
)
def test_a_broken_config(folder, config):
    (folder / "config.json").write_text(config)
    with pytest.raises(UserError) as refused:
        student_context(resolve_student(str(folder)))
    assert str(refused.value).startswith(f"The config of the student `{folder}` can't be loaded: ")
    assert str(refused.value).endswith("Check the name or the folder.")
