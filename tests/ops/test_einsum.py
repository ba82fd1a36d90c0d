"""einsum against NumPy's, to second order, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.testing import assert_close, check_operation

RANDOM = np.random.default_rng(0)
ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")


def arrays(*shapes):
    return [RANDOM.uniform(-1, 1, shape) for shape in shapes]


ONE = {
    "ij->ji": (2, 3),
    "ij->i": (2, 3),
    "ij->": (2, 3),
    "ij->j": (0, 3),
    "ji": (2, 3),
    "bA": (2, 3),
    "ii": (3, 3),
    "ii->i": (3, 3),
    "iij->j": (3, 3, 2),
    "iji->ji": (3, 2, 3),
    "iii->i": (3, 3, 3),
    "iijj->": (2, 2, 3, 3),
    "i...->...": (2, 3, 4),
    "...i->i...": (2, 3, 4),
    "i...": (2, 3, 4),
    "i...i->...": (3, 2, 4, 3),
    "->": (),
    "": (),
    "...": (2, 3),
    " i j -> j i ": (2, 3),
}
TWO = {
    "ij,jk->ik": ((2, 3), (3, 4)),
    "ij,jk": ((2, 3), (3, 4)),
    "ij,kj->ki": ((2, 3), (4, 3)),
    "i,i": ((3,), (3,)),
    "i,i->i": ((3,), (3,)),
    "i,j->ij": ((2,), (3,)),
    "i,j": ((2,), (3,)),
    "ij,ij": ((2, 3), (2, 3)),
    "ij,ji->": ((2, 3), (3, 2)),
    "bij,bjk->bik": ((2, 3, 4), (2, 4, 3)),
    "bij,jk->ibk": ((2, 3, 4), (4, 3)),
    "abcd,bde->eac": ((2, 3, 2, 4), (3, 4, 2)),
    "abc,cba->b": ((2, 3, 4), (4, 3, 2)),
    "abcd,cdab->ca": ((2, 3, 2, 2), (2, 2, 2, 3)),
    "ab,cd->": ((2, 3), (4, 2)),
    "ab,cd->ac": ((2, 3), (4, 2)),
    "ii,ij->j": ((3, 3), (3, 2)),
    "ii,jj->ij": ((3, 3), (2, 2)),
    "...ij,...jk->...ik": ((2, 3, 4), (4, 3)),
    "...,...": ((2, 3), (4, 1, 3)),
    "...i,...i->...": ((4, 1, 3), (2, 3)),
    "ij,i->i": ((1, 3), (4,)),
    "ij,j->i": ((2, 1), (4,)),
    "ij, jk -> ik": ((2, 1), (1, 3)),
    ",i->i": ((), (3,)),
    "ij,jk->ki": ((2, 0), (0, 3)),
    "ij,jk->i": ((2, 3), (3, 0)),
}
MORE = {
    "ij,jk,kl->il": ((2, 3), (3, 4), (4, 2)),
    "i,i,i->i": ((3,), (3,), (3,)),
    "i,j,k->kji": ((2,), (3,), (4,)),
    "bi,ijk,bk->bj": ((2, 3), (3, 2, 4), (2, 4)),
    "ii,ij,jk,k->": ((3, 3), (3, 2), (2, 4), (4,)),
    "...a,ab,b...->...b": ((2, 3), (3, 4), (4, 2)),
    "ab,bc,cd,de,ef,fa->": ((2, 3), (3, 2), (2, 4), (4, 2), (2, 3), (3, 2)),
}


@pytest.mark.parametrize("subscripts", ONE)
def test_one_operand_matches_numpy(subscripts):
    check_operation(
        lambda x: gg.einsum(subscripts, x),
        arrays(ONE[subscripts]),
        lambda x: np.einsum(subscripts, x),
        dtypes=ALL_FLOATS,
    )


@pytest.mark.parametrize("subscripts", TWO)
def test_two_operands_match_numpy(subscripts):
    check_operation(
        lambda x, y: gg.einsum(subscripts, x, y),
        arrays(*TWO[subscripts]),
        lambda x, y: np.einsum(subscripts, x, y),
        dtypes=ALL_FLOATS,
        tolerance=5,
    )


@pytest.mark.parametrize("subscripts", MORE)
def test_more_operands_match_numpy(subscripts):
    given = arrays(*MORE[subscripts])
    check_operation(
        lambda *x: gg.einsum(subscripts, *x),
        given,
        lambda *x: np.einsum(subscripts, *x),
        symbolic=False,
    )
    named = [
        gg.placeholder(f"x{i}", [f"n{s}" for s in a.shape], "float64")
        for i, a in enumerate(given)
    ]
    result = gg.evaluate(
        gg.einsum(subscripts, *named), dict(zip(named, given, strict=True))
    )
    assert_close(result, np.einsum(subscripts, *given))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_subscripts_match_numpy(data):
    sizes = {"a": 1, "b": 2, "c": 3, "d": 2}
    term = st.text("abcd", max_size=4)
    terms = data.draw(st.lists(term, min_size=1, max_size=4))
    used = sorted(set("".join(terms)))
    output = data.draw(
        st.lists(st.sampled_from(used), unique=True) if used else st.just([])
    )
    explicit = data.draw(st.booleans())
    subscripts = ",".join(terms) + ("->" + "".join(output) if explicit else "")
    given = arrays(*[[sizes[x] for x in t] for t in terms])
    result = gg.evaluate(gg.einsum(subscripts, *map(gg.constant, given)))
    assert_close(result, np.einsum(subscripts, *given), tolerance=10)


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bool"])
@pytest.mark.parametrize("subscripts", ["ij->i", "ij,kj->ik", "ij,ij->ij", "ii"])
def test_integers_and_bools_keep_their_dtype(dtype, subscripts):
    values = RANDOM.integers(0, 2 if dtype == "bool" else 200, (3, 3)).astype(dtype)
    given = [values] * (subscripts.count(",") + 1)
    result = gg.evaluate(gg.einsum(subscripts, *map(gg.constant, given)))
    expected = np.einsum(subscripts, *given)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def test_a_diagonal_does_not_read_what_is_beside_it():
    x = np.full((3, 3), np.nan)
    np.fill_diagonal(x, [1.0, np.inf, 3.0])
    result = gg.evaluate(gg.einsum("ii->i", gg.constant(x)))
    np.testing.assert_array_equal(result, [1.0, np.inf, 3.0])


def test_a_chain_is_multiplied_in_the_cheap_order():
    shapes = [(2, 1000), (1000, 3), (3, 1000)]
    x = [gg.placeholder(f"x{i}", s) for i, s in enumerate(shapes)]
    total = gg.einsum("ij,jk,kl->il", *x)
    graph = gg.Graph(total)
    flops = sum(
        v.operation.flops([i.type for i in v.inputs], v.type)
        for v in graph.variables
        if v.operation
    )
    assert flops <= 2 * (2 * 1000 * 3 + 2 * 3 * 1000)


def test_a_matrix_product_is_one_node():
    x, y = gg.placeholder("x", ("n", 3)), gg.placeholder("y", (3, 4))
    assert len(gg.Graph(gg.einsum("ij,jk->ik", x, y))) == 3


def test_named_sizes_of_an_index_must_agree_when_they_are_known():
    x = gg.placeholder("x", ("n", "m"))
    y = gg.placeholder("y", ("p", "q"))
    program = gg.compile([x, y], gg.einsum("ij,ij->", x, y), device="cpu")
    ones = np.ones((2, 6), np.float32)
    assert program(ones, ones) == 12
    with pytest.raises(gg.InputError, match="size of axis"):
        program(ones, np.ones((3, 4), np.float32))
    square = gg.compile([x], gg.einsum("ii", x), device="cpu")
    assert square(np.eye(3, dtype=np.float32)) == 3
    with pytest.raises(gg.InputError, match="size of axis"):
        square(ones)


def test_the_gradient_keeps_the_names_of_the_sizes():
    x = gg.placeholder("x", ("n", "m"))
    y = gg.placeholder("y", ("p", "q"))
    slopes = gg.gradients(gg.einsum("ij,ij->", x, y), [x, y])
    assert [s.type for s in slopes] == [x.type, y.type]


X = np.ones((2, 3), np.float32)
BAD = [
    ("ij,jk", [X], gg.GraphError, "expected 2 operands; got 1"),
    ("ij", [X, X], gg.GraphError, "expected 1 operands; got 2"),
    ("i", [X], gg.ShapeError, "expected 1 axes in operand 0; got 2"),
    ("ijk", [X], gg.ShapeError, "expected 3 axes in operand 0; got 2"),
    ("ijk...", [X], gg.ShapeError, "expected at least 3 axes in operand 0; got 2"),
    ("i1", [X], gg.GraphError, "expected letters and one ellipsis in operand 0"),
    ("i..", [X], gg.GraphError, "expected letters and one ellipsis in operand 0"),
    ("......", [X], gg.GraphError, "expected letters and one ellipsis in operand 0"),
    ("ij->i->j", [X], gg.GraphError, "expected letters and one ellipsis in the output"),
    ("ij->ik", [X], gg.GraphError, "index 'k' of the output is in no operand"),
    ("ij->ii", [X], gg.GraphError, "index 'i' is twice in the output"),
    ("i...->i", [X], gg.GraphError, "the output has no ellipsis"),
    ("ii", [X], gg.ShapeError, "index 'i' within an operand: .* got 2 and 3"),
    ("ij,ji", [X, X], gg.ShapeError, "index '[ij]': expected equal sizes, got"),
    (3, [X], gg.GraphError, "expected the subscripts as a text"),
    ("", [], gg.GraphError, "expected at least one operand"),
]


@pytest.mark.parametrize(("subscripts", "operands", "error", "text"), BAD)
def test_bad_subscripts_are_refused(subscripts, operands, error, text):
    with pytest.raises(error, match=text) as caught:
        gg.einsum(subscripts, *operands)
    assert f"einsum({subscripts!r}): " in str(caught.value)
    assert "test_einsum.py:" in str(caught.value)
