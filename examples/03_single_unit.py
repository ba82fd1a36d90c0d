"""One sigmoid unit, step by step: forward, backward, one step of descent.

    u_in = w1 x1^3 + w2 x2,  u_out = sigmoid(u_in),  L = (y - u_out)^2 / 2

Source: the lectures' worked example (w = (0.02, 0.01), x = (3, 5), y = 0); the
chain rule is equation 6.44 of Goodfellow, Bengio & Courville, *Deep Learning*.

x1 is itself the output of an earlier, linear unit, x1 = v z with v = 1.5 and
z = 2, so that the same chain goes on to the weight of an earlier layer.
"""

import numpy as np

import graphgpu as gg

RATE = 0.01


def main():
    v = gg.parameter("v", 1.5, dtype="float64")
    w1 = gg.parameter("w1", 0.02, dtype="float64")
    w2 = gg.parameter("w2", 0.01, dtype="float64")
    z = gg.placeholder("z", (), "float64")
    x2 = gg.placeholder("x2", (), "float64")
    y = gg.placeholder("y", (), "float64")

    x1 = (v * z).named("x1")
    u_in = (w1 * x1**3 + w2 * x2).named("u_in")
    u_out = gg.sigmoid(u_in).named("u_out")
    loss = (gg.square(y - u_out) / 2).named("L")

    def slope(of, by):
        return gg.gradients(of, [by])[0]

    forward = {"x1": x1, "u_in": u_in, "u_out": u_out, "L": loss}
    links = {
        "dL/du_out": slope(loss, u_out),
        "du_out/du_in": slope(u_out, u_in),
        "du_in/dw1": slope(u_in, w1),
        "du_in/dw2": slope(u_in, w2),
        "du_in/dx1": slope(u_in, x1),
        "dx1/dv": slope(x1, v),
    }
    chains = {
        "dL/dw1": ("dL/du_out", "du_out/du_in", "du_in/dw1"),
        "dL/dw2": ("dL/du_out", "du_out/du_in", "du_in/dw2"),
        "dL/dv": ("dL/du_out", "du_out/du_in", "du_in/dx1", "dx1/dv"),
    }
    totals = dict(zip(chains, gg.gradients(loss, [w1, w2, v]), strict=True))

    data = {"z": 2.0, "x2": 5.0, "y": 0.0}
    inputs = [z, x2, y]
    result = gg.compile(inputs, forward | links | totals)(**data)
    for name in forward | links:
        print(f"{name:14s} {float(result[name]):9.6f}")
    print("\nderivative    by gradients   product along the chain")
    for name, chain in chains.items():
        product = np.prod([float(result[link]) for link in chain])
        print(f"{name:12s}  {float(result[name]):12.6f}   {product:.6f}")

    step = gg.compile(inputs, loss, {w1: w1 - RATE * totals["dL/dw1"]})
    before = float(step(**data))
    after = float(gg.compile(inputs, loss)(**data))
    print(f"\nOne step of rate {RATE} on w1 alone: w1 = {float(w1.value):.6f}")
    print(f"L was {before:.4f} and is {after:.4f}")


if __name__ == "__main__":
    main()
