"""Augmentation: the pictures that numpy would cut, the same ones wherever a run is made."""

import pickle
from itertools import accumulate, pairwise, product

import numpy as np
import pytest
import torch
from torch import nn

from fedlocal import Clients
from fedlocal.data.pixels import Pixels
from fedlocal.objective.augment import CropFlip, NoAugment, ResizedCrop
from fedlocal.objective.gradients import Own
from fedlocal.rounds.fingerprint import run_digest
from fedlocal.rounds.scoring import Examples, score
from fedlocal.rounds.state import RoundPlan, initial_state
from fedlocal.runtime import Loop, Vmapped
from fedlocal.vectors.rng import Purpose, generator
from strategies import fedavg, local_sgd, mime, scaffold
from tests.flower.rig import Rig, in_process
from tests.pictures import SHAPE, SIZES, simulation
from tests.runs import advanced, final, largest_difference
from tests.strategies_in_conf import one_of_each, strategy_of

RNG = np.random.default_rng(0)


def crop_flip(picture, top, left, flip, padding):
    """One picture [C, H, W], pixel by pixel."""
    height, width = picture.shape[1:]
    out = np.zeros_like(picture)
    for i in range(height):
        for j in range(width):
            row, column = i + top - padding, (width - 1 - j if flip else j) + left - padding
            if 0 <= row < height and 0 <= column < width:
                out[:, i, j] = picture[:, row, column]
    return out


def resized_crop(picture, top, left, tall, wide, flip):
    """One picture [C, H, W]: torch's own bilinear stretching of the part."""
    part = torch.from_numpy(picture[:, top : top + tall, left : left + wide].copy())
    out = nn.functional.interpolate(
        part[None], picture.shape[1:], mode="bilinear", align_corners=False, antialias=False
    )[0]
    return (out.flip(2) if flip else out).numpy()


def drawn(augment, steps=40, batch=25, size=SHAPE[1:], key=(0, 1, 2)):
    return augment.draw(generator(key[0], Purpose.AUGMENTATION, *key[1:]), steps, batch, size)


CASES = [
    (CropFlip(2), lambda p, *d: crop_flip(p, *d, padding=2)),
    (CropFlip(0, flip=True), lambda p, *d: crop_flip(p, *d, padding=0)),
    (CropFlip(3, flip=False), lambda p, *d: crop_flip(p, *d, padding=3)),
    (ResizedCrop(0.1), resized_crop),
    (ResizedCrop(0.5, flip=False), resized_crop),
]


@pytest.mark.parametrize(("augment", "oracle"), CASES, ids=[repr(a) for a, _ in CASES])
def test_pictures_are_those_of_the_oracle(augment, oracle):
    draws = drawn(augment, steps=4, batch=6)
    x = RNG.standard_normal((4, 6, *SHAPE))
    expected = np.array(
        [[oracle(p, *d) for p, d in zip(*step, strict=True)] for step in zip(x, draws, strict=True)]
    )
    x, draws = torch.from_numpy(x), torch.from_numpy(draws)
    for found in (
        torch.stack([augment.apply(*step) for step in zip(x, draws, strict=True)]),
        torch.vmap(augment.apply)(x, draws),
    ):
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-13)


def test_every_crop_is_as_frequent_as_any_other():
    draws = drawn(CropFlip(1), steps=100, batch=90).reshape(-1, 3)
    counts = np.bincount(np.ravel_multi_index(draws.T, (3, 3, 2)), minlength=18)
    # 500 each: five standard deviations of a binomial.
    assert abs(counts - 500).max() < 5 * np.sqrt(500)
    assert not drawn(CropFlip(0, flip=False)).any()
    assert drawn(CropFlip(3, flip=False))[..., 2].max() == 0


