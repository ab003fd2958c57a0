"""The ops: one class per TensorRT layer kind, and the torch callables made of them."""

from trtnn.ops.accumulation import *
from trtnn.ops.arithmetic import *
from trtnn.ops.attention import *
from trtnn.ops.bitwise import *
from trtnn.ops.conversion import *
from trtnn.ops.convolution import *
from trtnn.ops.creation import *
from trtnn.ops.deconvolution import *
from trtnn.ops.division import *
from trtnn.ops.indexing import *
from trtnn.ops.joining import *
from trtnn.ops.masks import *
from trtnn.ops.matrix import *
from trtnn.ops.moments import *
from trtnn.ops.movement import *
from trtnn.ops.normalization import *
from trtnn.ops.pointwise import *
from trtnn.ops.pooling import *
from trtnn.ops.positions import *
from trtnn.ops.quantization import *
from trtnn.ops.ranking import *
from trtnn.ops.reduction import *
from trtnn.ops.resizing import *
from trtnn.ops.unary import *
