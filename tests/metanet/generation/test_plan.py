from __future__ import annotations

from dataclasses import replace

import pytest
from conftest import small_recipe

from metanet.errors import MetanetError
from metanet.generation.plan import make_plan
from metanet.testing.zoos import SPACE
from metanet.zoo.header import DataFacts

DATA = DataFacts("digits", shape=(16, 16, 1), classes=10, n_train=1437, n_test=360, chance=0.1)


def test_every_network_is_in_one_group_of_equals() -> None:
    plan = make_plan(small_recipe(), DATA, n=100, seed=0, group_size=8)
    assert sorted(set(plan.table["group"])) == list(range(plan.groups))
    assert plan.table.groupby("group").size().max() <= 8
    for group in range(plan.groups):
        rows = plan.group(group)
        assert all(rows[key].nunique() == 1 for key in plan.recipe.group_keys)
        assert rows["hp.optimizer"].is_monotonic_increasing
    assert sum(len(plan.group(g)) for g in range(plan.groups)) == 100


def test_seeds_are_distinct_and_free_of_n_and_group_size() -> None:
    small = make_plan(small_recipe(), DATA, n=50, seed=1, group_size=8).table
    large = make_plan(small_recipe(), DATA, n=500, seed=1, group_size=32).table
    assert large["seed"].nunique() == 500
    columns = [c for c in small if c != "group"]
    assert small[columns].equals(large[columns].head(50))


def test_costly_groups_come_first() -> None:
    plan = make_plan(small_recipe(), DATA, n=100, seed=0, group_size=8)
    costs = [plan.network_images(plan.group(g)) for g in range(plan.groups)]
    assert costs[0] == max(costs)


def test_progress_counts_whole_batches() -> None:
    plan = make_plan(small_recipe(train_fraction=0.1), DATA, n=3, seed=0)
    assert plan.network_images(plan.table) == 3 * 2 * (143 // 32 * 32)  # networks x epochs x images in whole batches


def test_the_hash_tells_plans_apart() -> None:
    base = make_plan(small_recipe(), DATA, n=10).header().plan_hash
    assert base == make_plan(small_recipe(), DATA, n=10).header().plan_hash
    others = [
        make_plan(small_recipe(), DATA, n=11),
        make_plan(small_recipe(), DATA, n=10, seed=1),
        make_plan(small_recipe(epochs=3), DATA, n=10),
        make_plan(small_recipe(), replace(DATA, n_train=1000), n=10),
        make_plan(small_recipe(), replace(DATA, crc32=1), n=10),
        make_plan(small_recipe(), DATA, n=10, trainer={"limit_train_batches": 2}),
    ]
    assert len({base, *(p.header().plan_hash for p in others)}) == 7
    elsewhere = make_plan(small_recipe(), DATA, n=10, trainer={"accelerator": "gpu", "devices": 1, "max_epochs": None})
    assert elsewhere.header().plan_hash == base


def test_two_data_sets_share_no_initialisation() -> None:
    digits, mnist = (make_plan(small_recipe(), replace(DATA, name=name), n=500).table["seed"] for name in ("digits", "mnist"))
    assert not set(digits) & set(mnist)


@pytest.mark.parametrize("share", [[], ["init"], ["dropout"], ["dropout", "init"]])
def test_what_is_shared_has_one_seed(share: list[str]) -> None:
    digits, mnist = (make_plan(small_recipe(share=share), replace(DATA, name=n), n=50, seed=1).table for n in ("digits", "mnist"))
    for what in ("init", "dropout"):
        if what in share:
            assert set(digits[f"{what}_seed"]) == set(mnist[f"{what}_seed"]) == {42}
        else:
            assert digits[f"{what}_seed"].equals(digits["seed"])
    other = make_plan(small_recipe(share=share, share_seed=7), DATA, n=50, seed=1)
    assert set(other.table["init_seed"]) == ({7} if "init" in share else set(digits["seed"]))
    hyperparameters = [c for c in digits if c.startswith("hp.")]
    assert other.table[hyperparameters].equals(digits[hyperparameters])


def test_networks_that_nothing_tells_apart_are_refused() -> None:
    fixed = {key: values[0] if isinstance(values, list) else 0.01 for key, values in SPACE.items()}
    make_plan(small_recipe(**fixed), DATA, n=3)
    with pytest.raises(MetanetError, match=r"networks 000000 and 000001 would be equal.*recipe.share=\[\]"):
        make_plan(small_recipe(**fixed, share=["init", "dropout"]), DATA, n=3)
    with pytest.raises(MetanetError, match=r"recipe\.seeds=2 .* would train each network 2 times"):
        small_recipe(share=["init", "dropout"], seeds=2)
    with pytest.raises(MetanetError, match="each member init or dropout"):
        small_recipe(share=["inits"])


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": -1}, {"n": 5, "group_size": 0}, {"n": 5, "seed": -1}])
def test_mistakes_are_named(arguments: dict[str, int]) -> None:
    with pytest.raises(MetanetError, match="give a whole number"):
        make_plan(small_recipe(), DATA, **arguments)
