"""Group, instance and local response normalisation: identities, sizes, errors."""

import numpy as np
import pytest

import graphgpu as gg

RNG = np.random.default_rng(3)
MAPS = RNG.standard_normal((2, 6, 3, 2)) * 2 + 5
W, B = RNG.standard_normal(6), RNG.standard_normal(6)


def run(variable):
    return gg.evaluate(variable)


def test_groups_of_all_and_of_single_channels_are_layer_and_instance_norm():
    x = gg.constant(MAPS)
    one, single = gg.group_norm(x, 1), gg.group_norm(x, 6, W, B)
    np.testing.assert_allclose(run(one), run(gg.layer_norm(x, (6, 3, 2))), atol=1e-12)
    instances = gg.instance_norm(x, W, B)
    np.testing.assert_allclose(run(single), run(instances), atol=1e-12)


def test_instance_norm_of_one_sample_is_batch_norm_in_training():
    x = gg.constant(MAPS[:1])
    batch = gg.batch_norm(x, None, None, W, B, training=True)
    np.testing.assert_allclose(run(gg.instance_norm(x, W, B)), run(batch), atol=1e-12)


def test_sizes_may_be_named():
    x = gg.placeholder("x", ("n", "c", "h", "w"), "float64")
    for function in (
        gg.instance_norm,
        lambda v: gg.group_norm(v, 3),
        lambda v: gg.local_response_norm(v, 4),
    ):
        program = gg.compile([x], function(x), device="cpu")
        expected = run(function(gg.constant(MAPS)))
        np.testing.assert_allclose(program(MAPS), expected, rtol=1e-12)
    program = gg.compile([x], gg.group_norm(x, 4), device="cpu")
    with pytest.raises(gg.GraphGPUError):
        program(MAPS)  # 4 groups do not divide 6 channels


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 4, 0), (1, 4, 1)])
def test_sizes_zero_and_one(shape):
    x = gg.constant(np.full(shape, 7.0))
    for y in (
        gg.group_norm(x, 2),
        gg.instance_norm(x),
        gg.local_response_norm(x, 3, k=0.0, alpha=3.0, beta=0.5),
    ):
        assert run(y).shape == shape
        assert np.isfinite(run(y)).all()


@pytest.mark.parametrize("function", ["layer", "group", "instance"])
def test_constant_maps_become_0_and_a_large_mean_costs_no_digits(function):
    normalise = {
        "layer": lambda v: gg.layer_norm(v, 3),
        "group": lambda v: gg.group_norm(v, 4),
        "instance": gg.instance_norm,
    }[function]
    flat = gg.constant(np.full((1, 4, 3), 1e6, "float32"))
    np.testing.assert_array_equal(run(normalise(flat)), 0)
    steps = gg.constant(np.float32(1e6) + np.float32([[[0, 1, 2]] * 4]))
    expected = np.array([-1, 0, 1]) / np.sqrt(2 / 3)
    np.testing.assert_allclose(run(normalise(steps))[0, 0], expected, rtol=1e-4)


def test_local_response_norm_of_one_channel_divides_by_a_power_of_itself():
    x = np.array([[[2.0, -3.0]]])
    y = gg.local_response_norm(gg.constant(x), 1, alpha=1.0, beta=0.5, k=0.0)
    np.testing.assert_allclose(run(y), np.sign(x), rtol=1e-6)


def test_l1_batch_norm_agrees_with_l2_on_gaussians_and_in_inference():
    x = gg.constant(RNG.standard_normal((20000, 2)) * [2.0, 0.1] + [1.0, -3.0])
    l1 = gg.batch_norm(x, None, None, training=True, norm="l1")
    l2 = gg.batch_norm(x, None, None, training=True)
    np.testing.assert_allclose(run(l1), run(l2), atol=0.05)
    mean, var = np.array([1.0, -3.0]), np.array([4.0, 0.01])
    same = [gg.batch_norm(x, mean, var, norm=norm) for norm in ("l1", "l2")]
    np.testing.assert_array_equal(run(same[0]), run(same[1]))


def test_l1_batch_norm_keeps_running_statistics_of_gaussians():
    x = RNG.standard_normal((20000, 1)) * 3 + 1
    mean, var = gg.state("mean", [0.0]), gg.state("var", [1.0])
    y = gg.batch_norm(gg.constant(x), mean, var, training=True, momentum=1.0, norm="l1")
    gg.compile([], y, gg.state_updates(y), device="cpu")()
    np.testing.assert_allclose(mean.value, x.mean(), rtol=1e-5)
    np.testing.assert_allclose(var.value, 9, rtol=0.05)


def test_arguments_that_do_not_fit_say_what_was_expected():
    x = gg.placeholder("x", ("n", 6, 4))
    with pytest.raises(gg.ShapeError, match=r"that 4 groups divide, got 6"):
        gg.group_norm(x, 4)
    with pytest.raises(gg.GraphError, match=r"expected one group or more"):
        gg.group_norm(x, 0)
    with pytest.raises(gg.GraphError, match=r"expected num_groups to be an int"):
        gg.group_norm(x, 2.0)
    with pytest.raises(gg.ShapeError, match=r"weight of shape \[6\]"):
        gg.group_norm(x, 2, np.ones(4))
    for function in (gg.instance_norm, lambda v: gg.local_response_norm(v, 3)):
        with pytest.raises(gg.ShapeError, match=r"x of shape \(N, C, d1, \.\.\.\)"):
            function(gg.placeholder("x", ("n", 6)))
    with pytest.raises(gg.GraphError, match=r"expected size to be an int > 0"):
        gg.local_response_norm(x, 0)
    with pytest.raises(gg.GraphError, match=r"expected norm 'l2' or 'l1', got 'l3'"):
        gg.batch_norm(x, None, None, training=True, norm="l3")
