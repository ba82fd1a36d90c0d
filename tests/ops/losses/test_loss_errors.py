"""What losses refuse: the message says what was expected, and what came."""

import numpy as np
import pytest

import graphgpu as gg

X = gg.placeholder("x", (3, 4))
VECTOR = gg.placeholder("v", (3,))
CLASSES = gg.placeholder("t", (3,), "int64")
NAMED = gg.placeholder("s", ("n", 4))
REDUCTIONS = "expected 'mean', 'sum' or 'none'"
OF_PAIRS = [gg.kl_divergence, gg.js_divergence]
OF_ELEMENTS = [
    gg.mse,
    gg.l1_loss,
    gg.huber_loss,
    gg.smooth_l1_loss,
    gg.binary_cross_entropy,
    gg.binary_cross_entropy_with_logits,
    gg.soft_margin_loss,
    gg.hinge_loss,
    gg.squared_hinge_loss,
    gg.kl_div,
    gg.poisson_nll_loss,
    gg.euclidean_loss,
]


def refused(function, *arguments, **options):
    with pytest.raises(gg.GraphError) as error:
        function(*arguments, **options)
    message, _, place = str(error.value).rpartition("; created at ")
    assert message.count("; got ") == 1
    assert "test_loss_errors.py" in place
    return message


@pytest.mark.parametrize("loss", OF_ELEMENTS)
def test_a_target_is_not_broadcast(loss):
    message = refused(loss, X, VECTOR)
    expected = f"{loss.__name__}: expected a target of shape [3,4]; got float32[3]"
    assert message == expected


@pytest.mark.parametrize("loss", OF_PAIRS)
def test_distributions_have_one_shape(loss):
    assert refused(loss, X, VECTOR) == (
        f"{loss.__name__}: expected a second distribution of shape [3,4]; "
        "got float32[3]"
    )


@pytest.mark.parametrize("loss", [*OF_ELEMENTS, *OF_PAIRS, gg.cross_entropy])
def test_reductions_are_known(loss):
    message = refused(loss, X, X, reduction="average")
    names = REDUCTIONS
    if loss is gg.kl_div:
        names = "expected 'mean', 'sum', 'none' or 'batchmean'"
    assert message == f"{loss.__name__}(reduction='average'): {names}; got 'average'"


@pytest.mark.parametrize("loss", OF_ELEMENTS[:-1])
def test_weights_and_masks_do_not_enlarge_the_losses(loss):
    name = loss.__name__
    assert refused(loss, X, X, weight=gg.zeros((2, 3, 4))) == (
        f"{name}: expected a weight that broadcasts to [3,4]; got float32[2,3,4]"
    )
    assert refused(loss, X, X, mask=np.ones(3, bool)) == (
        f"{name}: expected a mask of 2 axes that broadcasts to [3,4], or a scalar; "
        "give it axes of size 1 with gg.expand_dims; got bool[3]"
    )
    assert refused(loss, NAMED, NAMED, weight=gg.zeros((3,))) == (
        f"{name}: expected a weight of 2 axes that broadcasts to [n,4], or a scalar; "
        "give it axes of size 1 with gg.expand_dims; got float32[3]"
    )


@pytest.mark.parametrize("shape", [("n", 4), ("n", "n"), (4, 4)])
def test_a_mask_of_samples_is_not_taken_for_one_of_columns(shape):
    x = gg.placeholder("x", shape)
    mask = gg.placeholder("m", shape[:1], "bool")
    assert refused(gg.huber_loss, x, x, mask=mask) == (
        "huber_loss: expected a mask of 2 axes that broadcasts to "
        f"[{shape[0]},{shape[1]}], or a scalar; give it axes of size 1 with "
        f"gg.expand_dims; got bool[{shape[0]}]"
    )
    assert gg.huber_loss(x, x, mask=gg.expand_dims(mask, 1)).shape == ()
    assert gg.huber_loss(x, x, weight=2.0, mask=True).shape == ()


def test_targets_of_pairs_that_are_constant_are_among_those_that_are_read():
    pairs = gg.zeros((2, 3)), gg.ones((2, 3))
    assert refused(gg.contrastive_loss, *pairs, [1, -1]) == (
        "contrastive_loss: expected a target of 0 (alike) or 1 (not alike), not -1; "
        "got int64[2]"
    )
    assert refused(gg.cosine_embedding_loss, *pairs, [1.0, 0.0]) == (
        "cosine_embedding_loss: expected a target of 1 (alike) or -1 (not alike), "
        "not 0; got float32[2]"
    )
    for loss in (gg.contrastive_loss, gg.cosine_embedding_loss):
        assert loss(*pairs, [1, 7], mask=[True, False]).shape == ()


@pytest.mark.parametrize(
    "loss", [gg.euclidean_loss, *OF_PAIRS, gg.contrastive_loss, gg.triplet_margin_loss]
)
def test_masks_of_samples_have_no_axis_of_elements(loss):
    more = [] if loss in (gg.euclidean_loss, *OF_PAIRS) else [VECTOR]
    if loss is gg.triplet_margin_loss:
        more = [X]
    assert refused(loss, X, X, *more, mask=np.ones((3, 4), bool)) == (
        f"{loss.__name__}: expected a mask that broadcasts to [3]; got bool[3,4]"
    )


