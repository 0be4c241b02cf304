"""The ``.recae`` model file: one self-contained safetensors file, written whole, read with suspicion.

Format, version 1
-----------------
The container is safetensors (https://github.com/huggingface/safetensors). All numbers are little-endian.

=============  ==========================================================================================
bytes          what
=============  ==========================================================================================
0 .. 7         unsigned 64-bit length N of the header
8 .. 7 + N     header: UTF-8 JSON, padded with spaces so that the data begin at a multiple of 8. It maps
               ``__metadata__`` to ``{"recae": text}`` and each tensor's name to its ``dtype``, ``shape`` and
               ``data_offsets`` ``[begin, end)``, counted from the end of the header
8 + N .. end   the tensors, C-contiguous, without gaps, by falling size of their elements and then by name
=============  ==========================================================================================

The text under ``recae`` is a JSON object: ASCII, keys sorted, no spaces, null in place of NaN and infinity:

* ``format_version``: 1. A reader refuses a greater one.
* ``kind``: the model's name in the registry; ``config``: its configuration, an object.
* ``n_items``; ``n_users``: the number of user ids in the file, null if there are none.
* every other key is the recommender's own metadata: ``fingerprint``, ``filters``, ``metrics``, ``history``, …

Tensors, for U users and I items; a list of text is its UTF-8 bytes end to end and where each begins:

=======================  ======  ========  ================================================================
name                     dtype   shape     what
=======================  ======  ========  ================================================================
``items.data``           U8      (bytes)   item ids, distinct, in the model's order
``items.offsets``        I64     (I + 1)   first 0, never falling, last = number of bytes
``names.data``           U8      (bytes)   item names
``names.offsets``        I64     (I + 1)   likewise; the three ``names`` tensors are all there or none is
``names.valid``          U8      (I)       1 where the item has a name, 0 where it has none
``users.data``           U8      (bytes)   user ids, distinct; absent if the histories were left out
``users.offsets``        I64     (U + 1)   likewise
``histories.indptr``     I64     (U + 1)   first 0, never falling, last = number of indices
``histories.indices``    I32     (pairs)   items of user u at ``indptr[u] .. indptr[u + 1]``, rising
``histories.values``     F32     (pairs)   how often and lately u bought each, finite, above 0; there where the
                                           model reads the values of a history, and only there
``model.<name>``         any     any       the model's parameters, finite
=======================  ======  ========  ================================================================

There is no other tensor. The same recommender gives the same bytes. Nothing in a file is ever executed, and
no number in it decides about memory before it has been checked against the file's size.
"""

from recae.modelfile.layout import FORMAT_VERSION
from recae.modelfile.read import describe, load
from recae.modelfile.write import save

__all__ = ["FORMAT_VERSION", "describe", "load", "save"]
