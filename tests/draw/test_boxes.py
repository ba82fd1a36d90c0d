"""Large graphs: scopes drawn as boxes, and what is too large to be drawn."""

import pytest
from pictures import Picture

import graphgpu as gg
from graphgpu.draw import to_dot


def network():
    x = gg.placeholder("x", ("n", 4))
    h = x
    for stage in ("stem", "head"):
        with gg.scope(stage):
            for block in ("a", "b"):
                with gg.scope(block):
                    w = gg.parameter("w", [[1.0] * 4] * 4)
                    h = gg.relu(h @ w)
    return gg.sum(h).named("loss")


def test_depth_says_how_many_levels_of_scopes_are_open():
    loss = network()
    for style in ("book", "compact"):
        picture = Picture(to_dot(loss, style=style, depth=0))
        assert picture.find("stem")
        assert not picture.find("w")
        picture = Picture(to_dot(loss, style=style, depth=1))
        assert len(picture.find("a")) == 2
        assert picture.inside[picture.find("a")[0]] == ("stem",)
        assert len(Picture(to_dot(loss, style=style, depth=2)).find("w")) == 4


def test_a_box_says_what_is_in_it():
    picture = Picture(to_dot(network(), depth=0))
    text = picture.nodes[picture.one("stem")]["text"]
    assert text == "stem|4 operations|matmul, relu|32 parameters"


def test_edges_between_boxes_are_drawn_once_with_a_type():
    picture = Picture(to_dot(network(), depth=0, style="compact"))
    assert picture.links() == [("x", "stem"), ("stem", "head"), ("head", "loss")]
    assert picture.edges[1][2]["text"] == "[n,4]"


def test_boxes_of_different_phases_are_apart():
    loss = network()
    wrt = [v for v in gg.Graph(loss) if isinstance(v, gg.Parameter)]
    picture = Picture(to_dot(gg.gradients(loss, wrt), depth=0, style="compact"))
    first, second = picture.find("stem")
    assert "dashed" not in picture.nodes[first]["style"]
    assert "dashed" in picture.nodes[second]["style"]
    assert picture.nodes[second]["peripheries"] == "2"


def test_scopes_are_closed_until_the_drawing_is_small_enough():
    loss = network()
    assert len(gg.Graph(loss)) == 14
    assert len(Picture(to_dot(loss, max_nodes=14, style="compact")).find("w")) == 4
    assert len(Picture(to_dot(loss, max_nodes=13, style="compact")).find("a")) == 2
    assert Picture(to_dot(loss, max_nodes=5, style="compact")).find("stem")


def test_without_scopes_all_but_the_inputs_is_one_box():
    x = gg.placeholder("x", ())
    y = x
    for _ in range(2000):
        y = y + 1
    picture = Picture(to_dot(y, style="compact"))
    assert picture.links() == [("x", "everything else")]
    assert "2,000 operations|add" in picture.nodes["s0"]["text"]


def test_what_is_too_large_even_so_is_an_error_that_says_what_to_do():
    loss = network()
    with pytest.raises(
        gg.GraphError,
        match=r"a drawing of 14 nodes was asked for, which is more than max_nodes=5; "
        r"draw fewer outputs, open fewer scopes \(depth=1\), or raise max_nodes",
    ):
        to_dot(loss, depth=2, max_nodes=5)
    many = sum((gg.placeholder(f"x{i}", ()) for i in range(9)), start=gg.constant(0.0))
    with pytest.raises(gg.GraphError, match="a drawing of 10 nodes"):
        to_dot(many, max_nodes=8)


def test_an_update_of_a_closed_scope_stays_in_its_box():
    loss = network()
    wrt = [v for v in gg.Graph(loss) if isinstance(v, gg.Parameter)]
    updates = dict(zip(wrt, gg.gradients(loss, wrt), strict=True))
    assert "←" not in to_dot(loss, updates=updates, depth=0)
    assert to_dot(loss, updates=updates).count("w ←") == 4
    assert to_dot(loss, updates=updates, style="compact").count("w ←") == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "bok"}, "style must be one of 'book', 'compact'; got 'bok'"),
        ({"names": "some"}, "names must be one of 'all', 'needed'; got 'some'"),
        ({"rankdir": "UP"}, "rankdir must be one of 'BT', 'TB', 'LR', 'RL'; got 'UP'"),
        ({"depth": -1}, "depth must be an int >= 0 or None; got -1"),
        ({"max_nodes": 0}, "max_nodes must be an int >= 1; got 0"),
    ],
)
def test_a_wrong_option_is_an_error(options, message):
    with pytest.raises(gg.GraphError, match=message):
        to_dot(gg.placeholder("x", ()), **options)


def test_what_is_no_graph_is_an_error():
    with pytest.raises(gg.GraphError, match=r"names them; got \[3\]; of a layer"):
        to_dot([3])


def test_a_graph_draws_itself():
    loss = network()
    assert gg.Graph(loss).to_dot(style="compact") == to_dot(loss, style="compact")
