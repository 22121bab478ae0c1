"""digits, synthetic and quadratic against their definitions."""

import numpy as np
import pytest
import torch

from fedlocal.data import digits, quadratic, synthetic
from fedlocal.data.fedprox_synthetic import INPUT_STD
from fedlocal.data.split import stratified_split


def test_stratified_split_covers_and_balances():
    labels = np.repeat([0, 1, 2], [50, 30, 21])
    train, test = stratified_split(labels, 0.2, seed=3)
    assert sorted([*train, *test]) == list(range(101))
    assert len(test) == 21  # ceil(20.2)
    assert np.bincount(labels[test]).tolist() == [11, 6, 4]  # of 10.4, 6.2 and 4.4
    assert (train == stratified_split(labels, 0.2, seed=3)[0]).all()
    assert not np.array_equal(test, stratified_split(labels, 0.2, seed=4)[1])


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_test_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match=r"test_fraction must be in \[0, 1\), got"):
        digits(test_fraction=fraction)


def test_digits():
    data = digits()
    assert (len(data.x_train), len(data.x_test)) == (1437, 360)
    assert data.input_shape == (64,)
    assert data.num_outputs == 10
    assert data.x_train.dtype == torch.float32
    x = torch.cat([data.x_train, data.x_test])
    assert abs(x.mean()) < 1e-3
    assert abs(x.std() - 1) < 1e-3
    counts = torch.bincount(data.y_train) + torch.bincount(data.y_test)
    # The counts of the UCI description, digit by digit.
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_image_form_and_no_test_set():
    flat, images = digits(test_fraction=0), digits(test_fraction=0, flat=False)
    assert flat.x_test is None
    assert images.input_shape == (1, 8, 8)
    assert torch.equal(images.x_train.flatten(1), flat.x_train)
    assert len(flat.x_train) == 1797


def test_synthetic_sizes_and_split():
    data = synthetic(num_clients=400, seed=1)
    sizes = np.bincount(data.client_ids, minlength=400)
    assert (np.diff(data.client_ids) >= 0).all()
    assert sizes.min() >= 40  # 0.8 * 50
    assert len(data.x_train) / (len(data.x_train) + len(data.x_test)) == pytest.approx(
        0.8, abs=0.01
    )
    log_sizes = np.log(sizes / 0.8 - 50 + 0.5)
    assert np.median(log_sizes) == pytest.approx(4.0, abs=0.35)
    assert np.percentile(log_sizes, 84) == pytest.approx(6.0, abs=0.5)
    assert data.input_shape == (60,)
    assert data.num_outputs == 10


def by_client(data, values):
    return torch.split(values, np.bincount(data.client_ids).tolist())


def test_synthetic_inputs_follow_the_definition():
    num_clients, beta = 300, 3.0
    data = synthetic(num_clients=num_clients, alpha=0.0, beta=beta, seed=2)
    clients = by_client(data, data.x_train.double())
    means = torch.stack([x.mean(0) for x in clients])
    # v_kj ~ N(B_k, 1) within a client; B_k ~ N(0, beta) over clients, beta a deviation.
    assert means.std(1).mean() == pytest.approx(1.0, abs=0.03)
    assert means.mean(1).std() == pytest.approx(beta, rel=0.12)
    biggest = max(clients, key=len)
    assert torch.allclose(biggest.std(0), torch.from_numpy(INPUT_STD), rtol=0.1)
    assert INPUT_STD[9] ** 2 == pytest.approx(10**-1.2)


def test_synthetic_alpha_moves_models_but_not_labels():
    def skew(alpha):
        data = synthetic(num_clients=60, alpha=alpha, beta=0.0, seed=0)
        shares = [y.bincount().max() / len(y) for y in by_client(data, data.y_train)]
        return float(np.mean(shares))

    # u_k shifts the ten logits alike, so it cancels in the argmax: a property of the definition.
    assert skew(0.0) == pytest.approx(skew(5.0), abs=0.1)


def test_synthetic_iid_shares_model_and_inputs():
    data = synthetic(num_clients=50, iid=True, seed=0)
    assert data.x_train.mean(0).abs().max() < 0.1
    pooled = torch.bincount(data.y_train, minlength=10) / len(data.y_train)
    for y in by_client(data, data.y_train):
        # Every client's label counts are one multinomial sample: chi-squared with 9 degrees.
        expected = pooled * len(y)
        chi_squared = ((torch.bincount(y, minlength=10) - expected) ** 2 / expected).sum()
        assert chi_squared < 40


def test_synthetic_first_clients_do_not_depend_on_how_many():
    few, many = synthetic(num_clients=3, seed=5), synthetic(num_clients=6, seed=5)
    assert torch.equal(few.x_train, many.x_train[: len(few.x_train)])
    assert not torch.equal(few.x_train[:40], synthetic(num_clients=3, seed=6).x_train[:40])


def test_synthetic_refusal():
    with pytest.raises(ValueError, match="synthetic needs num_clients >= 1, alpha >= 0 and beta"):
        synthetic(alpha=-1.0)


def test_quadratic_optimum_is_the_least_squares_solution():
    data = quadratic(num_clients=5, dim=7, examples_per_client=9, condition=30.0, seed=4)
    a, b = data.x_train.numpy(), data.y_train.numpy()
    # Equal sizes: the uniform mean of the clients' objectives is the pooled one.
    expected = np.linalg.lstsq(a, b, rcond=None)[0][:, 0]
    assert data.x_train.dtype == data.optimum.dtype == torch.float64
    assert data.optimum.shape == (7,)
    assert np.abs(data.optimum.numpy() - expected).max() < 1e-12
    assert data.x_test is None
    assert data.num_outputs == 1


def test_quadratic_clients_have_the_promised_spectrum_and_disagree():
    data = quadratic(num_clients=4, dim=6, examples_per_client=8, condition=50.0, seed=0)
    optima = []
    for client in range(4):
        mine = data.client_ids == client
        a, b = data.x_train[mine].numpy(), data.y_train[mine].numpy()
        eigenvalues = np.linalg.eigvalsh(a.T @ a / 8)
        assert eigenvalues[[0, -1]] == pytest.approx([1 / 50, 1.0], rel=1e-10)
        optima.append(np.linalg.lstsq(a, b, rcond=None)[0][:, 0])
    assert np.std(optima, axis=0).min() > 0.05


def test_quadratic_without_heterogeneity_agrees():
    data = quadratic(num_clients=4, dim=6, examples_per_client=8, heterogeneity=0.0)
    residual = data.x_train @ data.optimum - data.y_train[:, 0]
    assert residual.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 50}, "examples_per_client >= dim >= 1, got .*examples_per_client=40, dim=50"),
        ({"condition": 0.5}, "condition >= 1 and heterogeneity >= 0, got condition=0.5"),
        ({"num_clients": 0}, "num_clients >= 1"),
    ],
)
def test_quadratic_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        quadratic(**arguments)