def test_parts_lie_inside_and_have_the_area_and_ratio_of_the_paper():
    size = (200, 150)
    top, left, tall, wide, flip = drawn(ResizedCrop(0.2), 50, 60, size).reshape(-1, 5).T
    assert (top >= 0).all() and (left >= 0).all() and set(flip) == {0, 1}
    assert (top + tall <= size[0]).all() and (left + wide <= size[1]).all()
    share, ratio = tall * wide / (size[0] * size[1]), wide / tall
    assert 0.19 < share.min() < 0.21 and share.max() > 0.8
    assert 0.74 < ratio.min() < 0.77 and 1.3 < ratio.max() < 1.35
    assert (top + tall == size[0]).any() and (top == 0).any()
    whole = drawn(ResizedCrop(1.0, flip=False), 3, 3, (9, 9)).reshape(-1, 5)
    # Nothing but the whole picture has the whole area, whatever the ratio.
    assert (whole[:, 2:4] >= 8).all()


@pytest.mark.parametrize("augment", [CropFlip(), ResizedCrop()])
def test_draws_are_keyed_and_more_steps_begin_with_the_same(augment):
    keys = [(s, c, t) for s in (0, 1) for c in range(3) for t in range(3)]
    assert len({drawn(augment, 3, 4, key=key).tobytes() for key in keys}) == len(keys)
    long = drawn(augment, 9, 4)
    np.testing.assert_array_equal(drawn(augment, 2, 4), long[:2])
    assert (long[0] != long[1]).any()


def test_the_draws_of_a_run_never_change():
    """They are part of a run's identity. A failure here belongs into the changelog's Numerics."""
    assert drawn(CropFlip(4), 1, 3, key=(0, 0, 0)).tolist() == FROZEN[0]
    assert drawn(ResizedCrop(), 1, 3, (32, 32), key=(5, 2, 7)).tolist() == FROZEN[1]


def test_a_run_sees_crops_of_its_own_pictures():
    """The gradient is minus the picture that was seen, so the model's path shows them all."""
    picture = RNG.standard_normal((1, *SHAPE))
    model = nn.Sequential(nn.Flatten(), nn.Linear(picture.size, 1, bias=False)).double()
    sim = simulation(
        local_sgd(1.0, 1), rounds=8, model=model, loss=lambda output, target: -output.mean(),
        clients=[(torch.from_numpy(picture), torch.zeros(1, 1))], augment=CropFlip(2),
    )  # fmt: skip
    states = accumulate(
        range(8), lambda state, _: advanced(sim, state, 1), initial=initial_state(sim)
    )
    path = [state.server.anchor[0].numpy() for state in states]
    moves = [(after - before).reshape(SHAPE) for before, after in pairwise(path)]
    places = product(range(5), range(5), (0, 1))
    crops = [crop_flip(picture[0], *place, padding=2) for place in places]
    seen = [int(np.argmin([abs(move - crop).max() for crop in crops])) for move in moves]
    for move, which in zip(moves, seen, strict=True):
        np.testing.assert_allclose(move, crops[which], rtol=0, atol=1e-12)
    assert len(set(seen)) > 4


@pytest.mark.parametrize("name", one_of_each("inner", "correction", "uplink"))
def test_runtimes_agree_beside_every_strategy(name):
    options = {"augment": CropFlip(2), "clip_norm": 0.5, "rounds": 2}
    loop, vmapped = (
        final(simulation(strategy_of(name), runtime, **options)) for runtime in (Loop(), Vmapped())
    )
    assert largest_difference(loop, vmapped) < 1e-12
    if name == "local_sgd":
        assert largest_difference(loop, final(simulation(strategy_of(name), rounds=2))) > 1e-4


