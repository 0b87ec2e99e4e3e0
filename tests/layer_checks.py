"""What every layer must do, and gradients on whichever backend runs."""

import keras
import numpy as np


def array(tensor):
    """A tensor, variable or array as a NumPy array, whatever backend it is of and whether it has a gradient."""
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def check_layer(layer_class, config, shape, dtype="float32", training=True):
    """Shape, config and weights survive a round trip, and mixed precision gives the policy's output."""
    layer = layer_class(**config)
    integers = np.issubdtype(np.dtype(dtype), np.integer)
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 4, shape).astype(dtype) if integers else rng.normal(size=shape).astype(dtype)
    output = array(layer(inputs))
    symbolic = keras.Input(shape[1:], dtype=dtype)
    assert output.shape[1:] == tuple(layer(symbolic).shape)[1:]
    saved = layer.get_config()
    assert {name: saved[name] for name in config} == config
    again = layer_class.from_config(saved)
    again(inputs)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(array(again(inputs)), output)
    mixed = layer_class(**config, dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(mixed(inputs).dtype) == "bfloat16"
    return layer


def gradients(function, *values):
    """d function / d value for arrays and variables, as NumPy arrays. `function` is called with the arrays alone."""
    backend = keras.backend.backend()
    arrays = [keras.ops.convert_to_tensor(v) for v in values if not isinstance(v, keras.Variable)]
    variables = [v for v in values if isinstance(v, keras.Variable)]
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(arrays)
            result = function(*arrays)
        found = tape.gradient(result, [*arrays, *(v.value for v in variables)])
        return [np.asarray(tf.convert_to_tensor(g)) for g in found]
    if backend == "torch":
        arrays = [a.detach().clone().requires_grad_() for a in arrays]
        for variable in variables:
            variable.value.grad = None
        function(*arrays).backward()
        return [t.grad.detach().cpu().numpy() for t in [*arrays, *(v.value for v in variables)]]
    import jax

    def pure(arrays, states):
        with keras.StatelessScope(state_mapping=list(zip(variables, states, strict=True)), collect_losses=True):
            return function(*arrays)

    found = jax.grad(pure, argnums=(0, 1))(arrays, [v.value for v in variables])
    return [np.asarray(g) for part in found for g in part]
