"""Trunks for tables, by name: a perceptron, residual layers, a transformer over the features."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from operator import attrgetter

from jaxtyping import Float
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.extras import needs

from .perceptron import Perceptron

MakeTrunk = Callable[[int, int, int], nn.Module]
"""Makes a trunk for this number of inputs, of this width (its outputs) and depth."""


class FeatureTransformer(nn.Module):
    """FT-Transformer: a token per input of the network, and attention between the tokens.

    Its cost grows with the square of the number of inputs. Needs the extra `ft-transformer`.

    Args:
        width: Outputs per row; tokens have as many numbers, rounded up to a multiple of 8.
        depth: Number of blocks; dropout and other settings are the package's for it.

    References:
        Gorishniy et al. (2021), `Revisiting Deep Learning Models for Tabular Data
        <https://arxiv.org/abs/2106.11959>`_, section 3.3; the network is the authors'.
    """

    def __init__(self, n_features: int, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        with needs("ft-transformer"):
            from rtdl_revisiting_models import FTTransformer

        usual = FTTransformer.get_default_kwargs(min(depth, 6))
        del usual["_is_default"]
        usual |= {"n_blocks": depth, "d_block": 8 * -(-width // 8), "d_out": width}
        self.network = FTTransformer(n_cont_features=n_features, cat_cardinalities=[], **usual)

    def forward(self, inputs: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch width"]:
        """Representation of a batch of rows."""
        return self.network(inputs, None)


TRUNKS: dict[str, MakeTrunk] = {
    "mlp": Perceptron,
    "residual": partial(Perceptron, residual=True),
    "ft-transformer": FeatureTransformer,
}
"""Every trunk for tables; the only list of them."""


def find_trunk(name: str) -> MakeTrunk:
    """The trunk of this name in `TRUNKS`, or a module class of one's own as ``MODULE:CLASS``.

    Raises:
        InputError: If there is none, or its module cannot be imported.

    Example:
        >>> find_trunk("mlp") is find_trunk("affinity.sharing:Perceptron")
        True
    """
    if name in TRUNKS:
        return TRUNKS[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise InputError(
            f"Expected a trunk among {list(TRUNKS)}, or your own as MODULE:CLASS, but got "
            f"{name!r}.",
            "unknown-trunk",
        )
    try:
        cls = attrgetter(attribute)(import_module(module))
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"Expected the trunk {name!r} to be importable ({error}): name a class at the top of a "
            "module, and add the module's folder to the environment variable PYTHONPATH.",
            "missing-trunk",
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise InputError(
            f"Expected {name!r} to be a class of torch modules that is called with the number of "
            "inputs, the width and the depth.",
            "missing-trunk",
        )
    return cls
