from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import small_recipe

from metanet.data_modules.images import load_images
from metanet.errors import MetanetError
from metanet.generation.engines import choice
from metanet.generation.engines.choice import choose_engine, measure, refusal
from metanet.generation.native import variants
from metanet.generation.networks import SmallCNN
from metanet.generation.plan import make_plan
from metanet.generation.runner import generate
from metanet.generation.training import train_rows
from metanet.zoo.reading import read_header

needs_fused = pytest.mark.skipif(not variants(), reason="the fused engine was not built here")


@needs_fused
def test_auto_takes_the_faster_and_the_zoo_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_images("digits")
    plan = make_plan(small_recipe(), images.facts(), 4)
    for faster, slower in (("fused", "torch"), ("torch", "fused")):
        monkeypatch.setattr(choice, "measure", lambda p, *_, faster=faster: 2.0 if p.engine == faster else 1.0)
        assert choose_engine("auto", plan, images, {}) == (faster, {faster: 2, slower: 1})
    generate(small_recipe(), n=4, out=tmp_path / "zoo")
    header = read_header(tmp_path / "zoo")
    assert header.engine == "torch"
    assert header.more["measured_net_images_per_second"] == {"torch": 2, "fused": 1}
    monkeypatch.setattr(choice, "measure", lambda p, *_: 2.0 if p.engine == "fused" else 1.0)
    generate(small_recipe(), n=4, out=tmp_path / "zoo")  # a zoo begun with one engine stays with it
    monkeypatch.setattr(choice, "refusal", lambda *_: "it is not here")
    assert generate(small_recipe(), n=4, out=tmp_path / "zoo") is not None  # a finished one needs no engine


@needs_fused
def test_one_seed_gives_one_initialisation_in_every_group_and_engine() -> None:
    """As in the released zoo (random_seed 42): initial weights of one initialiser are one draw, whatever trains them."""
    images = load_images("digits")
    found: list[np.ndarray] = []
    for engine, seed in (("torch", 0), ("fused", 5)):
        plan = make_plan(small_recipe(share=["init"], epochs=1), images.facts(), 20, seed, group_size=4, engine=engine)
        for number in range(plan.groups):
            group = train_rows(plan, plan.group(number), images, {})
            for w_init, vector in zip(group.table["hp.w_init"], group.snapshots[0].weights, strict=True):  # type: ignore[arg-type]
                if w_init in ("glorot_normal", "he_normal", "truncated_normal"):
                    conv2 = next(t for t in plan.network(group.table, SmallCNN).layout.tensors if t.name == "conv2.weight")
                    found.append(vector[conv2.start : conv2.stop])
    assert len(found) > 10
    np.testing.assert_allclose(np.corrcoef(found), 1.0, atol=1e-5)


@needs_fused
def test_a_zoo_that_was_begun_with_an_engine_stays_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {"n": 6, "out": tmp_path / "zoo", "group_size": 2}
    assert generate(small_recipe(), engine="torch", shard=(1, 2), **arguments) is None
    with pytest.raises(MetanetError, match="there engine=torch, here fused"):
        generate(small_recipe(), engine="fused", **arguments)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "refusal", lambda *_: "it is not here")
        with pytest.raises(MetanetError, match="engine=torch cannot train this zoo here: it is not here"):
            generate(small_recipe(), **arguments)
    zoo = generate(small_recipe(), **arguments)
    assert zoo is not None
    assert zoo.header.engine == "torch"


@needs_fused
def test_an_engine_that_fails_when_measured_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    images = load_images("digits")

    def fails(plan: object, *_: object) -> float:
        if plan.engine == "fused":  # type: ignore[attr-defined]
            raise OSError("a driver's error")
        return 1.0

    monkeypatch.setattr(choice, "measure", fails)
    plan = make_plan(small_recipe(), images.facts(), 4)
    assert choose_engine("auto", plan, images, {})[0] == "torch"


@needs_fused
def test_what_is_measured_is_training_images_times_networks_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    class TwoSeconds(choice._StepClock):
        def on_train_batch_end(self, *_: Any) -> None:
            self.seconds = 2.0

    monkeypatch.setattr(choice, "_StepClock", TwoSeconds)
    images = load_images("digits")
    plan = make_plan(small_recipe(train_fraction=0.25), images.facts(), 4, engine="fused")
    assert measure(plan, images, {}) == 32 * len(plan.group(0).head(2)) / 2  # one batch was enough


def test_engines_that_cannot_are_refused_with_the_reason() -> None:
    images = load_images("digits")
    plan = make_plan(small_recipe(num_units=12), images.facts(), 4)
    assert choose_engine("auto", plan, images, {}) == ("torch", {})
    with pytest.raises(MetanetError, match=r"engine=fused cannot train this zoo here: .*(12|not built)"):
        choose_engine("fused", plan, images, {})
    with pytest.raises(MetanetError, match=r"recipes of modules.*may take engine=auto, engine=torch"):
        choose_engine("module", plan, images, {})
    with pytest.raises(MetanetError, match="did you mean 'fused'"):
        choose_engine("fuse", plan, images, {})


@needs_fused
@pytest.mark.parametrize(
    ("trainer", "says"), [({"precision": "64-true"}, "float32"), ({"accelerator": "gpu"}, "runs on the CPU")]
)
def test_the_fused_engine_leaves_other_trainers_alone(trainer: dict, says: str) -> None:
    plan = make_plan(small_recipe(), load_images("digits").facts(), 4)
    assert says in str(refusal(plan, "fused", trainer))
    assert refusal(plan, "fused", {"accelerator": "cpu", "precision": "32-true"}) is None