def test_a_mask_is_of_bools():
    message = refused(gg.mse, X, X, mask=gg.ones((3, 4)))
    assert message == (
        'mse: expected a mask of bools; use gg.cast(mask, "bool"); got float32[3,4]'
    )


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (gg.huber_loss, {"delta": 0}, "(delta=0): expected a positive number"),
        (gg.smooth_l1_loss, {"beta": -1}, "(beta=-1): expected 0 or a positive number"),
        (gg.poisson_nll_loss, {"eps": -1}, "(eps=-1): expected 0 or a positive number"),
        (
            gg.pairwise_distance,
            {"p": 0},
            "(p=0): expected a positive number, or infinity",
        ),
        (
            gg.kl_divergence,
            {"axis": 2},
            "(axis=2): axis 2 is out of range",
        ),
        (
            gg.cosine_similarity,
            {"axis": -3},
            "(axis=-3): axis -3 is out of range",
        ),
    ],
)
def test_arguments_of_two_operands(function, arguments, message):
    found = refused(function, X, X, **arguments)
    assert found.startswith(function.__name__ + message)


@pytest.mark.parametrize(
    ("function", "target", "arguments", "message"),
    [
        (gg.multi_margin_loss, CLASSES, {"p": 3}, "(p=3): expected 1 or 2; got 3"),
        (
            gg.multi_margin_loss,
            VECTOR,
            {},
            ": expected integer classes as the target; got float32[3,4] and float32[3]",
        ),
        (
            gg.multi_margin_loss,
            gg.placeholder("t", (2,), "int64"),
            {},
            ": expected a target of shape [3]; got int64[2]",
        ),
        (
            gg.multi_margin_loss,
            CLASSES,
            {"weight": gg.zeros((3,))},
            ": expected a weight of shape [4]; got float32[3]",
        ),
        (
            gg.multilabel_margin_loss,
            CLASSES,
            {},
            ": expected a target of shape [3,4]; got int64[3]",
        ),
        (
            gg.cross_entropy,
            CLASSES,
            {"mask": np.ones((3, 4), bool)},
            ": expected a mask that broadcasts to [3]; got bool[3,4]",
        ),
    ],
)
def test_arguments_of_losses_of_classes(function, target, arguments, message):
    found = refused(function, X, target, **arguments)
    assert found == function.__name__ + message


def test_arguments_of_losses_of_three_operands():
    for found, expected in (
        (
            refused(gg.cosine_embedding_loss, X, X, VECTOR, margin=2),
            "cosine_embedding_loss(margin=2): expected -1 to 1; got 2",
        ),
        (
            refused(gg.cosine_embedding_loss, X, VECTOR, VECTOR),
            "cosine_embedding_loss: expected a second operand of shape [3,4]; "
            "got float32[3]",
        ),
        (
            refused(gg.cosine_embedding_loss, X, X, X),
            "cosine_embedding_loss: expected a target of shape [3]; got float32[3,4]",
        ),
        (
            refused(gg.contrastive_loss, X, X, VECTOR, margin=0),
            "contrastive_loss(margin=0): expected a positive number; got 0",
        ),
        (
            refused(gg.triplet_margin_loss, X, X, VECTOR),
            "triplet_margin_loss: expected a negative of shape [3,4]; got float32[3]",
        ),
        (
            refused(gg.triplet_margin_loss, X, X, X, p=-1),
            "triplet_margin_loss(p=-1): expected a positive number, or infinity; "
            "got -1",
        ),
        (
            refused(gg.margin_ranking_loss, X, X, VECTOR),
            "margin_ranking_loss: expected a target of shape [3,4]; got float32[3]",
        ),
        (
            refused(gg.gaussian_nll_loss, X, X, VECTOR),
            "gaussian_nll_loss: expected a variance that broadcasts to [3,4]; "
            "got float32[3]",
        ),
        (
            refused(gg.gaussian_nll_loss, X, X, VECTOR, log_var=True),
            "gaussian_nll_loss: expected a logarithm of the variance that broadcasts "
            "to [3,4]; got float32[3]",
        ),
        (
            refused(gg.kl_div, gg.zeros(()), gg.zeros(()), "batchmean"),
            "kl_div(reduction='batchmean'): expected a first axis; got 'batchmean'",
        ),
    ):
        assert found == expected


@pytest.mark.parametrize("loss", [gg.multi_margin_loss, gg.multilabel_margin_loss])
def test_a_class_that_does_not_exist_is_an_error(loss):
    target = [1, 4, 0] if loss is gg.multi_margin_loss else [[1, 4, -1, 0]] * 3
    with pytest.raises(gg.ComputeError, match=r"target 4 at .* classes 0 to 3"):
        gg.evaluate(loss(gg.zeros((3, 4)), target))


def test_integers_become_floats_and_a_losss_dtype_is_that_of_its_operands():
    assert gg.mse(gg.constant([1, 2]), [3, 4]).dtype == np.float32
    single, array = gg.placeholder("f", (2,)), np.ones(2)
    for loss in (gg.mse, gg.huber_loss):
        assert loss(single, array).dtype == np.float32
        assert loss(single, gg.constant(array)).dtype == np.float64
    x = gg.placeholder("h", (2,), "float16")
    assert gg.huber_loss(x, [1.0, 2.0], weight=np.ones(2)).dtype == np.float16
    assert gg.hinge_loss(x, gg.constant([1, -1])).dtype == np.float16