@pytest.mark.parametrize("augment", [CropFlip(2), ResizedCrop(0.3)])
def test_groups_and_resuming_change_nothing(augment):
    strategy = fedavg(0.1, epochs=2)
    loop = final(simulation(strategy, augment=augment))
    for size in (1, 2):
        grouped = final(simulation(strategy, Vmapped(size), augment=augment))
        assert largest_difference(grouped, loop) < 1e-12
    sim = simulation(strategy, augment=augment)
    halfway = pickle.loads(pickle.dumps(advanced(sim, initial_state(sim), 1)))
    assert largest_difference(advanced(sim, halfway, sim.rounds - 1), loop) == 0


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("make", [local_sgd, mime])
def test_nodes_see_the_same_pictures(make, nodes):
    sim = simulation(make(0.1, 2), augment=CropFlip(2), clip_norm=0.5)
    _, state, _ = Rig(sim, nodes).run()
    assert torch.equal(state.server.anchor, in_process(sim)[1].server.anchor)


def test_both_gradients_of_a_step_see_the_same_pictures():
    # In Mime's first step they cancel, so that nothing of the mini-batch is left.
    plain, changed = (
        final(simulation(mime(0.1, 1), augment=augment)) for augment in (None, CropFlip(2))
    )
    assert largest_difference(plain, changed) < 1e-12


def test_full_gradients_and_evaluations_see_them_as_they_are():
    plain, changed = (simulation(scaffold(0.1, 2), augment=a) for a in (None, CropFlip(2)))
    clients = np.arange(len(SIZES))
    order = RoundPlan(0, 0, clients, clients, np.full(3, 2), clients > 5)
    gradients = [s.population.gradients(s, initial_state(s), order)[1] for s in (plain, changed)]
    assert torch.equal(*gradients)
    examples = Examples(plain.objective.x, plain.objective.y)
    losses = [score(s.objective, s.start, Own(), examples, 4) for s in (plain, changed)]
    assert losses[0] == losses[1]


def test_none_is_nothing():
    runs = [simulation(local_sgd(0.1, 2), augment=augment) for augment in (None, NoAugment())]
    assert largest_difference(*map(final, runs)) == 0
    assert run_digest(runs[0]) == run_digest(runs[1])


def test_bytes_are_changed_as_numbers():
    """Padding is the mean colour, whatever the pictures are kept as."""
    pixels = Pixels((0.5, 0.4), (0.2, 0.3))
    x = torch.randint(0, 256, (6, *SHAPE), dtype=torch.uint8)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    mean, std = torch.tensor(pixels.mean), torch.tensor(pixels.std)
    numbers = (x.float() / 255 - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    whole, counts = ((np.arange(6),),), np.array([6.0])
    for runtime in (Loop(), Vmapped()):
        sims = [
            simulation(
                local_sgd(0.1, 3), runtime, dtype=torch.float32, augment=CropFlip(2),
                clients=Clients(held, y, whole, counts, what),
            )
            for held, what in ((x, pixels), (numbers, None))
        ]  # fmt: skip
        assert largest_difference(*map(final, sims)) == 0


def test_refusals():
    flat = [(torch.randn(6, 10), torch.zeros(6, dtype=torch.int64))]
    for clients, augment, message in (
        (flat, CropFlip(), r"needs pictures \[C, H, W\] of numbers, an example is \[10\]"),
        (flat, ResizedCrop(), r"use augment=none, or data that are pictures"),
        (None, CropFlip(5), r"padding=5 may leave nothing of pictures of 6 x 5"),
        (
            [(torch.zeros(6, *SHAPE, dtype=torch.uint8), flat[0][1])],
            CropFlip(1),
            r"client 0: x is uint8; .*pixels=Pixels",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            simulation(local_sgd(0.1, 2), clients=clients, augment=augment)
    with pytest.raises(ValueError, match=r"padding must be >= 0, got -1"):
        CropFlip(-1)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"least_area must be in \(0, 1\]"):
            ResizedCrop(share)


FROZEN = (
    [[[3, 5, 0], [8, 5, 1], [0, 0, 0]]],
    [[[9, 9, 21, 20, 1], [13, 14, 11, 13, 1], [1, 15, 11, 11, 0]]],
)
