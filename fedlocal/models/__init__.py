"""Models: functions named as in conf/model, with arguments (input_shape, num_outputs, ...).

A model of token indices (characters, words) has `num_tokens`, the size of the vocabulary, as third
argument; a run recognises such models by that name.

No model has buffers or in-place operations, so one flat vector holds the whole model and
`torch.func` can run many models at once. Initial weights come from torch's global generator: seed
it.
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
