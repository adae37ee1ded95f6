"""``splitnet train``: results, dry runs, resuming, and one clear line for what is wrong."""

from __future__ import annotations

import json
import shutil
import signal
from math import nan
from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.builder.train_cli import main
from splitnet.training.checkpoints import read_tensors
from splitnet.training.entropic import Entropic
from splitnet.training.loop import Loss
from splitnet.training.recipe import Batch, Stage, Student
from splitnet.training.results import Folder
from tests.learned_files import ENTROPIC, NETWORKS, write_images, write_recipe

Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where the results of a training that names no folder do not stay."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images") / "images.npz")


@pytest.fixture(scope="module")
def trained(images: Path) -> Path:
    """A folder of finished results beside its recipe."""
    recipe = write_recipe(images.with_name("r.toml"), images, "entropic", ENTROPIC, target="stage1")
    out = images.parent / "results" / "r"
    assert main([str(recipe), "--out", str(out), "--json"]) == 0
    return out


def _error(output: Output) -> str:
    return output.readouterr().err.strip().splitlines()[-1]


def test_a_training_leaves_everything_that_a_bundle_needs(trained: Path) -> None:
    results = Folder(trained).results()
    assert [level.name for level in results.levels] == ["4 channels", "2 channels", "1 channel"]
    sizes = [level.test[1] for level in results.levels]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] < 40
    assert results.levels[0].test[0] > 0.9
    assert results.teacher == (1.0, 1.0)
    assert results.flops["encoder"] > 0 and results.settings["batch"] == 16
    history = [json.loads(line) for line in (trained / "history.jsonl").read_text().splitlines()]
    assert [entry["stage"] for entry in history] == ["features"] * 3 + ["answers"] * 8 + [
        "frozen encoder"
    ]
    assert not (trained / "checkpoint.safetensors").exists()
    assert (trained / "rates.png").read_bytes()[1:4] == b"PNG"
    assert (trained / "recipe.toml").exists()
    with np.load(trained / "test.npz") as rows:
        assert rows["nbytes"].mean(axis=1).tolist() == pytest.approx(sizes)
        expected = [level.test[0] for level in results.levels]
        assert rows["score"].mean(axis=1).tolist() == pytest.approx(expected)
    assert list((trained.parent / "teacher").iterdir())


