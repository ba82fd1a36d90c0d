"""Facts of the nets that have a probability or an energy, as the examples have them."""

import importlib
from itertools import pairwise

import numpy as np
import pytest

import graphgpu as gg

VAE = importlib.import_module("23_variational_autoencoder")
HOPFIELD = importlib.import_module("24_hopfield_net")
BOLTZMANN = importlib.import_module("25_boltzmann_machine")


def fixed(mean, log_variance):
    """Return an encoder that says the same of every image."""
    said = np.concatenate([mean, log_variance])[None].astype("float32")
    return lambda x: gg.broadcast_to(said, (x.shape[0], said.shape[1]))


@pytest.fixture
def bound():
    """Return the terms of the bound where all is known: one image, a linear decoder."""
    mean, log_variance = np.array([0.3, -0.5]), np.array([-0.2, 0.3])
    image = np.float32([[0, 1, 1]])
    weight = np.float32([[1, -0.5, 0.3], [0.2, 0.8, -1]])
    with gg.root_scope(seed=0):
        terms = VAE.bound(
            gg.constant(image),
            fixed(mean, log_variance),
            lambda z: z @ gg.constant(weight),
            samples=20_000,
        )
    return mean, log_variance, image, weight, [gg.evaluate(term) for term in terms]


def normal(z, mean=0.0, variance=1.0):
    return np.exp(-((z - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def test_the_kl_term_is_the_integral_of_q_log_q_over_p(bound):
    mean, log_variance, _, _, (_, kl, _, _) = bound
    z, step = np.linspace(-12, 12, 20_001, retstep=True)
    total = 0.0
    for m, v in zip(mean, np.exp(log_variance), strict=True):
        q = normal(z, m, v)
        log_ratio = np.log(1 / v) / 2 - (z - m) ** 2 / (2 * v) + z**2 / 2
        total += np.sum(q * log_ratio) * step
    assert kl == pytest.approx([total], rel=1e-5)


def test_the_mean_of_the_weights_is_p_of_x_and_the_bound_lies_below(bound):
    _, _, image, weight, (elbo, kl, weights, rebuilt) = bound
    z, step = np.linspace(-8, 8, 401, retstep=True)
    grid = np.stack(np.meshgrid(z, z), axis=-1)
    p = 1 / (1 + np.exp(-grid @ weight))
    p_x = np.prod(np.where(image == 1, p, 1 - p), axis=-1)
    exact = np.sum(p_x * normal(grid).prod(axis=-1)) * step**2
    assert np.mean(np.exp(weights)) == pytest.approx(exact, rel=0.02)
    assert elbo[0] < np.log(exact)
    assert np.mean(rebuilt - weights) == pytest.approx(kl[0], abs=0.03)
    assert np.mean(weights) == pytest.approx(elbo[0], abs=0.03)


@pytest.fixture(scope="module")
def net():
    return HOPFIELD.Net(40, "cpu")


def states(count, units=40, seed=0):
    return np.random.default_rng(seed).choice(np.float32([-1, 1]), (count, units))


def test_hebbs_rule_is_the_sum_of_products_without_the_diagonal(net):
    patterns = states(6)
    net.hebb(patterns)
    np.testing.assert_array_equal(
        net.J.value, patterns.T @ patterns - 6 * np.eye(40, dtype="float32")
    )


def test_asynchronous_turns_never_raise_the_energy_and_end(net):
    net.hebb(states(30))  # far beyond what it can hold; an even number: fields of 0
    start = states(20, seed=1)
    order = np.tile(np.random.default_rng(2).permutation(40), 20)
    energies = net.trace(start, order)
    assert np.diff(energies, axis=0).max() <= 0
    assert (energies[0] > energies[-1]).all()
    last = net.settle(start)
    fields = last @ net.J.value
    assert (fields * last >= 0).all()
    np.testing.assert_array_equal(net.settle(last), last)


def test_only_the_unit_whose_turn_it_is_turns():
    s = gg.placeholder("s", (1, 3))
    J = gg.constant(np.float32([[0, -1, 0], [-1, 0, 0], [0, 0, 0]]))
    turned = [gg.evaluate(HOPFIELD.turn(s, J, i), {s: [[1, 1, 1]]}) for i in range(3)]
    assert [t[0].tolist() for t in turned] == [[-1, 1, 1], [1, -1, 1], [1, 1, 1]]


def test_the_projection_keeps_patterns_that_are_much_alike(net):
    patterns = np.ones((5, 40), "float32")
    for k, (first, last) in enumerate(pairwise(range(0, 36, 7))):
        patterns[k, first:last] = -1
    net.project(patterns)
    np.testing.assert_array_equal(net.settle(patterns), patterns)
    net.hebb(patterns)
    assert not np.array_equal(net.settle(patterns), patterns)


@pytest.fixture
def machine():
    """Return a machine of 4 pixels and 3 features, far from where it would begin."""
    random = np.random.default_rng(0)
    small = BOLTZMANN.Machine(np.zeros((1, 4), "float32"), 3)
    for parameter in small.parameters:
        parameter.value = random.standard_normal(parameter.shape)
    return small


def images(pixels):
    """Return all images there are."""
    return (np.arange(2**pixels)[:, None] >> np.arange(pixels) & 1).astype("float32")


def probabilities(machine):
    """Return p of all images, by the sum over pixels and features."""
    W, b, c = (parameter.value.astype("float64") for parameter in machine.parameters)
    v, h = images(len(b)), images(len(c))
    p = np.exp(v @ W @ h.T + (v @ b)[:, None] + h @ c).sum(axis=1)
    return p / p.sum()


def test_free_energy_and_log_z_are_those_of_the_sum_over_all_states(machine):
    log_p = -machine.free_energy(gg.constant(images(4))) - machine.log_z()
    np.testing.assert_allclose(
        gg.evaluate(log_p), np.log(probabilities(machine)), rtol=1e-5
    )


def test_the_loss_has_the_gradient_of_minus_log_p_where_the_chain_draws_from_p(machine):
    seen = gg.constant(images(4)[[3, 5, 5, 12]])
    exact = machine.log_z() + machine.free_energy(seen).mean()
    # As if the chain had drawn every image as often as p says.
    v, p = gg.constant(images(4)), gg.constant(probabilities(machine), "float32")
    ideal = machine.free_energy(seen).mean() - (p * machine.free_energy(v)).sum()
    drawn = np.random.default_rng(0).choice(16, 100_000, p=probabilities(machine))
    loss = machine.loss(seen, gg.constant(images(4)[drawn]))
    wanted, found, sampled = (
        gg.gradients(y, machine.parameters) for y in (exact, ideal, loss)
    )
    for want, find, sample in zip(wanted, found, sampled, strict=True):
        np.testing.assert_allclose(gg.evaluate(find), gg.evaluate(want), atol=1e-6)
        np.testing.assert_allclose(gg.evaluate(sample), gg.evaluate(want), atol=0.01)


def test_a_long_chain_draws_from_p(machine):
    with gg.root_scope(seed=0):
        last = machine.chain(gg.zeros((20_000, 4)), 30)
    drawn = gg.evaluate(last).astype(int) @ [1, 2, 4, 8]
    shares = np.bincount(drawn, minlength=16) / len(drawn)
    np.testing.assert_allclose(shares, probabilities(machine), atol=0.01)
