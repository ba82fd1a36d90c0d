"""A small convolutional net that learns to read handwritten digits.

Source: the layers are those of Goodfellow, Bengio & Courville, *Deep Learning*,
chapter 9; momentum is their Algorithm 8.2, the scaling of the first weights K. He
et al., "Delving deep into rectifiers" (2015).  The data are scikit-learn's 1,797
real digits of 8×8 pixels: pip install "graphgpu[data]".
"""

import sys

import graphgpu as gg
from graphgpu.data import batches, digits


def main():
    try:
        data = digits()
    except gg.MissingDependencyError as error:
        sys.exit(str(error))

    with gg.root_scope(seed=0):
        model = gg.nn.Sequential(
            gg.nn.Conv2d(1, 16, 3, padding=1),
            gg.nn.Function(gg.relu),
            gg.nn.MaxPool2d(2),
            gg.nn.Flatten(),
            gg.nn.Dense(16 * 4 * 4, 10),
        )
        images = gg.placeholder("images", ("batch", 1, 8, 8))
        labels = gg.placeholder("labels", ("batch",), "int64")
        scores = model(images, training=True)
        loss = gg.cross_entropy(scores, labels)
        optimiser = gg.optim.SGD(lr=0.1, momentum=0.9)
        updates = optimiser.updates(loss, model.parameters())

    # Forward pass, backward pass and update are one program; the batch is free.
    train = gg.compile([images, labels], loss, updates)
    predict = gg.compile(images, gg.argmax(model(images), axis=1))

    print("epoch   mean loss   test accuracy")
    for epoch in range(4):
        minibatches = batches(
            data.train_images, data.train_labels, 64, seed=0, epoch=epoch
        )
        losses = [float(train(x, y)) for x, y in minibatches]
        right = predict(data.test_images) == data.test_labels
        print(f"{epoch:5d}   {sum(losses) / len(losses):9.4f}   {right.mean():13.1%}")


if __name__ == "__main__":
    main()