def test_people_see_the_levels(trained: Path, images: Path, capsys: Output) -> None:
    recipe = images.with_name("r.toml")
    assert main([str(recipe), "--out", str(trained)]) == 2
    assert "holds finished results; give another --out, or --force" in _error(capsys)
    short = ENTROPIC.replace("= 8", "= 1").replace("= 3", "= 1")
    recipe = write_recipe(images.with_name("s.toml"), images, "entropic", short, target="stage1")
    out = images.parent / "results" / "s"
    assert main([str(recipe), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "levels on the test samples" in shown.out and "(teacher: 100.00%)" in shown.out
    assert "4 channels" in shown.out and f"{out}" in shown.out
    assert "features: epoch 1 of 1" in shown.err and "min left" not in shown.err


def test_a_dry_run_writes_no_results(images: Path, tmp_path: Path, capsys: Output) -> None:
    recipe = write_recipe(tmp_path / "r.toml", images, "entropic", ENTROPIC, target="stage1")
    assert main([str(recipe), "--dry-run", "--json", "--out", str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["latent"] == [1, 4, 4, 4] and set(found["stages_s"]) == {
        "features",
        "answers",
        "frozen encoder",
        "teacher",
    }
    assert not (tmp_path / "out").exists()
    assert main([str(recipe), "--dry-run", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert "latent 4x4x4; the encoder costs" in shown and "minutes" in shown


class _Stopping(Entropic):
    """Is interrupted in its second stage, once."""

    stop = True

    def loss(self, stage: Stage, student: Student, batch: Batch) -> Loss:
        if stage.answers and _Stopping.stop:
            _Stopping.stop = False
            signal.raise_signal(signal.SIGINT)
        return super().loss(stage, student, batch)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_training_goes_on(
    images: Path, trained: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = images.with_name("r.toml"), tmp_path / "results"
    with monkeypatch.context() as patch:
        patch.setattr("splitnet.registry.load", lambda kind, name: _Stopping)
        assert main([str(recipe), "--out", str(out)]) == 130
    assert f"--out {out} --resume goes on from where it was" in _error(capsys)
    facts = read_tensors(out / "checkpoint.safetensors").facts
    assert (facts["stage"], facts["at"]["step"]) == (1, 1), "behind the step of the interrupt"
    assert main([str(recipe), "--out", str(out)]) == 2
    assert "give --resume to go on with it" in _error(capsys)
    assert main([str(recipe), "--out", str(out), "--resume"]) == 0
    expected, found = Folder(trained).weights(), Folder(out).weights()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [a.test for a in Folder(out).results().levels] == [
        b.test for b in Folder(trained).results().levels
    ]


@pytest.mark.usefixtures("interruptible")
def test_a_checkpoint_of_another_recipe_is_refused(
    images: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "results"
    _Stopping.stop = True
    with monkeypatch.context() as patch:
        patch.setattr("splitnet.registry.load", lambda kind, name: _Stopping)
        assert main([str(images.with_name("r.toml")), "--out", str(out)]) == 130
    other = write_recipe(tmp_path / "o.toml", images, "entropic", ENTROPIC, target="stage1", seed=1)
    assert main([str(other), "--out", str(out), "--resume"]) == 1
    assert "belongs to another training" in _error(capsys)


class _Diverging(Entropic):
    """Its loss is NaN in the second stage."""

    def loss(self, stage: Stage, student: Student, batch: Batch) -> Loss:
        found = super().loss(stage, student, batch)
        return Loss(found.total * float("nan")) if stage.answers else found


def test_a_loss_of_nan_names_the_last_good_state(
    images: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splitnet.registry.load", lambda kind, name: _Diverging)
    assert main([str(images.with_name("r.toml")), "--out", str(tmp_path / "out")]) == 1
    message = _error(capsys)
    assert "the loss is nan; the last good state is in" in message
    assert (tmp_path / "out" / "checkpoint.safetensors").exists()


def test_weights_to_begin_with(trained: Path, images: Path, tmp_path: Path) -> None:
    table = ENTROPIC.replace("= 8", "= 0").replace("= 3", "= 0").replace("epochs = 1", "epochs = 0")
    begun = shutil.copytree(trained, tmp_path / "begun")
    Folder(begun).keep_samples([b"learned long ago"])
    place = {"target": "stage1", "begin": str(begun)}
    recipe = write_recipe(tmp_path / "r.toml", images, "entropic", table, **place)
    assert main([str(recipe), "--out", str(tmp_path / "out"), "--json"]) == 0
    found = Folder(tmp_path / "out")
    assert found.results().levels == Folder(trained).results().levels
    learned_from = Folder(trained).samples()
    assert learned_from and found.samples() == learned_from | {b"learned long ago"}

    place["begin"] = str(begun / "weights.safetensors")
    recipe = write_recipe(tmp_path / "r.toml", images, "entropic", table, **place)
    assert main([str(recipe), "--out", str(tmp_path / "file"), "--json"]) == 0
    *_, note = Folder(tmp_path / "file").results().notes
    assert note == f"it is not known what {place['begin']} learned from"


def test_one_encoder_serves_another_network(trained: Path, images: Path, tmp_path: Path) -> None:
    table = ENTROPIC.replace("= 8", "= 0").replace("= 3", "= 0")
    recipe = write_recipe(
        tmp_path / "r.toml",
        images,
        "entropic",
        table,
        target="stage1",
        model=f"{NETWORKS}:other_stages",
        begin=str(trained),
        begin_parts=["encoder", "prior", "decoder"],
    )
    assert main([str(recipe), "--out", str(tmp_path / "out"), "--json"]) == 0
    before, after = Folder(trained).weights(), Folder(tmp_path / "out").weights()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name.partition(".")[0] for name in same} == {"encoder", "prior"}
    assert Folder(tmp_path / "out").results().levels[0].test[0] > 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "stge1"}, "no place 'stge1' (did you mean 'stage1'?)"),
        ({"source": "stage9"}, "no place 'stage9' (did you mean 'stage"),
        ({"recipe": "entropy"}, "unknown recipes id 'entropy' (did you mean 'entropic'?)"),
        ({"tarjet": "stage1"}, "tarjet: unknown setting (did you mean 'target'?)"),
        ({"mix": 1.5}, "mix is 1.5 and cutmix 0, must be shares of the samples"),
        ({"teachers": 5}, "teachers: 5 is not a list"),
        ({"cutmix": nan}, "must be shares of the samples"),
        ({"seed": 10**30}, "must be at most 2147483647"),
        ({"threads": 10**6}, "threads is 1000000, must be at most 1024"),
        ({"begin_parts": ["encoder"]}, "and there is no begin"),
        ({"batch": 0}, "batch is 0, it must be above 0"),
        ({"device": "tpu"}, "there is no device 'tpu' here"),
        ({"data": "nowhere.npz"}, "there is no data at nowhere.npz"),
        ({"model": "nowhere.py:f"}, "no model file nowhere.py"),
        ({"begin": "nowhere"}, "nowhere is missing or damaged"),
        ({"source": "stage1", "target": "stage2"}, "decoder_widths has 3 numbers"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    images: Path, tmp_path: Path, capsys: Output, settings: dict[str, object], message: str
) -> None:
    given: dict[str, object] = {"target": "stage1", **settings}
    name = str(given.pop("recipe", "entropic"))
    recipe = write_recipe(tmp_path / "r.toml", images, name, ENTROPIC, **given)
    assert main([str(recipe), "--out", str(tmp_path / "out")]) != 0
    assert message in _error(capsys)
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_strange_table_is_refused(images: Path, tmp_path: Path, capsys: Output) -> None:
    strange = ENTROPIC.replace("[entropic]", "[entropik]")
    recipe = write_recipe(tmp_path / "r.toml", images, "entropic", strange, target="stage1")
    assert main([str(recipe), "--dry-run"]) == 2
    assert "unknown table [entropik] (did you mean 'entropic'?)" in _error(capsys)


def test_labels_that_the_network_does_not_know(
    images: Path, tmp_path: Path, capsys: Output
) -> None:
    with np.load(images) as found:
        np.savez(tmp_path / "strange.npz", x=found["x"], y=np.where(found["y"] == 1, 99, 0))
    recipe = write_recipe(tmp_path / "r.toml", tmp_path / "strange.npz", "entropic", ENTROPIC)
    assert main([str(recipe), "--dry-run"]) == 2
    assert "has the label 99, the model knows 3 classes" in _error(capsys)


def test_a_place_that_cannot_be_written_is_one_line(images: Path, capsys: Output) -> None:
    recipe, out = images.with_name("r.toml"), images / "below" / "a" / "file"
    assert main([str(recipe), "--out", str(out)]) == 1
    assert f"cannot write {images / 'below' / 'a'}" in _error(capsys)


@pytest.mark.usefixtures("interruptible")
def test_what_is_refused_or_begins_anew_mixes_nothing(
    images: Path, trained: Path, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(trained, tmp_path / "results")
    other = write_recipe(tmp_path / "o.toml", images, "entropic", ENTROPIC, target="stage1", seed=1)
    _Stopping.stop = True
    with monkeypatch.context() as patch:
        patch.setattr("splitnet.registry.load", lambda kind, name: _Stopping)
        assert main([str(other), "--out", str(out), "--resume", "--force"]) == 130
    assert not {"results.json", "test.npz", "samples.bin"} & {path.name for path in out.iterdir()}
    assert len((out / "history.jsonl").read_text().splitlines()) == 3
    before = (out / "recipe.toml").read_text()
    assert main([str(images.with_name("r.toml")), "--out", str(out), "--resume"]) == 1
    assert "belongs to another training" in _error(capsys)
    assert (out / "recipe.toml").read_text() == before == other.read_text()


def test_a_bottleneck_wider_than_its_tensor(images: Path, tmp_path: Path, capsys: Output) -> None:
    wide = ENTROPIC.replace("[1, 2, 4]", "[64]")
    recipe = write_recipe(tmp_path / "r.toml", images, "entropic", wide, target="stage1")
    assert main([str(recipe), "--dry-run"]) == 2
    assert "channels is 64: the bottleneck 64x4x4 has 1024 values" in _error(capsys)


def test_a_teacher_worse_than_chance(tmp_path: Path, capsys: Output) -> None:
    with np.load(write_images(tmp_path / "a.npz")) as found:
        np.savez(tmp_path / "b.npz", x=found["x"], y=(found["y"] + 1) % 3)
    recipe = write_recipe(tmp_path / "r.toml", tmp_path / "b.npz", "entropic", ENTROPIC)
    assert main([str(recipe), "--dry-run"]) == 1
    assert "the teacher is right on 0.0%" in _error(capsys)


def test_calibration_data_that_is_the_training_data(tmp_path: Path, capsys: Output) -> None:
    images = write_images(tmp_path / "a.npz")
    shutil.copy(images, tmp_path / "b.npz")
    recipe = write_recipe(
        tmp_path / "r.toml", images, "entropic", ENTROPIC, calib=str(tmp_path / "b.npz")
    )
    assert main([str(recipe), "--dry-run"]) == 2
    assert "150 of 200 calibration samples are training samples too" in _error(capsys)
