"""The public names, pinned: a change here is a change of the contract."""

import graphgpu as gg

CONTRACT = """
placeholder constant parameter state scope root_scope
Graph Variable Operation gradients build_grad jvp vjp jacobian hessian
hessian_vector_product stop_gradient compile Program evaluate state_updates
save load size map nn optim data draw interop testing
exp log sqrt add matmul where concat stack take sum mean max min var std
conv1d conv2d conv3d conv_transpose2d max_pool2d avg_pool2d adaptive_avg_pool2d
relu sigmoid tanh softplus softmax log_softmax cross_entropy mse batch_norm
layer_norm dropout random_uniform random_normal random_bernoulli einsum
GraphGPUError ShapeError DTypeError GradientError CompileError InputError
ComputeError DeviceError DataError SaveError MissingDependencyError
""".split()


def test_names_of_the_contract_are_there():
    assert not [name for name in CONTRACT if name not in gg.__all__]


def test_every_name_that_is_exported_exists_once():
    assert len(gg.__all__) == len(set(gg.__all__))
    assert not [name for name in gg.__all__ if not hasattr(gg, name)]


def test_every_exported_function_has_a_docstring():
    bare = [n for n in gg.__all__ if not (getattr(gg, n).__doc__ or "").strip()]
    assert not [n for n in bare if n != "bfloat16"]
