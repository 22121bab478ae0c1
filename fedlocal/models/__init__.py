"""Models: function name = conf name, called with (input_shape, num_outputs) first.

A model of token indices (characters, words) has `num_tokens` as its third argument, and is called
with the size of the dataset's vocabulary; by that name a run knows what it reads.

None has buffers or in-place operations, so that one flat vector holds all of a model and
`torch.func` may run many of them at once. Weights come from torch's global generator: seed it.
"""

from fedlocal.models.attention import char_transformer
from fedlocal.models.convex import linear, logistic
from fedlocal.models.convolutional import cnn, lenet5
from fedlocal.models.normalisation import batch_norm_to_group_norm
from fedlocal.models.perceptron import mlp
from fedlocal.models.recurrent import char_gru
from fedlocal.models.residual import resnet18_gn, resnet20_gn
from fedlocal.models.sentence import text_cnn

__all__ = [
    "batch_norm_to_group_norm",
    "char_gru",
    "char_transformer",
    "cnn",
    "lenet5",
    "linear",
    "logistic",
    "mlp",
    "resnet18_gn",
    "resnet20_gn",
    "text_cnn",
]
