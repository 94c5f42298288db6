"""Docker API JSON as msgspec structs: documents only, no behaviour."""
