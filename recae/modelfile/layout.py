"""Names and types that writing and reading a model file agree on; the package's docstring is the format."""

FORMAT_VERSION = 1
KEY = "recae"
OWN_KEYS = ("config", "format_version", "kind", "n_items", "n_users")
FIXED = {
    "items.data": "U8", "items.offsets": "I64",
    "names.data": "U8", "names.offsets": "I64", "names.valid": "U8",
    "users.data": "U8", "users.offsets": "I64",
    "histories.indptr": "I64", "histories.indices": "I32", "histories.values": "F32",
}  # fmt: skip
VALUES = "histories.values"  # the only one that the rest of its group does without
