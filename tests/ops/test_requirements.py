"""Errors of what a function is made of name the function that was called."""

import re

import numpy as np
import pytest

import graphgpu as gg

X = gg.placeholder("x", (2, 3))
IMAGE = gg.placeholder("image", (2, 4, 6, 6))
KERNEL = gg.placeholder("kernel", (4, 3, 3, 3))
MATRICES = gg.placeholder("matrices", (5, 3, 3))
INTEGERS = gg.placeholder("n", (2, 3), "int32")
REFUSED = {
    "clipped_linear": lambda: gg.clipped_linear("x"),
    "relu6": lambda: gg.relu6("x"),
    "rrelu": lambda: gg.rrelu("x"),
    "identity": lambda: gg.identity("x"),
    "softplus": lambda: gg.softplus("x"),
    "logsigmoid": lambda: gg.logsigmoid("x"),
    "log_softmax": lambda: gg.log_softmax("x"),
    "elu(alpha=array([1., 2.]))": lambda: gg.elu(X, np.array([1.0, 2.0])),
    "mse, weight": lambda: gg.mse(X, X, weight="w"),
    "cross_entropy, weight": lambda: gg.cross_entropy(X, [0, 1], "w"),
    "cross_entropy(label_smoothing='a')": lambda: gg.cross_entropy(
        X, [0, 1], label_smoothing="a"
    ),
    "hinge_loss(margin='a')": lambda: gg.hinge_loss(X, X, margin="a"),
    "huber_loss(delta='a')": lambda: gg.huber_loss(X, X, delta="a"),
    "pairwise_distance(p='a')": lambda: gg.pairwise_distance(X, X, "a"),
    "pairwise_distance": lambda: gg.pairwise_distance(X, gg.zeros(2)),
    "cosine_similarity": lambda: gg.cosine_similarity(X, gg.zeros(2)),
    "cosine_similarity(eps=-1)": lambda: gg.cosine_similarity(X, X, eps=-1),
    "ctc_loss": lambda: gg.ctc_loss("x", [[1]], [1], [1]),
    "ctc_loss(blank=0.5)": lambda: gg.ctc_loss(
        gg.zeros((2, 1, 3)), [[1]], [2], [1], blank=0.5
    ),
    "l1_penalty": lambda: gg.l1_penalty(X),
    "l2_penalty": lambda: gg.l2_penalty([X], "a"),
    "elastic_penalty": lambda: gg.elastic_penalty([]),
    "smooth_labels(axis=2)": lambda: gg.smooth_labels(X, axis=2),
    "vector_norm(ord='fro')": lambda: gg.vector_norm(X, "fro"),
    "vector_norm(ord=-1)": lambda: gg.vector_norm(gg.zeros((2, 0)), -1, 1),
    "layer_norm(normalized_shape=3), eps=-1": lambda: gg.layer_norm(X, 3, eps=-1),
    "rms_norm(normalized_shape=3), eps='a'": lambda: gg.rms_norm(X, 3, eps="a"),
    "batch_norm(training=True), eps=-1": lambda: gg.batch_norm(
        X, None, None, training=True, eps=-1
    ),
    "group_norm(num_groups=1), eps=-1": lambda: gg.group_norm(X, 1, eps=-1),
    "instance_norm, eps=-1": lambda: gg.instance_norm(IMAGE, eps=-1),
    "soft_attention": lambda: gg.soft_attention(X, gg.zeros((5, 3, 4))),
    "attention_weights, scores and mask": lambda: gg.attention_weights(
        X, X, gg.zeros((3, 3))
    ),
    "scaled_dot_product_attention": lambda: gg.scaled_dot_product_attention(
        MATRICES, gg.zeros((4, 3, 3)), gg.zeros((4, 3, 3))
    ),
    "scaled_dot_product_attention(dropout_p=2)": (
        lambda: gg.scaled_dot_product_attention(X, X, X, dropout_p=2)
    ),
    "bilinear": lambda: gg.bilinear(X, X, gg.zeros((2, 3, 4))),
    "quadratic_form": lambda: gg.quadratic_form(X, MATRICES),
    "gaussian_noise": lambda: gg.gaussian_noise(INTEGERS),
    "gaussian_noise(std='a')": lambda: gg.gaussian_noise(X, "a"),
    "dropout": lambda: gg.dropout("x"),
    "hard_switch": lambda: gg.hard_switch(gg.constant(2), X, X),
    "top_k_gates(k=4)": lambda: gg.top_k_gates(X, 4),
    "top_k_gates(k=0)": lambda: gg.top_k_gates(X, 0),
    "top_k_gates(axis=2)": lambda: gg.top_k_gates(X, 1, 2),
    "load_balancing_loss(k=0)": lambda: gg.load_balancing_loss(X, 0),
    "true_conv2d(stride=1, padding=0)": lambda: gg.true_conv2d(IMAGE, KERNEL),
    "depthwise_conv2d(stride=1, padding=0)": lambda: gg.depthwise_conv2d(
        IMAGE[0], KERNEL
    ),
    "depthwise_conv2d(stride=0, padding=0)": lambda: gg.depthwise_conv2d(
        IMAGE, KERNEL[:, :1], stride=0
    ),
    "separable_conv2d(stride=1, padding=0)": lambda: gg.separable_conv2d(
        IMAGE, KERNEL[:, :1], gg.zeros((2, 5, 1, 1))
    ),
    "subsample2d(kernel_size=9, stride=None, padding=0)": lambda: gg.subsample2d(
        IMAGE, gg.zeros(4), gg.zeros(4), 9
    ),
    "detect_motifs(stride=1, padding=0, dilation=1)": lambda: gg.detect_motifs(
        IMAGE, KERNEL
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_names_the_function_that_was_called(name):
    with pytest.raises(gg.GraphError, match="^" + re.escape(f"{name}: ")) as error:
        REFUSED[name]()
    assert str(error.value).count("; got ") <= 1
    assert "test_requirements.py" in str(error.value).rpartition("; created at ")[2]


def test_what_came_is_said_once():
    for refused, message in (
        (
            lambda: gg.huber_loss(X, X, delta=-1),
            "huber_loss(delta=-1): expected a positive number; got -1; created at ",
        ),
        (
            lambda: gg.max_pool2d(IMAGE, 2, 0),
            "expected stride to be an int or 2 ints >= 1, not 0; got "
            "float32[2,4,6,6]; created at ",
        ),
        (
            lambda: gg.nn.LSTM(3, 2)(gg.zeros((2, 5, 3)), mask=gg.zeros((2, 5))),
            "expected a mask of bools, True where a sequence goes on, not "
            "float32[2,5]; compare, or use gg.cast(mask, 'bool'); got "
            "float32[2,5,3]; created at ",
        ),
    ):
        with pytest.raises(gg.GraphError, match=re.escape(message)) as error:
            refused()
        assert str(error.value).count("; got ") == 1
