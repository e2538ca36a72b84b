"""A plan is refused, with the field and the remedy, before anything is measured."""

import pytest

from bench_utils import plan as plans
from bench_utils.errors import BenchError
from bench_utils.project import find_plan, root_of
from bench_utils.schedule import schedule
from tests.conftest import MINI_PLAN, REPOSITORY, make_project


def read(tmp_path, text):
    (tmp_path / "mini.toml").write_text(text)
    return plans.read(tmp_path / "mini.toml")


def test_the_reports_of_this_repository_are_valid():
    for path in sorted((REPOSITORY / "notebooks").glob("*.toml")):
        assert plans.read(path).title


BAD = [
    ("tiny-gpt2", "tiny-gpt", "unknown model 'tiny-gpt'; did you mean tiny-gpt2"),
    ('"eager-again"]', '"eagre"]', "unknown variant 'eagre'; did you mean eager"),
    ("rounds = 2", "rounds = 0", "presets.smoke.rounds: .*greater than 0"),
    ("prompt_tokens = 16", "prompt_tokens = -1", "prompt_tokens: .*greater than 0"),
    ("prompt_tokens = 16", "prompt_tokens = 1020", "beyond the context of 'tiny-gpt2'"),
    ("new_tokens = 16", "new_tokens = 8", "give at least 16"),
    ("rounds = 2", "round = 2", "did you mean rounds"),
    ("min_samples = 5", "min_sample = 5", "did you mean min_samples"),
    ('title = "A small plan"', 'titel = "A small plan"', "title"),
    ('variants = ["eager"', 'variants = ["eager", "eager"', None),
    ("report =", "report", "is not TOML"),
    ('models = ["tiny-gpt2"]', 'models = ["tiny-gpt2"]\ndtypes = ["fp32"]', "unknown dtype 'fp32'"),
    ('models = ["tiny-gpt2"]', 'models = ["tiny-gpt2"]\nphases = ["prefil"]', "did you mean prefill"),
    ("cell_timeout = 60", "cell_timeout = 0", "cell_timeout: .*greater than 0"),
]


@pytest.mark.parametrize(("old", "new", "said"), BAD, ids=[new[:30] for _, new, _ in BAD])
def test_a_bad_plan_is_refused_in_one_sentence(tmp_path, old, new, said):
    assert old in MINI_PLAN
    text = MINI_PLAN.replace(old, new, 1)
    if said is None:  # the same name twice in one list is one cell
        assert len(read(tmp_path, text).presets["smoke"].measured) == 6
        return
    with pytest.raises(BenchError, match=f"(?s)plan mini.toml.*{said}"):
        read(tmp_path, text)


def test_a_cell_declared_in_two_groups_is_refused(tmp_path):
    group = MINI_PLAN[MINI_PLAN.index("[[presets") :]
    with pytest.raises(BenchError, match=r"declares tiny-gpt2 × eager × float32 × e2e-p16-n16-b1 twice"):
        read(tmp_path, MINI_PLAN + group)


def test_unknown_preset_and_report_name_the_nearest(tmp_path):
    with pytest.raises(BenchError, match="unknown preset 'smok'; did you mean smoke"):
        read(tmp_path, MINI_PLAN).preset("smok")
    with pytest.raises(BenchError, match="unknown report 'TR12'; did you mean TR126"):
        find_plan(REPOSITORY, "TR12")


def test_a_copied_plan_needs_a_name_of_its_own(tmp_path):
    (tmp_path / "other.toml").write_text(MINI_PLAN)
    with pytest.raises(BenchError, match="report 'mini' is another than the file's: name it 'other'"):
        plans.read(tmp_path / "other.toml")
    (tmp_path / "mini_of_a_kind.toml").write_text(MINI_PLAN)
    assert plans.read(tmp_path / "mini_of_a_kind.toml").report == "mini"


def test_a_report_that_is_no_folder_and_a_file_that_is_no_text_are_refused(tmp_path):
    with pytest.raises(BenchError, match="the report '../mini' becomes a folder"):
        read(tmp_path, MINI_PLAN.replace('report = "mini"', 'report = "../mini"'))
    (tmp_path / "mini.toml").write_bytes(b'title = "\xff"')
    with pytest.raises(BenchError, match="plan mini.toml is not TOML"):
        plans.read(tmp_path / "mini.toml")


def test_a_short_name_that_two_plans_have_is_refused_and_a_whole_one_found(tmp_path):
    root = make_project(tmp_path, {"mini_a.toml": "", "mini_b.toml": ""})
    with pytest.raises(BenchError, match="report 'mini' is mini_a and mini_b; name one in full"):
        find_plan(root, "mini")
    assert find_plan(root, "mini_b").name == "mini_b.toml"
    make_project(root, {"mini.toml": ""})
    assert find_plan(root, "mini").name == "mini.toml"


def test_the_digest_follows_what_is_measured_and_not_how_it_is_told(tmp_path):
    original = read(tmp_path, MINI_PLAN).digest("smoke")
    assert read(tmp_path, MINI_PLAN.replace("A small plan", "Another title")).digest("smoke") == original
    assert read(tmp_path, MINI_PLAN.replace("rounds = 2", "rounds = 3")).digest("smoke") != original


def test_no_project_here_is_said(tmp_path):
    with pytest.raises(BenchError, match="no project here"):
        root_of(tmp_path)
    root = make_project(tmp_path / "a", {})
    (root / "notebooks" / "deep").mkdir()
    assert root_of(root / "notebooks" / "deep") == root


def test_every_round_holds_every_variant_once_in_an_order_drawn_from_the_seed():
    preset = plans.read(find_plan(REPOSITORY, "TR126")).preset("quick")
    rounds = schedule(preset, seed=1)
    names = [{(p.model, p.variant) for p in r} for r in rounds[1:]]
    assert all(n == names[0] for n in names)
    assert len(rounds) == preset.rounds + 1
    orders = [[p.process.partition("-")[2] for p in r] for r in rounds[1:]]
    assert orders[1] == orders[0][::-1]
    assert orders[2] != orders[0]
    assert orders == [[p.process.partition("-")[2] for p in r] for r in schedule(preset, seed=1)[1:]]
    assert orders != [[p.process.partition("-")[2] for p in r] for r in schedule(preset, seed=2)[1:]]
